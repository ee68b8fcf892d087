"""A disk that is full or damaged: what is in memory goes on, and the state says so."""

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys

import pytest

from contract.message import FrameCounts, Health, State
from edge.config import OutboxConfig
from edge.uplink.outbox import RETRY_S, Outbox
from tests.system.broker import until
from tests.system.edge.lab import ROOT, retained

BOOT = "9f3a2c41"
FRAMES = (FrameCounts(t="2026-11-22T06:00:00.000Z", faces=3),) * 4
SAVES = f"""
import os, sys
from pathlib import Path
from contract.message import FrameCounts
from edge.config import OutboxConfig
from edge.uplink.outbox import Outbox

outbox = Outbox(Path(sys.argv[1], "outbox.sqlite"), OutboxConfig(), {BOOT!r}, 0.0)
os.write(1, b".")
for second in range(20):
    outbox.accept((FrameCounts(t="2026-11-22T06:00:00.000Z", faces=3),), None, 0.0, synced=True)
    outbox.tick(1.0)
    os.write(1, b".")
"""
pytestmark = [pytest.mark.system, pytest.mark.broker, pytest.mark.timeout(240)]


def state(port: int) -> str:
    """The device's state."""
    return State.from_json(retained(port, "state")).state


def health(port: int) -> Health:
    """The device's health."""
    return Health.from_json(retained(port, "health"))


@pytest.fixture
def small_disk(lab):
    """A disk of 300 KB for the daemon's state folder."""
    lab.state.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "classpulse-test", lab.state]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk is mounted, as root")
    yield lab.state
    lab.close()
    subprocess.run(["umount", "-l", lab.state], check=True)


def test_a_full_disk_is_a_degraded_state_and_loses_nothing(lab, mosquitto, small_disk):
    """While the broker is away the disk fills up; the rest waits in memory, and all arrives in the end."""
    filling = small_disk / "somebody-elses.log"
    filling.write_bytes(b"x" * 150_000)
    mosquitto.stop()
    lab.start_daemon("rate=50")
    until(lambda: "messages stay in memory" in lab.log("edge"), "the disk is full", within_s=60)
    accepted = len(lab.accepted())
    until(lambda: len(lab.accepted()) > accepted + 200, "the daemon goes on")
    mosquitto.start()
    until(lambda: state(mosquitto.port) == "degraded", "the state")
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    until(lambda: state(mosquitto.port) == "ready", "the state", within_s=60)
    lab.pause_daemon()

    print(lab.wait_until_stored(90))

    assert health(mosquitto.port).outbox_dropped == {}


def test_a_disk_that_is_full_from_the_start_is_no_reason_not_to_count(lab, mosquitto, small_disk):
    """Everything goes through memory, and the pause holds without its file."""
    filling = small_disk / "somebody-elses.log"
    with contextlib.suppress(OSError):
        filling.write_bytes(b"x" * 400_000)
    lab.start_daemon("rate=50")
    until(lambda: state(mosquitto.port) == "degraded", "the state")
    until(lambda: len(lab.accepted()) > 150, "three seconds of frames")
    lab.pause_daemon()
    lab.wait_until_stored(90)
    filling.unlink()

    until(lambda: "can be written again" in lab.log("edge"), "the disk")
    assert health(mosquitto.port).outbox_dropped == {}


def test_the_log_of_writes_gives_a_full_disk_its_room_back(small_disk):
    """Messages come and go and the file stays small, but its log grows; a little room is enough to empty that."""
    filling = small_disk / "somebody-elses.log"
    filling.write_bytes(b"x" * 150_000)
    outbox = Outbox(small_disk / "outbox.sqlite", OutboxConfig(), BOOT, 0.0)
    seq = 0
    while not outbox.error and seq < 10_000:
        outbox.accept(FRAMES, None, -1.0, synced=True)
        outbox.tick(0.0)
        outbox.confirm({BOOT: seq})
        outbox.tick(0.0)
        seq += 1
    log = small_disk / "outbox.sqlite-wal"
    grown = log.stat().st_size
    os.truncate(filling, 110_000)

    outbox.tick(RETRY_S)
    outbox.tick(2 * RETRY_S)

    assert (outbox.error, log.stat().st_size < grown / 4) == ("", True)
    outbox.close(11.0)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace counts what reaches the drive")
def test_every_save_reaches_the_drive(tmp_path):
    """With `synchronous = NORMAL` a power cut would undo saves that were reported as done, hours of them."""
    script = tmp_path / "save.py"
    script.write_text(SAVES)
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=fsync,fdatasync,write", "-o", trace, sys.executable, script, tmp_path]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})

    calls = re.findall(r"(fsync|fdatasync|write)\((\d+)", trace.read_text())
    marks = [number for number, call in enumerate(calls) if call == ("write", "1")]

    assert len(marks) == 21
    assert all({"fsync", "fdatasync"} & {name for name, _ in calls[a:b]} for a, b in itertools.pairwise(marks))


@pytest.mark.parametrize("damage", ["truncated", "noise", "noise while it is in use"])
def test_a_damaged_outbox_costs_what_was_in_it_and_nothing_else(lab, mosquitto, damage):
    """The daemon starts, reports it, and what it accepts from then on is stored once."""
    mosquitto.stop()
    lab.start_daemon("rate=50")
    until(lambda: len(lab.accepted()) > 150, "three seconds of frames")
    if damage == "truncated":
        lab.stop_daemon()  # what was in the log of writes is in the file then
    elif damage == "noise":
        lab.kill_daemon()
    before = lab.accepted()[-1].accepted
    for path in lab.state.glob("outbox.sqlite*"):
        if damage == "truncated":
            os.truncate(path, path.stat().st_size // 2)
        elif not path.name.endswith("-shm"):
            with path.open("r+b") as file:
                file.write(os.urandom(path.stat().st_size))
    if damage != "noise while it is in use":
        lab.start_daemon("rate=50")
    until(lambda: lab.accepted()[-1].accepted > before + 3, "the daemon goes on")
    mosquitto.start()
    until(lambda: state(mosquitto.port) == "ready", "the state")
    lab.pause_daemon()

    print(lab.wait_until_stored(90, allowed=lambda entry: entry.accepted <= before + 1))

    reported = health(mosquitto.port).outbox_dropped.get("corrupt", 0)
    missing = len(lab.accepted()) - len(lab.stored()[0])
    assert (reported > 0) == (missing > 0)


def test_an_orderly_end_keeps_everything(lab, mosquitto):
    """SIGTERM while the broker is away: not even the youngest is missing, and the next start delivers."""
    mosquitto.stop()
    lab.start_daemon("rate=50")
    until(lambda: len(lab.accepted()) > 50, "a second of frames")
    lab.stop_daemon()
    mosquitto.start()
    lab.start_daemon("rate=50")
    until(lambda: state(mosquitto.port) == "ready", "the state")
    lab.pause_daemon()

    lab.wait_until_stored(60)
