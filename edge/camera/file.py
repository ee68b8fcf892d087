"""Frames from files: a video, a picture, or a folder of pictures. The camera of demonstrations and tests."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from contract import pictures
from edge.camera.source import CameraError, Frame, Sensor
from edge.config import CameraConfig


def read_picture(path: Path) -> np.ndarray:
    """The picture in a file, upright, (height, width, 3) uint8 bgr.

    Raises:
        CameraError: If the file cannot be read or is no picture.
    """
    try:
        image = pictures.decode(path.read_bytes())
    except OSError as error:
        raise CameraError(f"{path}: {error.strerror}") from error
    if image is None:
        raise CameraError(f"{path}: not a picture that OpenCV can read")
    return image


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder by name.

    Raises:
        CameraError: If there are none.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in pictures.ENDINGS)
    if not found:
        raise CameraError(f"{folder}: holds no pictures ({', '.join(sorted(pictures.ENDINGS))})")
    return found


class FileSensor(Sensor):
    """Reads one file after the other, at the file's pace or at its reader's."""

    def __init__(self, config: CameraConfig) -> None:
        self._config = config
        self._path = Path(config.source.removeprefix("file:"))
        self._images: Iterator[np.ndarray] | None = None
        self._period_s = 1 / config.rate_hz
        self._due_s = 0.0

    def start(self) -> None:
        """Open the file, if this is the first start; after a pause it goes on where it was.

        Raises:
            CameraError: If it cannot be read.
        """
        if self._images is None:
            self._images = self._open()

    def stop(self) -> None:
        """Nothing: a file captures nothing."""

    def read(self, stop: threading.Event) -> Frame | None:
        """The next frame when its time has come; None at the end.

        Raises:
            CameraError: If the file gives none.
        """
        image = None if self._images is None else next(self._images, None)
        if image is None:
            return None
        now = time.monotonic()
        if self._config.realtime:
            stop.wait(self._due_s - now)
            self._due_s = max(self._due_s, now) + self._period_s
        return Frame(image, captured_s=time.monotonic())

    def _open(self) -> Iterator[np.ndarray]:
        if self._path.is_dir():
            return self._pictures(pictures_in(self._path))
        if not self._path.is_file():
            raise CameraError(f"{self._path}: no such file or folder")
        if self._path.suffix.lower() in pictures.ENDINGS:
            return self._pictures([self._path])
        video = open_video(self._path)
        rate_hz = video.get(cv2.CAP_PROP_FPS)
        # containers without a rate say 0 or some thousands
        self._period_s = 1 / rate_hz if 0 < rate_hz <= 240 else self._period_s
        return self._frames(video)

    def _pictures(self, paths: list[Path]) -> Iterator[np.ndarray]:
        while True:
            yield from map(read_picture, paths)
            if not self._config.loop:
                return

    def _frames(self, video: cv2.VideoCapture) -> Iterator[np.ndarray]:
        while True:
            frames = 0
            while (read := video.read())[0]:
                frames += 1
                yield read[1]
            if not frames:
                raise CameraError(f"{self._path}: a video without a frame")
            if not self._config.loop:
                return
            video = open_video(self._path)


def open_video(path: Path) -> cv2.VideoCapture:
    """A video, ready to read; its frames come upright.

    Raises:
        CameraError: If OpenCV cannot read it.
    """
    # FFmpeg alone: OpenCV would also take a name with digits for a sequence of pictures
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not video.isOpened():
        raise CameraError(f"{path}: not a video that OpenCV can read")
    # a phone's video is turned by its metadata, which OpenCV ignores unless told
    video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return video
