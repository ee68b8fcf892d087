"""Cameras: the newest frame wins, a pause stops the sensor, and silence is an error."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera import open_camera
from edge.camera.source import Camera, CameraError, Frame
from edge.camera.usb import UsbSensor
from edge.config import CameraConfig, DetectorConfig

PATIENCE_S = 10.0


def until(holds: Callable[[], bool]) -> None:
    """Wait until `holds`, and fail if it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


class StepSensor:
    """A sensor that gives a frame whenever the test says so; the frame's number is its first pixel."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.seen = 0
        self.gone = False
        self._steps = threading.Semaphore(0)

    def step(self, times: int = 1) -> None:
        """Give the next frames, and return when they have been read."""
        wanted = self.seen + times
        self._steps.release(times)
        until(lambda: self.seen >= wanted)

    def start(self) -> None:
        """Told."""
        self.calls.append("start")

    def stop(self) -> None:
        """Told."""
        self.calls.append("stop")

    def close(self) -> None:
        """Told."""
        self.calls.append("close")

    def read(self, stop: threading.Event) -> Frame | None:
        """The next frame when the test has stepped."""
        while not self._steps.acquire(timeout=0.01):
            if self.gone:
                raise CameraError("unplugged")
            if stop.is_set():
                return None
        self.seen += 1
        return Frame(np.full((1, 1, 3), self.seen, np.uint8), captured_s=float(self.seen))


def number(frame: Frame) -> int:
    """Of a StepSensor's frame."""
    return int(frame.image[0, 0, 0])


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten frames, 20 a second; the brightness of frame i is 20 * i."""
    path = tmp_path / "lesson.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for index in range(10):
        writer.write(np.full((48, 64, 3), 20 * index, np.uint8))
    writer.release()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, whose order by name is not the order they were written in."""
    path = tmp_path / "pictures"
    path.mkdir()
    for name, value in (("c.png", 30), ("a.png", 10), ("b.PNG", 20)):
        cv2.imwrite(str(path / name.lower()), np.full((48, 64, 3), value, np.uint8))
    (path / "notes.txt").write_text("no picture")
    return path


def shades(path: Path, **options: object) -> list[int]:
    """Brightness of every frame that a file camera gives."""
    config = CameraConfig(source=f"file:{path}", **{"realtime": False, **options})
    with open_camera(config, DetectorConfig()) as camera:
        return [round(frame.image.mean()) for frame in camera]


def test_the_newest_frame_wins_and_the_others_are_counted():
    """A reader that is slow gets the last of five frames; the four before it are dropped, never queued."""
    sensor = StepSensor()
    with Camera(sensor, "test") as camera:
        sensor.step(4)
        until(lambda: camera.dropped == 3)
        sensor.step()
        until(lambda: camera.dropped == 4)

        assert number(next(iter(camera))) == 5


def test_a_reader_that_keeps_up_gets_every_frame():
    """Nothing is dropped as long as frames are read before the next comes."""
    sensor = StepSensor()
    with Camera(sensor, "test") as camera:
        frames = iter(camera)
        for expected in (1, 2, 3):
            sensor.step()
            assert number(next(frames)) == expected
        assert camera.dropped == 0


def test_a_camera_that_stalls_is_an_error_not_silence():
    """No frame for `stall_s` ends the iteration with the camera's name."""
    with (
        Camera(StepSensor(), "usb:3", stall_s=0.2) as camera,
        pytest.raises(CameraError, match=r"usb:3: no frame"),
    ):
        next(iter(camera))


def test_a_camera_that_vanishes_is_an_error_after_the_frame_that_was_there():
    """The sensor's own error reaches the reader."""
    sensor = StepSensor()
    with Camera(sensor, "usb:3") as camera:
        frames = iter(camera)
        sensor.step()
        assert number(next(frames)) == 1
        sensor.gone = True
        with pytest.raises(CameraError, match="unplugged"):
            next(frames)


