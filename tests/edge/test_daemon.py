"""The daemon's loop with a list for a camera: every frame counted, pauses kept, the watchdog fed only on progress.

tests/system has the processes around it.
"""

import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from edge.camera.source import CameraError, Frame
from edge.clock import Clock
from edge.config import PublishConfig
from edge.daemon import Daemon
from edge.health import HealthMonitor
from edge.vision.pipeline import Reading
from tests.device import edge_config

ROOT = Path(__file__).parents[2]
PAUSED_AT_THE_START = """
import argparse, os, pathlib, signal, sys
from edge import daemon

def open_pipeline(config, record):
    os.kill(os.getpid(), signal.SIGUSR1)
    sys.exit(65)

daemon.run(argparse.Namespace(config=pathlib.Path(sys.argv[1])), open_pipeline=open_pipeline)
"""
PAUSED_AT_THE_IMPORTS = """
import os, runpy, signal, sys

class Ordered:
    @staticmethod
    def find_spec(name, *_others):
        if name == "edge.config":
            sys.meta_path.remove(Ordered)
            os.kill(os.getpid(), signal.SIGUSR1)

sys.meta_path.insert(0, Ordered)
runpy.run_module("edge", run_name="__main__", alter_sys=True)
"""
IMAGE = np.zeros((2, 2, 3), np.uint8)


class ListCamera:
    """A camera that gives what it is told to; an exception among the frames is raised."""

    dropped = 0

    def __init__(self, log: list[str], *frames: float | BaseException) -> None:
        self._frames = list(frames)
        self._log = log

    def __enter__(self):
        self._log.append("camera on")
        return self

    def __exit__(self, *exc):
        self._log.append("camera off")

    def __iter__(self):
        while self._frames:
            each = self._frames.pop(0)
            if isinstance(each, BaseException):
                raise each
            yield Frame(IMAGE, each)

    def pause(self):
        """Stop."""
        self._log.append("camera pauses")

    def resume(self):
        """Start."""
        self._log.append("camera resumes")


class ListUplink:
    """An uplink that logs what it is given; it accepts at once, or nothing at all as one that hangs."""

    def __init__(self, log: list[str]) -> None:
        self._log = log
        self.accepted = 0
        self.ticks = 0
        self.hangs = False
        self.error: Exception | None = None

    def publish(self, frames, *, synced):
        """Log the faces of the frames."""
        self._log.append(f"message {' '.join(str(frame.faces) for frame in frames)}")
        self.accepted += not self.hangs

    def set_state(self, state, reason):
        """Log it."""
        self._log.append(f"{state} {reason}".strip())

    def check(self):
        """Raise what ended the thread."""
        self.ticks += not self.hangs
        if self.error:
            raise self.error

    def stop(self, reason, *, timeout_s, drain_s):
        """Log it."""
        self._log.append(f"stopped {reason}")


class ScriptedPause:
    """A reason from a list whenever it is asked for; none at its end."""

    def __init__(self, *reasons: str) -> None:
        self._reasons = list(reasons)

    @property
    def reason(self) -> str:
        """The next."""
        return self._reasons.pop(0) if self._reasons else ""


class Room:
    """A daemon with fakes around it. A frame shows as many faces as its time says."""

    def __init__(
        self,
        *frames: float | BaseException,
        pauses: tuple[str, ...] = (),
        batch_s: float = 0.0,
        span_s: float = 0.0,
        min_faces: int = 1,
    ) -> None:
        self.log: list[str] = []
        self.synchronized = True
        self.camera = ListCamera(self.log, *frames)
        self.uplink = ListUplink(self.log)
        config = edge_config(publish=PublishConfig(batch_s=batch_s, span_s=span_s, min_faces=min_faces))
        clock = Clock(300.0, synchronized=lambda: self.synchronized, monotonic=time.monotonic, wall=lambda: 1.8e9)
        self.monitor = HealthMonitor("0000000b", "stored", lambda: 0, 0.0)
        self.daemon = Daemon(config, clock, ScriptedPause(*pauses), self.monitor, self.uplink)
        self.daemon.poll_s = 0.0

    def run(self) -> list[str]:
        """Let it count; what happened."""
        self.daemon.run(self.camera, lambda frame: Reading(frame.captured_s, round(frame.captured_s), 0, None, None))
        return self.log


@pytest.fixture
def watchdog(tmp_path, monkeypatch):
    """`watchdog()`: how often the watchdog has been fed so far, by way of systemd's socket."""
    heard = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def fed() -> int:
            while True:
                try:
                    heard.append(supervisor.recv(4096).decode())
                except BlockingIOError:
                    return heard.count("WATCHDOG=1")

        yield fed


def test_every_frame_is_counted_in_order():
    """The camera is on only as long as it is read."""
    assert Room(1, 2).run() == [
        *("camera on", "ready", "message 1", "message 2", "camera off", "stopped the file has ended"),
    ]


def test_a_pause_stops_the_sensor_and_reads_nothing_of_what_it_still_gives():
    """The frame during which the pause was ordered is not counted; afterwards it goes on."""
    room = Room(1, 2, 3, pauses=("", "", "ordered", "ordered", "ordered", ""))

    assert room.run()[1:-2] == [
        *("ready", "message 1", "camera pauses", "paused ordered", "camera resumes", "ready", "message 3"),
    ]


