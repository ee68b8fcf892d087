"""Frames from a USB camera, by OpenCV through V4L2."""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from edge.camera.source import CameraError, Frame, Sensor
from edge.config import CameraConfig

log = logging.getLogger(__name__)


def open_v4l2(number: int) -> cv2.VideoCapture:
    """The camera /dev/video<number>, opened or not."""
    return cv2.VideoCapture(number, cv2.CAP_V4L2)


class UsbSensor(Sensor):
    """A USB camera: grabs at the camera's own rate, decodes at the rate asked for."""

    def __init__(self, config: CameraConfig, capture: Callable[[int], cv2.VideoCapture] = open_v4l2) -> None:
        self._config = config
        self._number = int(config.source.removeprefix("usb:"))
        self._capture = capture
        self._video: cv2.VideoCapture | None = None
        self._period_s = 1 / config.rate_hz
        self._due_s = 0.0

    def start(self) -> None:
        """Open the device and ask it for size and rate.

        Raises:
            CameraError: If it is missing, busy or not allowed.
        """
        video = self._capture(self._number)
        if not video.isOpened():
            raise CameraError(f"{self._config.source}: {_why_closed(Path(f'/dev/video{self._number}'))}")
        # uncompressed, most cameras give 1280x720 at 10 frames/s or less
        video.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        video.set(cv2.CAP_PROP_FRAME_WIDTH, self._config.size[0])
        video.set(cv2.CAP_PROP_FRAME_HEIGHT, self._config.size[1])
        video.set(cv2.CAP_PROP_FPS, self._config.rate_hz)
        video.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        size = (video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        log.info("%s: pictures of %gx%g at %g frames/s", self._config.source, *size, video.get(cv2.CAP_PROP_FPS))
        self._video = video

    def stop(self) -> None:
        """Release the device: only then its light goes out."""
        if self._video is not None:
            self._video.release()
            self._video = None

    def read(self, stop: threading.Event) -> Frame | None:
        """The next frame that is due; frames before it are grabbed, not decoded, and not counted as dropped.

        Raises:
            CameraError: If the device gives none.
        """
        while self._video is not None and not stop.is_set():
            if not self._video.grab():
                raise CameraError(f"{self._config.source}: gives no more frames; is it still plugged in?")
            now = time.monotonic()
            if now < self._due_s:
                continue
            decoded, image = self._video.retrieve()
            if decoded:  # a camera's first JPEG may be broken; if all are, the stall is noticed
                # on a grid, so that the mean rate holds; late by a whole period, the grid begins anew
                self._due_s = (self._due_s if now - self._due_s < self._period_s else now) + self._period_s
                return Frame(image, captured_s=now)
        return None


def _why_closed(device: Path) -> str:
    if not device.exists():
        return f"{device} does not exist"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} may not be opened; is the user in the group video?"
    return f"{device} cannot be opened; does another program use it?"
