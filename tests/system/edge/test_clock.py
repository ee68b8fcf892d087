"""A wall clock that is stepped by hours: frames keep their order and their distances, and none is lost."""

import subprocess
import time

import pytest

from tests.needs import moved_clock, need
from tests.system.broker import until

pytestmark = [pytest.mark.system, pytest.mark.broker, pytest.mark.timeout(120)]


def test_a_stepped_wall_clock_neither_reorders_nor_loses_a_frame(lab, tmp_path):
    """Hours forward, hours back, in a running daemon: the process's own wall clock shows it, its frames do not."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    lab.start_daemon("rate=20", env=moved_clock(offset))
    for step in ("+5h", "-5h", "+0"):
        count = len(lab.accepted())
        until(lambda count=count: len(lab.accepted()) > count + 20, "a second of frames")
        offset.write_text(step)
    count = len(lab.accepted())
    until(lambda: len(lab.accepted()) > count + 20, "a second of frames")
    lab.pause_daemon()
    lab.wait_until_stored()

    entries = lab.accepted()
    times = [entry.message.frames[0].time.timestamp() for entry in entries]
    wall = [entry.accepted for entry in entries]

    assert max(wall) - min(wall) > 9 * 3600  # the ledger's own times show that the clock was stepped
    assert times == sorted(times)
    assert times[-1] - times[0] < 60
    assert abs(times[-1] - time.time()) < 60


def test_frames_wait_for_the_clock_and_arrive_as_synced(lab, tmp_path):
    """A Pi has no battery clock: until it is synchronised frames wait, and then carry the right time."""
    synchronized = tmp_path / "synchronized"
    lab.start_daemon("rate=20", camera={"source": "file:rate=20"}, clock={"synchronized": str(synchronized)})
    until(lambda: len(lab.accepted()) > 20, "unsynced frames, since a file camera does not wait")
    synchronized.touch()
    count = len(lab.accepted())
    until(lambda: len(lab.accepted()) > count + 20, "synced frames")
    lab.pause_daemon()

    lab.wait_until_stored()

    synced = [entry.message.synced for entry in lab.accepted()]
    assert synced == sorted(synced)
    assert (synced[0], synced[-1]) == (False, True)


def test_the_shell_can_step_the_clock():
    """The tool itself: without it the first test would prove nothing."""
    need("faketime")
    said = subprocess.run(["faketime", "-f", "+5h", "date", "+%s"], capture_output=True, text=True, check=True)

    assert int(said.stdout) - time.time() > 4 * 3600