def test_a_pause_that_is_over_at_once_is_no_end():
    """Ordered and taken back while a frame is read: the camera goes on."""
    assert Room(1, 2, 3, pauses=("", "", "ordered", "")).run()[1:-2] == [
        *("ready", "message 1", "camera pauses", "camera resumes", "ready", "message 3"),
    ]


def test_a_daemon_that_starts_in_a_pause_does_not_touch_the_camera():
    """Kept over a restart: the sensor does not even flicker."""
    assert Room(1, pauses=("ordered", "ordered")).run()[:3] == ["paused ordered", "camera on", "ready"]


def test_another_reason_for_the_same_pause_is_said():
    """State always has the reason that holds now."""
    log = Room(pauses=("outside lesson hours", "outside lesson hours", "ordered")).run()

    assert log[:3] == ["paused outside lesson hours", "paused ordered", "camera on"]


@pytest.mark.parametrize("frames", [(CameraError("gone"),), (1, CameraError("gone"))])
def test_a_camera_that_fails_ends_the_loop_with_its_error(frames):
    """Never an endless silent wait; the camera is closed and the broker told."""
    room = Room(*frames)

    with pytest.raises(CameraError, match="gone"):
        room.run()

    assert room.log[-2:] == ["camera off", "stopped gone"]


def test_an_uplink_that_ended_ends_the_loop_with_its_error():
    """Counting for nobody is no use."""
    room = Room(1, 2)
    room.uplink.error = OSError("disk")

    with pytest.raises(OSError, match="disk"):
        room.run()

    assert room.log[-1] == "stopped a fault of the program"


@pytest.mark.parametrize("end", [None, SystemExit(0), CameraError("gone")], ids=["file", "SIGTERM", "camera"])
@pytest.mark.parametrize("synchronized", [True, False])
def test_what_is_batched_or_waits_for_the_clock_is_handed_over_at_the_end(end, synchronized):
    """Neither a batch that is not full nor frames without a synchronised clock are lost."""
    room = Room(*([1, 2, 3] if end is None else [1, 2, 3, end]), batch_s=10.0)
    room.synchronized = synchronized

    with nullcontext() if end is None else pytest.raises(type(end)):
        room.run()

    assert room.log[-2] == "message 1 2 3"
    assert room.log[-1].startswith("stopped ")


def test_the_watchdog_is_fed_once_for_every_accepted_frame(watchdog):
    """Frames that the outbox has are progress."""
    Room(1, 2, 3).run()

    assert watchdog() == 3


def test_frames_that_wait_for_the_clock_are_progress(watchdog):
    """A Pi without network at its start must not be restarted for ever."""
    room = Room(1, 2, 3)
    room.synchronized = False

    room.run()

    assert watchdog() == 3


def test_frames_of_a_span_are_progress_while_the_uplink_works(watchdog):
    """A span may last longer than systemd waits for a sign of life."""
    Room(1, 2, 3, span_s=300.0).run()

    assert watchdog() == 3


@pytest.mark.parametrize("span_s", [0.0, 300.0])
def test_an_uplink_that_hangs_starves_the_watchdog_whatever_the_camera_gives(watchdog, span_s):
    """Frames come, but the outbox accepts none: only the first round may still feed it."""
    room = Room(*range(1, 50), span_s=span_s)
    room.uplink.hangs = True

    room.run()

    assert watchdog() <= 1


def test_a_pause_feeds_the_watchdog_as_long_as_the_uplink_works(watchdog):
    """Nothing is counted in a pause, so the uplink's thread is what must live."""
    Room(pauses=("ordered",) * 5).run()

    assert watchdog() == 5


def test_an_uplink_that_hangs_in_a_pause_starves_the_watchdog(watchdog):
    """A paused daemon with a dead thread could not be resumed."""
    room = Room(pauses=("ordered",) * 50)
    room.uplink.hangs = True

    room.run()

    assert watchdog() <= 1


def test_health_says_nothing_of_withheld_frames():
    """Not even how late they were read, which depends on the faces of the frame before."""
    room = Room(1, 2, 3, 4, min_faces=4)

    room.run()

    assert len(room.monitor._durations["capture"]) == 1


def test_a_pause_ordered_by_signal_while_the_model_loads_is_kept(edge_toml, tmp_path):
    """The seconds of the start are no gap in which an order is lost, or ends the daemon."""
    config = edge_toml("usb:97")

    ended = subprocess.run([sys.executable, "-c", PAUSED_AT_THE_START, config], cwd=ROOT, check=False)

    assert ended.returncode == 65
    assert (tmp_path / "state" / "pause").read_text() == "signal\n"


def test_a_pause_ordered_while_the_program_is_still_being_imported_is_kept(edge_toml, tmp_path):
    """Without a handler the signal would end the process, which is what systemd restarts, counting."""
    command = [sys.executable, "-c", PAUSED_AT_THE_IMPORTS, "--config", edge_toml("usb:97"), "run"]
    with subprocess.Popen(command, cwd=ROOT) as daemon:
        wait_until(lambda: (tmp_path / "state" / "pause").exists() or daemon.poll() is not None)
        daemon.terminate()

    assert (tmp_path / "state" / "pause").read_text() == "signal\n"
    assert daemon.returncode == 0


def wait_until(condition) -> None:
    """At most twenty seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
