"""Rules of what systemd is told."""

import socket

import pytest

from service.notify import notify


@pytest.fixture
def supervisor(tmp_path, monkeypatch):
    """A socket as systemd gives it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield channel


def test_the_supervisor_hears_what_is_said(supervisor):
    """One datagram, as it is."""
    notify("READY=1")

    assert supervisor.recv(100) == b"READY=1"


def test_without_a_supervisor_nothing_happens(monkeypatch):
    """On a laptop, or where the socket is gone, the daemon runs on."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/notify")
    notify("READY=1")


def test_a_supervisor_that_does_not_read_stops_nobody(supervisor):
    """A full socket must not block the loop that the watchdog watches."""
    for _ in range(10_000):
        notify("WATCHDOG=1")
