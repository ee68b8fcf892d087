"""The Pi's camera, through a small picamera2 that gives what the real one gives."""

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import pytest

from edge.camera.pi import PiSensor, lores_size
from edge.camera.source import Camera, CameraError
from edge.config import CameraConfig, DetectorConfig

CAMERA = CameraConfig(source="pi", width=320, height=240, rate_hz=5.0)
STRIDE = 128
"""libcamera pads the rows of its 100 pixels."""


class Request:
    """One capture: a red main picture, and the same in padded planes."""

    def make_array(self, name: str) -> np.ndarray:
        """The stream's array as picamera2 gives it."""
        if name == "main":
            return np.full((240, 320, 3), (0, 0, 255), np.uint8)
        red = np.full((76, STRIDE, 3), (0, 0, 255), np.uint8)
        red[:, 100:] = 0
        return cv2.cvtColor(red, cv2.COLOR_BGR2YUV_I420)


class Picamera2:
    """What PiSensor uses of picamera2."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.asked: dict[str, Any] = {}
        self.stalled = False
        self.fault: Exception | None = None
        self.waited_s = 0.0
        self.refuses_lores = False

    def create_video_configuration(self, **asked: Any) -> dict[str, Any]:
        """Remember what was asked."""
        self.asked = asked
        return asked

    def configure(self, config: dict[str, Any]) -> None:
        """Told; libcamera's error for a second stream, if there is to be one."""
        if self.refuses_lores and config["lores"]:
            raise RuntimeError("lores stream dimensions may not exceed main stream")
        self.calls.append("configure")

    def stream_configuration(self, name: str) -> dict[str, Any]:
        """What became of what was asked: no larger than the sensor, and aligned."""
        return {"size": (320, 240)} if name == "main" else {"size": (100, 75), "stride": STRIDE}

    def start(self) -> None:
        """Told; libcamera's error, if there is to be one."""
        if self.fault:
            raise self.fault
        self.calls.append("start")

    def stop(self) -> None:
        """Told."""
        self.calls.append("stop")

    def close(self) -> None:
        """Told."""
        self.calls.append("close")

    @contextmanager
    def captured_request(self, wait: float) -> Iterator[Request]:
        """One request, or picamera2's TimeoutError."""
        self.waited_s = wait
        if self.stalled:
            raise TimeoutError
        yield Request()


def test_both_streams_are_bgr_and_the_small_one_loses_its_padding():
    """What the camera calls RGB888 is bgr already; the planes become bgr without the rows' padding."""
    sensor = PiSensor(CAMERA, DetectorConfig(width=100, height=100), Picamera2)
    sensor.start()

    frame = sensor.read(threading.Event())

    assert frame.image.shape == (240, 320, 3)
    assert frame.lores.shape == (75, 100, 3)
    assert frame.lores[:, :99].reshape(-1, 3).mean(axis=0).tolist() == pytest.approx([0, 0, 254], abs=2)


def test_the_sensor_is_asked_for_the_rate_and_the_second_stream():
    """FrameDurationLimits holds the rate; the second stream is what the detector wants."""
    camera = Picamera2()
    PiSensor(CAMERA, DetectorConfig(width=160, height=160), lambda: camera).start()

    assert camera.asked["main"] == {"size": (320, 240), "format": "RGB888"}
    assert camera.asked["lores"] == {"size": (160, 120), "format": "YUV420"}
    assert camera.asked["controls"] == {"FrameDurationLimits": (200_000, 200_000)}


def test_no_second_stream_where_the_first_is_small_enough():
    """Searching the picture itself is cheaper than a copy of its size."""
    camera = Picamera2()
    sensor = PiSensor(CAMERA, DetectorConfig(width=960, height=540), lambda: camera)
    sensor.start()

    assert camera.asked["lores"] is None
    assert sensor.read(threading.Event()).lores is None