def test_pause_stops_the_sensor_and_ends_the_iteration():
    """After `pause` the sensor is stopped, not closed, and no frame from before is given."""
    sensor = StepSensor()
    with Camera(sensor, "test") as camera:
        sensor.step()
        camera.pause()

        assert sensor.calls == ["start", "stop"]
        assert list(camera) == []


def test_resume_starts_the_sensor_and_frames_come_again():
    """Frames from before the pause are gone; the first one after it is new."""
    sensor = StepSensor()
    with Camera(sensor, "test") as camera:
        sensor.step()
        camera.pause()
        camera.resume()
        sensor.step()

        assert number(next(iter(camera))) == 2
        assert camera.dropped == 0
        assert sensor.calls == ["start", "stop", "start"]
    assert sensor.calls[-1] == "close"


def test_an_error_while_the_sensor_stops_does_not_outlive_the_pause():
    """A driver may refuse a read that a pause cuts short; the resumed sensor is well."""
    sensor = StepSensor()
    with Camera(sensor, "test") as camera:
        sensor.gone = True
        until(lambda: not camera._thread.is_alive())
        camera.pause()
        sensor.gone = False
        camera.resume()
        sensor.step()

        assert number(next(iter(camera))) == 1


def test_leaving_closes_a_paused_camera_too():
    """`with` frees the device in any state."""
    sensor = StepSensor()
    with Camera(sensor, "test") as camera:
        camera.pause()

    assert sensor.calls == ["start", "stop", "close"]


def test_leaving_does_not_wait_for_a_driver_that_hangs():
    """A read that never returns keeps neither the exit nor SIGTERM waiting, and its device is not freed under it."""
    sensor = StepSensor()
    hang = threading.Event()
    sensor.read = lambda stop: hang.wait()
    start = time.monotonic()

    with Camera(sensor, "test"):
        pass

    assert time.monotonic() - start < 1.9
    assert "close" not in sensor.calls
    hang.set()


@pytest.mark.parametrize("in_turn", [True, False])
def test_pausing_within_the_loop_ends_the_loop(in_turn):
    """The daemon pauses from inside its loop, so that must not block."""
    sensor = StepSensor()
    sensor._steps.release(1)
    with Camera(sensor, "test", in_turn=in_turn) as camera:
        for _frame in camera:
            camera.pause()

    assert sensor.calls == ["start", "stop", "close"]


def test_every_frame_of_a_video_is_read_in_order(video):
    """With realtime = false nothing is dropped, however slow the reader."""
    assert shades(video) == pytest.approx([20 * index for index in range(10)], abs=2)


def test_a_video_in_real_time_ends_too_and_its_last_frame_is_read(video):
    """At the video's own pace, not at rate_hz."""
    start = time.monotonic()
    got = shades(video, realtime=True, rate_hz=1.0)

    assert got[-1] == pytest.approx(180, abs=2)
    assert 0.35 < time.monotonic() - start < 5


def test_pictures_of_a_folder_come_by_name(folder):
    """Other files are no pictures."""
    assert shades(folder) == [10, 20, 30]


def test_pictures_in_real_time_come_at_rate_hz(folder):
    """Three pictures at 20 Hz take at least two periods."""
    start = time.monotonic()

    assert shades(folder, realtime=True, rate_hz=20.0)[-1] == 30
    assert time.monotonic() - start >= 0.1


def test_one_picture_is_one_frame(folder):
    """A single image is a camera too."""
    assert shades(folder / "a.png") == [10]


@pytest.mark.parametrize("name", ["lesson.avi", "pictures", "pictures/a.png"])
def test_loop_begins_again_at_the_end(tmp_path, video, folder, name):
    """Videos, folders and pictures go on for ever."""
    config = CameraConfig(source=f"file:{tmp_path / name}", realtime=False, loop=True)
    with open_camera(config, DetectorConfig()) as camera:
        frames = iter(camera)
        assert len([next(frames) for _ in range(25)]) == 25


