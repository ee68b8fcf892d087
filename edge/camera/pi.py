"""Frames from the Raspberry Pi's own camera: the only importer of picamera2, which apt installs."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from edge.camera.source import CameraError, Frame, Sensor
from edge.config import CameraConfig, DetectorConfig

log = logging.getLogger(__name__)

_WAIT_S = 2.0
"""A sensor that gives no frame for this long has stalled, unless its frames are slower than that."""


def open_picamera2() -> Any:
    """The first camera of libcamera.

    Raises:
        CameraError: If there is none, or no picamera2.
    """
    try:
        from picamera2 import Picamera2  # noqa: PLC0415  exists on a Pi only
    except ImportError as error:
        raise CameraError(
            f"pi: {error}: apt-get install python3-picamera2, and make the environment with --system-site-packages"
        ) from error
    try:
        return Picamera2()
    except (IndexError, RuntimeError) as error:  # IndexError is how picamera2 says that its list of cameras is empty
        raise CameraError(f"pi: libcamera finds no camera to use: {error}") from error


class PiSensor(Sensor):
    """One libcamera camera with two streams: full size for the faces' pixels, small for finding the faces."""

    def __init__(
        self, camera: CameraConfig, detector: DetectorConfig, picamera2: Callable[[], Any] = open_picamera2
    ) -> None:
        self._size = camera.size
        self._lores_size = lores_size(self._size, (detector.width, detector.height))
        self._duration_us = round(1e6 / camera.rate_hz)
        self._wait_s = max(_WAIT_S, 2.5 / camera.rate_hz)
        self._picamera2 = picamera2
        self._camera: Any = None

    def start(self) -> None:
        """Open the camera, if this is the first start, and start it.

        Raises:
            CameraError: If there is none, or it does not start.
        """
        first = self._camera is None
        if first:
            self._camera = self._picamera2()
        try:
            if first:
                self._configure()
            self._camera.start()
        except RuntimeError as error:
            raise CameraError(f"pi: libcamera does not start the camera: {error}") from error

    def stop(self) -> None:
        """Stop the sensor; the camera stays open, because opening it again leaks until memory is gone."""
        self._camera.stop()

    def close(self) -> None:
        """Free the camera."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    def read(self, stop: threading.Event) -> Frame | None:  # noqa: ARG002  it returns soon by itself
        """The next frame.

        Raises:
            CameraError: If there is none in time.
        """
        try:
            # capture_array() would block for ever when the sensor stalls
            with self._camera.captured_request(wait=self._wait_s) as request:
                captured_s = time.monotonic()
                image = request.make_array("main")
                lores = request.make_array("lores") if self._lores_size else None
        except TimeoutError:
            raise CameraError(f"pi: no frame for {self._wait_s:g} s; is the ribbon cable in place?") from None
        return Frame(image, captured_s, None if lores is None else self._to_bgr(lores))

    def _configure(self) -> None:
        try:
            self._ask()
        except RuntimeError as error:
            if self._lores_size is None:
                raise
            log.warning("pi: no second stream of %s (%s): pictures are scaled here", self._lores_size, error)
            self._lores_size = None
            self._ask()
        log.info("pi: pictures of %s, faces are looked for in %s", self._size, self._lores_size or self._size)

    def _ask(self) -> None:
        lores = {"size": self._lores_size, "format": "YUV420"} if self._lores_size else None
        video = self._camera.create_video_configuration(
            # libcamera's "RGB888" is B, G, R in memory: what OpenCV expects
            main={"size": self._size, "format": "RGB888"},
            lores=lores,
            buffer_count=3,
            controls={"FrameDurationLimits": (self._duration_us, self._duration_us)},
            display=None,
            encode=None,
        )
        self._camera.configure(video)
        self._size = self._camera.stream_configuration("main")["size"]  # a sensor may have no such mode
        if self._lores_size:
            self._lores_size = self._camera.stream_configuration("lores")["size"]

    def _to_bgr(self, planes: np.ndarray) -> np.ndarray:
        width, height = self._lores_size or (0, 0)
        # rows are padded to the stride, which is cut off after the conversion
        return cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420)[:height, :width]


def lores_size(size: tuple[int, int], fit: tuple[int, int]) -> tuple[int, int] | None:
    """The second stream's (width, height): `size` shrunk to fit into `fit`, even; None if it fits already."""
    scale = min(fit[0] / size[0], fit[1] / size[1])
    if scale >= 1:
        return None
    width, height = (max(2, int(side * scale) // 2 * 2) for side in size)
    return width, height
