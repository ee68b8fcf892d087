"""The courier's thread: it ticks whatever happens, tells its errors, and takes leave."""

import sys
import threading
import time

import pytest

from edge.uplink.courier import Status
from edge.uplink.dispatch import Dispatch


class Recorder:
    """Instead of a courier: writes down what it is given."""

    def __init__(self, fault: Exception | None = None, hang: threading.Event | None = None) -> None:
        self.log: list[str] = []
        self.ticks = 0
        self.accepted = 0
        self.idle = self.left = False
        self._fault = fault
        self._hang = hang

    def take(self, event, now):
        """Write it down, unless it is to fail or to hang."""
        if self._fault:
            raise self._fault
        if self._hang:
            self._hang.wait(20)
        self.log.append(event.reason)
        self.accepted += 1

    def tick(self, now):
        """Count."""
        self.ticks += 1

    def leave(self, reason, now):
        """Write it down."""
        self.log.append(f"leave: {reason}")

    def close(self):
        """Write it down."""
        self.log.append("close")


def until(condition):
    """Wait, at most ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_everything_posted_is_taken_in_order_before_the_leave():
    """Nothing that was counted is left behind."""
    recorder = Recorder()

    with Dispatch(lambda post: recorder) as dispatch:
        for number in range(100):
            dispatch.post(Status("ready", str(number)))
        dispatch.leave("told to stop", patience_s=0.1)

    assert recorder.log == [*map(str, range(100)), "leave: told to stop", "close"]
    assert dispatch.accepted == 100


def test_ticks_go_on_however_much_there_is_to_take():
    """A storm of events must not keep messages from the disk."""
    recorder = Recorder()

    with Dispatch(lambda post: recorder) as dispatch:
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            dispatch.post(Status("ready", ""))
        ticks = recorder.ticks

    assert ticks >= 2


def fail(then) -> None:
    """Let a courier fail at what it takes; `then` is given the dispatch when that has happened."""
    with Dispatch(lambda post: Recorder(fault=RuntimeError("broken"))) as dispatch:
        dispatch.post(Status("ready", ""))
        until(lambda: not dispatch._thread.is_alive())
        then(dispatch)


@pytest.mark.parametrize(
    "then",
    [
        lambda dispatch: dispatch.check(),
        lambda dispatch: dispatch.leave("the file has ended", patience_s=0.1),
        lambda dispatch: sys.exit(0),
    ],
    ids=["while counting", "at the end of a file", "at SIGTERM"],
)
def test_an_error_in_the_thread_ends_the_daemon_however_that_ends(then):
    """No fault may leave a daemon that looks alive and does nothing, nor an end that looks orderly."""
    with pytest.raises(RuntimeError, match="broken"):
        fail(then)


def test_a_thread_that_does_not_end_is_told(caplog):
    """An SD card whose writes hang: what was in memory may be lost, and the journal says so."""
    hang = threading.Event()
    with Dispatch(lambda post: Recorder(hang=hang), spare_s=0.2) as dispatch:
        dispatch.post(Status("ready", ""))
        dispatch.leave("told to stop", patience_s=0.0)
        hang.set()

    assert "does not end" in caplog.text


def test_an_error_at_the_start_is_raised_at_the_start():
    """Such as credentials that cannot be used."""

    def make(post):
        raise ValueError("ca.crt")

    with pytest.raises(ValueError, match=r"ca\.crt"), Dispatch(make):
        pass


def test_a_disk_that_hangs_stops_the_beats_that_the_watchdog_goes_by():
    """Neither a frame counts as accepted nor a pause as ticking."""
    hang = threading.Event()
    with Dispatch(lambda post: Recorder(hang=hang)) as dispatch:
        until(lambda: dispatch.beats > 1)
        dispatch.post(Status("ready", ""))
        time.sleep(0.5)
        before = (dispatch.beats, dispatch.accepted)
        time.sleep(1.0)
        after = (dispatch.beats, dispatch.accepted)
        hang.set()

    assert before == after