def test_a_paused_file_goes_on_where_it_was(video):
    """Resuming is not starting again."""
    config = CameraConfig(source=f"file:{video}", realtime=False)
    with open_camera(config, DetectorConfig()) as camera:
        first = round(next(iter(camera)).image.mean())
        camera.pause()
        camera.resume()
        second = round(next(iter(camera)).image.mean())

    assert [first, second] == pytest.approx([0, 20], abs=2)


@pytest.mark.parametrize("realtime", [False, True])
@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("note.jpg", b"hello", "not a picture"),
        ("empty.png", b"", "not a picture"),
        ("note.mp4", b"hello" * 100, "not a video"),
        ("empty.mp4", b"", "not a video"),
        ("gone.mp4", None, "no such file"),
    ],
)
def test_a_file_that_is_no_picture_or_video_is_an_error_that_names_it(tmp_path, realtime, name, data, why):
    """Whatever the file holds."""
    if data is not None:
        (tmp_path / name).write_bytes(data)

    with pytest.raises(CameraError, match=rf"{name}: {why}"):
        shades(tmp_path / name, realtime=realtime)


@pytest.mark.parametrize("loop", [False, True])
def test_a_video_of_zero_frames_is_an_error_that_names_it(tmp_path, loop):
    """A container without a frame is not an empty lesson, and in a loop not an endless one."""
    path = tmp_path / "zero.avi"
    cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48)).release()

    with pytest.raises(CameraError, match=r"zero\.avi: a video without a frame"):
        shades(path, loop=loop)


def test_a_broken_picture_in_a_folder_is_named(folder):
    """One file of many."""
    (folder / "b.png").write_bytes(b"torn")

    with pytest.raises(CameraError, match=r"b\.png: not a picture"):
        shades(folder)


def test_a_folder_without_pictures_is_an_error(tmp_path):
    """An empty folder would be an endless silence."""
    with pytest.raises(CameraError, match="holds no pictures"):
        shades(tmp_path)


def test_a_usb_camera_that_is_not_there_is_an_error_that_names_it():
    """The number is told as the configuration has it."""
    with pytest.raises(CameraError, match=r"usb:97: /dev/video97 does not exist"):
        open_camera(CameraConfig(source="usb:97"), DetectorConfig()).__enter__()


def test_a_usb_camera_that_is_unplugged_is_an_error(video):
    """When the driver gives no more frames the daemon must end, not wait."""
    config = CameraConfig(source="usb:0", rate_hz=120)
    sensor = UsbSensor(config, capture=lambda number: cv2.VideoCapture(str(video), cv2.CAP_FFMPEG))

    with Camera(sensor, "usb:0") as camera, pytest.raises(CameraError, match=r"usb:0: gives no more frames"):
        list(camera)


def test_a_usb_camera_is_decoded_at_the_rate_asked_for(video):
    """A camera that only knows a higher rate does not make the daemon work harder."""
    sensor = UsbSensor(
        CameraConfig(source="usb:0", rate_hz=0.01), capture=lambda number: cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    )
    sensor.start()

    first = sensor.read(threading.Event())

    assert first is not None
    with pytest.raises(CameraError):  # the nine others were grabbed and passed over
        sensor.read(threading.Event())


def test_a_paused_usb_camera_is_released(video):
    """Only a released device is off."""
    captures: list[cv2.VideoCapture] = []

    def capture(number: int) -> cv2.VideoCapture:
        captures.append(cv2.VideoCapture(str(video), cv2.CAP_FFMPEG))
        return captures[-1]

    with Camera(UsbSensor(CameraConfig(source="usb:0"), capture), "usb:0") as camera:
        camera.pause()
        assert not captures[0].isOpened()
        camera.resume()
        assert captures[1].isOpened()
