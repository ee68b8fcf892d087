"""The loop: every frame counted, and pauses kept."""

import numpy as np
import pytest

from edge.camera.frame import Frame
from edge.camera.source import CameraError
from edge.loop import work

IMAGE = np.zeros((2, 2, 3), np.uint8)


class ListCamera:
    """A camera that gives what it is told to; an exception among the frames is raised."""

    def __init__(self, *frames: float | Exception) -> None:
        self._frames = list(frames)
        self.log: list[str] = []
        self.dropped = 0

    def __enter__(self):
        self.log.append("on")
        return self

    def __exit__(self, *exc):
        self.log.append("off")

    def __iter__(self):
        while self._frames:
            each = self._frames.pop(0)
            if isinstance(each, Exception):
                raise each
            yield Frame(IMAGE, each)

    def pause(self):
        """Stop."""
        self.log.append("pause")

    def resume(self):
        """Start."""
        self.log.append("resume")


class Room:
    """What the loop is given: pauses by a script, everything else into one log."""

    def __init__(self, camera: ListCamera, *pauses: str) -> None:
        self.camera = camera
        self.log = camera.log
        self._pauses = list(pauses)

    def paused(self) -> str:
        """The next of the script; "" when it has ended."""
        return self._pauses.pop(0) if self._pauses else ""

    def run(self) -> None:
        """Let it work."""
        work(
            self.camera,
            lambda frame: self.log.append(f"frame {frame.captured_s:g}"),
            self.paused,
            lambda *status: self.log.append(" ".join(status).strip()),
            lambda: self.log.append("rest"),
        )


def test_every_frame_is_counted_in_order():
    """A list is a camera; it is on only as long as it is looked at."""
    room = Room(ListCamera(1, 2))

    room.run()

    assert room.log == ["on", "ready", "frame 1", "frame 2", "off"]


def test_a_pause_stops_the_sensor_and_reads_nothing_of_what_it_still_gives():
    """The frame during which the pause was ordered is not counted; afterwards it goes on."""
    room = Room(ListCamera(1, 2, 3), "", "", "ordered", "ordered", "ordered", "")

    room.run()

    assert room.log == [
        *("on", "ready", "frame 1", "pause", "paused ordered", "rest", "rest"),
        *("resume", "ready", "frame 3", "off"),
    ]


def test_a_daemon_that_starts_in_a_pause_does_not_touch_the_camera():
    """Kept over a restart: the sensor does not even flicker."""
    room = Room(ListCamera(1), "ordered", "ordered")

    room.run()

    assert room.log == ["paused ordered", "rest", "rest", "on", "ready", "frame 1", "off"]


def test_another_reason_for_the_same_pause_is_said():
    """State always has the reason that holds now."""
    room = Room(ListCamera(), "outside lesson hours", "outside lesson hours", "ordered")

    room.run()

    assert room.log[:6] == ["paused outside lesson hours", "rest", "rest", "paused ordered", "rest", "on"]


@pytest.mark.parametrize("frames", [(CameraError("gone"),), (1, CameraError("gone"))])
def test_a_camera_that_fails_ends_the_loop_with_its_error(frames):
    """Never an endless silent wait, and the camera is closed."""
    room = Room(ListCamera(*frames))

    with pytest.raises(CameraError, match="gone"):
        room.run()

    assert room.log[-1] == "off"
