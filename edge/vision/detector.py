"""Faces in a frame, by YuNet or by OpenCV's Haar cascade. The detector named is the one used; there is no fallback."""

import hashlib
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from contract.preprocess import grey
from edge.camera.source import Frame
from edge.config import DetectorConfig

YUNET_SHA256 = "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31"
"""Of onnx/yunet_n_640_640.onnx. Source: ShiqiYu/libfacedetection.train at 0047ac24afb1a50a0c6105001c89d1b5b805dbf1."""
Box = tuple[int, int, int, int]
"""A face: xyxy in pixels, origin top left. It may reach over the picture's border; its centre never lies outside."""


class DetectorError(RuntimeError):
    """A detector that cannot be used; the text names the file and what to do."""


class Detector(Protocol):
    """What finds faces."""

    def detect(self, frame: Frame) -> list[Box]:
        """Boxes of the faces, in pixels of `frame.image`."""


def open_detector(config: DetectorConfig) -> Detector:
    """The detector that the configuration names.

    Raises:
        DetectorError: If its file is missing or another than the one known.
    """
    return YuNet(config) if config.name == "yunet" else Haar(config)


class YuNet:
    """YuNet_n through cv2.FaceDetectorYN."""

    def __init__(self, config: DetectorConfig) -> None:
        model = np.frombuffer(_read_yunet(config.model), np.uint8)
        self._fit = (config.width, config.height)
        self._size = self._fit
        try:
            self._network = cv2.FaceDetectorYN.create(
                "onnx", model, np.empty(0, np.uint8), self._size, config.min_score
            )
        except cv2.error as error:
            raise DetectorError(f"{config.model}: OpenCV {cv2.__version__} cannot load it: {error.err}") from error

    def detect(self, frame: Frame) -> list[Box]:
        """Boxes of the faces, best score first, in pixels of `frame.image`."""
        picture = shrunk(frame, *self._fit)
        height, width = picture.shape[:2]
        if (width, height) != self._size:
            self._size = (width, height)
            self._network.setInputSize(self._size)
        _, found = self._network.detect(picture)
        return [] if found is None else boxes_in_frame(found[:, :4], picture, frame)


class Haar:
    """OpenCV's frontal face cascade: needs no file beyond OpenCV 4, finds half as many faces as YuNet."""

    def __init__(self, config: DetectorConfig) -> None:
        folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
        path = Path(folder, "haarcascade_frontalface_default.xml")
        if not path.is_file():
            raise DetectorError(f"{path}: this OpenCV ({cv2.__version__}) ships no Haar cascades; install 4.x by pip")
        self._fit = (config.width, config.height)
        self._cascade = cv2.CascadeClassifier(str(path))

    def detect(self, frame: Frame) -> list[Box]:
        """Boxes of the faces in pixels of `frame.image`."""
        picture = grey(shrunk(frame, *self._fit))
        found = self._cascade.detectMultiScale(picture, scaleFactor=1.1, minNeighbors=5)
        return boxes_in_frame(np.asarray(found, np.float32).reshape(-1, 4), picture, frame)


def shrunk(frame: Frame, width: int, height: int) -> np.ndarray:
    """The frame's picture, (h, w, 3) uint8 bgr, shrunk to fit into width x height; a smaller one stays as it is."""
    picture = frame.image if frame.lores is None else frame.lores
    scale = min(width / picture.shape[1], height / picture.shape[0])
    if scale >= 1:
        return picture
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def boxes_in_frame(found: np.ndarray, picture: np.ndarray, frame: Frame) -> list[Box]:
    """Boxes in pixels of `frame.image` from (n, 4) rows x, y, width, height in pixels of `picture`.

    A face cut by the border keeps its whole box, because the crop's centre and side follow from it. What is no face
    is left out: no finite numbers, a centre outside the picture, no extent, or twice the picture's height.
    """
    height, width = frame.image.shape[:2]
    scale = np.array([width / picture.shape[1], height / picture.shape[0]] * 2)
    boxes = []
    for x, y, across, down in found[np.isfinite(found).all(axis=1)] * scale:
        inside = 0 <= x + across / 2 < width and 0 <= y + down / 2 < height
        if inside and across >= 1 and 1 <= down <= 2 * height:
            boxes.append((round(x), round(y), round(x + across), round(y + down)))
    return boxes


def _read_yunet(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DetectorError(
            f'{path}: {error.strerror}; `make models` gets it, or set detector.name = "haar"'
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != YUNET_SHA256:
        raise DetectorError(f"{path}: its SHA-256 is {found}, not {YUNET_SHA256}; `make models` gets the right file")
    return data