def test_by_default_the_picture_is_large_and_the_second_stream_the_detectors():
    """Faces of the back row are read from the sensor's full field; they are looked for in what the ISP scales down."""
    camera = Picamera2()
    PiSensor(CameraConfig(source="pi"), DetectorConfig(), lambda: camera).start()

    assert (camera.asked["main"]["size"], camera.asked["lores"]["size"]) == ((2304, 1296), (1280, 720))


def test_a_sensor_without_so_large_a_mode_gives_what_it_has_and_that_is_told(caplog):
    """The nearest size that libcamera has; the log names it, not what was asked."""
    caplog.set_level("INFO")
    sensor = PiSensor(CameraConfig(source="pi"), DetectorConfig(), Picamera2)

    sensor.start()

    assert sensor.read(threading.Event()).image.shape == (240, 320, 3)
    assert "pi: pictures of (320, 240)" in caplog.text


def test_a_second_stream_that_is_refused_is_done_without(caplog):
    """The picture is scaled in the detector instead: slower, and the counts are the same."""
    camera = Picamera2()
    camera.refuses_lores = True
    sensor = PiSensor(CAMERA, DetectorConfig(width=160, height=160), lambda: camera)

    sensor.start()

    assert camera.asked["lores"] is None
    assert sensor.read(threading.Event()).lores is None
    assert "may not exceed main stream" in caplog.text


def test_a_pause_stops_the_sensor_and_never_opens_the_camera_again():
    """Opening libcamera's camera twice in a process leaks until memory is gone."""
    opened: list[Picamera2] = []

    def opener() -> Picamera2:
        opened.append(Picamera2())
        return opened[-1]

    with Camera(PiSensor(CAMERA, DetectorConfig(), opener), "pi") as camera:
        camera.pause()
        camera.resume()

    assert [found.calls for found in opened] == [["configure", "start", "stop", "start", "close"]]


def test_a_sensor_that_stalls_is_an_error():
    """A loose ribbon cable must end the daemon, not silence it."""
    stalled = Picamera2()
    stalled.stalled = True

    camera = Camera(PiSensor(CAMERA, DetectorConfig(), lambda: stalled), "pi")
    with camera, pytest.raises(CameraError, match="pi: no frame for 2 s"):
        next(iter(camera))


def test_a_camera_that_libcamera_does_not_start_is_an_error_that_says_so():
    """The device's state then names the camera, and no fault of the program."""
    broken = Picamera2()
    broken.fault = RuntimeError("Failed to start camera: Input/output error")

    with pytest.raises(CameraError, match="pi: libcamera does not start the camera: Failed to start camera"):
        PiSensor(CAMERA, DetectorConfig(), lambda: broken).start()


def test_a_slow_rate_is_no_stall():
    """A frame every ten seconds is waited for longer than that."""
    camera = Picamera2()
    sensor = PiSensor(CameraConfig(source="pi", rate_hz=0.1), DetectorConfig(), lambda: camera)
    sensor.start()

    sensor.read(threading.Event())

    assert camera.waited_s > 10


def test_without_picamera2_the_error_says_what_to_install():
    """It comes from apt, and the environment must see it."""
    if importlib.util.find_spec("picamera2"):
        pytest.skip("picamera2 is installed")

    with pytest.raises(CameraError, match=r"apt-get install python3-picamera2.*--system-site-packages"):
        PiSensor(CAMERA, DetectorConfig()).start()


@pytest.mark.parametrize(
    ("size", "fit", "wanted"),
    [
        ((1280, 720), (960, 540), (960, 540)),
        ((1920, 1080), (960, 540), (960, 540)),
        ((2304, 1296), (961, 541), (960, 540)),
        ((1640, 1232), (960, 540), (718, 540)),
        ((640, 480), (960, 540), None),
    ],
)
def test_the_second_streams_sides_are_even_and_fit(size, fit, wanted):
    """YUV420 needs even sides."""
    assert lores_size(size, fit) == wanted
