"""Pause and resume from the page: who may send them."""

import asyncio

import pytest
from starlette.requests import Request

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


def ask(sender, user):
    """What the page says to a user who presses pause."""
    request = Request({"type": "http", "state": {"who": lambda: user}})
    return asyncio.run(send_command(sender, request, CAMERA, "pause"))


@pytest.mark.parametrize("user", [None, User("ben", "", ("north/r202",)), User("eve", "", ())])
def test_pause_is_refused_for_who_may_not_see_the_room(user):
    """Also on a page that is still open when the session or the rights end."""
    sender = Sender()

    assert ask(sender, user) is None
    assert sender.sent == []


@pytest.mark.parametrize("outcome", ["sent", "not sent", "not confirmed"])
def test_what_became_of_a_command_is_said(outcome):
    """Each outcome in words of its own, with the camera or the command."""
    sender = Sender(outcome)

    text = ask(sender, User("anna", "", ("north/*",)))

    assert sender.sent == [(CAMERA, "pause")]
    assert {"sent": "pause sent to cam1", "not sent": "was not sent", "not confirmed": "did not confirm"}[
        outcome
    ] in text
