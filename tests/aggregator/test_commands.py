"""Pause and resume from the page: who may send them."""

import asyncio

import pytest
from starlette.requests import Request

from aggregator.web.audit import AuditLog
from aggregator.web.room import send_command
from aggregator.web.users import User
from contract.topics import Device

CAMERA = Device("north", "r101", "cam1")


class Sender:
    """Sends nothing, and writes down what it should have sent."""

    def __init__(self, outcome="sent"):
        self.outcome = outcome
        self.sent = []

    def send(self, device, command):
        """Write it down."""
        self.sent.append((device, command))
        return self.outcome


@pytest.fixture
def ask(audit):
    """`ask(sender, user)`: what the page says to a user who presses pause."""

    def press(sender, user):
        request = Request({"type": "http", "state": {"who": lambda: user}, "client": ("10.0.0.1", 5), "headers": []})
        return asyncio.run(send_command(sender, audit, request, CAMERA, "pause"))

    return press


@pytest.fixture
def audit(tmp_path):
    """Where orders are noted."""
    return AuditLog(tmp_path)


@pytest.mark.parametrize(
    "user", [None, User("ben", "", ("north/r202",)), User("eve", "", ()), User("vera", "", ("*",), "viewer")]
)
def test_pause_is_refused_for_who_may_not_order_it(ask, audit, user):
    """Also on a page that is still open when the session or the rights end."""
    sender = Sender()

    assert ask(sender, user) is None
    assert sender.sent == []
    assert list(audit.entries()) == []


@pytest.mark.parametrize("outcome", ["sent", "not sent", "not confirmed"])
def test_what_became_of_a_command_is_said_and_noted(ask, audit, outcome):
    """Each outcome in words of its own, with the camera or the command."""
    sender = Sender(outcome)

    text = ask(sender, User("anna", "", ("north/*",)))

    assert sender.sent == [(CAMERA, "pause")]
    assert [(each.user, each.address, each.outcome) for each in audit.entries()] == [("anna", "10.0.0.1", outcome)]
    assert {"sent": "pause sent to cam1", "not sent": "was not sent", "not confirmed": "did not confirm"}[
        outcome
    ] in text
