"""Faces in a frame, by YuNet or by OpenCV's Haar cascade. The detector named is the one used; there is no fallback."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from contract.card import ModelCardError, read_detector
from contract.preprocess import grey
from edge.camera.source import Frame
from edge.config import DetectorConfig, RuntimeConfig
from edge.vision.runtime import open_interpreter

CELLS_PX = (8, 16, 32)
"""Of YuNet's three outputs, finest first; the picture's sides are padded to multiples of the last."""
HAAR_LIMIT = "haar: it sees the front row at most; yunet sees the whole room"
"""Told by `check` and by the state."""
OVERLAP = 0.2
"""Of two boxes that overlap more (intersection over union) the better one stays. cv2.FaceDetectorYN has 0.3, which in
lecture halls leaves a second box on twice as many heads (docs/adr/0010)."""
_ENLARGED = 2.0
"""A small picture is enlarged so much at most; in lecture halls that finds a twentieth more heads (docs/adr/0010)."""
_NEARLY = 1.1
"""A picture that could be enlarged by less stays as it is."""
_MOST = 5000
"""Boxes that are compared, best first. Source: cv2.FaceDetectorYN."""
Box = tuple[int, int, int, int]
"""A face: xyxy in pixels, origin top left. It may reach over the picture's border; its centre never lies outside."""


class DetectorError(RuntimeError):
    """A detector that cannot be used; the text names the file and what to do."""


class Detector(Protocol):
    """What finds faces."""

    def detect(self, frame: Frame) -> list[Box]:
        """Boxes of the faces, in pixels of `frame.image`."""


def open_detector(config: DetectorConfig, runtime: RuntimeConfig) -> Detector:
    """The detector that the configuration names.

    Raises:
        DetectorError: If its file is missing or another than its card says, or cannot be loaded.
        RuntimeMissingError: As `open_interpreter`.
    """
    return YuNet(config, runtime) if config.name == "yunet" else Haar(config)


class YuNet:
    """YuNet_n in the TFLite runtime; cv2.FaceDetectorYN gives the same boxes."""

    def __init__(self, config: DetectorConfig, runtime: RuntimeConfig) -> None:
        data = _read_yunet(config.model)
        try:
            self._network = open_interpreter(data, runtime)
        except (ValueError, RuntimeError) as error:
            raise DetectorError(f"{config.model}: the TFLite runtime cannot load it: {error}") from error
        self._fit = (config.width, config.height)
        self._min_score = config.min_score
        self._size = (0, 0)

    def detect(self, frame: Frame) -> list[Box]:
        """Boxes of the faces, best score first, in pixels of `frame.image`."""
        picture = self.picture(frame)
        return boxes_in_frame(self.find(picture)[:, :4], picture, frame)

    def picture(self, frame: Frame) -> np.ndarray:
        """What is searched of a frame, (height, width, 3) uint8 bgr."""
        return fitted(frame, *self._fit, _ENLARGED)

    def find(self, picture: np.ndarray) -> np.ndarray:
        """Faces, (n, 5) float32 x, y, width, height, score, best first, in a (height, width, 3) uint8 bgr picture."""
        faces = decoded(self._run(picture), self._min_score)
        # whole pixels, as in cv2.FaceDetectorYN, so that the same ones stay
        boxes, scores = faces[:, :4].astype(int).tolist(), faces[:, 4].tolist()
        kept = cv2.dnn.NMSBoxes(boxes, scores, self._min_score, OVERLAP, top_k=_MOST)
        best: np.ndarray = faces[np.asarray(kept, int)]
        return best

    def _run(self, picture: np.ndarray) -> list[np.ndarray]:
        """The network's outputs, (rows, columns, 6) for each of CELLS_PX."""
        height, width = picture.shape[:2]
        index = self._network.get_input_details()[0]["index"]
        if (width, height) != self._size:
            self._size = (width, height)
            rows, columns = (-(-side // CELLS_PX[-1]) * CELLS_PX[-1] for side in (height, width))
            self._network.resize_tensor_input(index, (1, rows, columns, 3))
            self._network.allocate_tensors()
        # written in place: a copy would be 11 MB at 1280x720; the view must be gone before `invoke`
        padded = self._network.tensor(index)()[0]
        padded[:height, :width] = picture
        padded[height:] = padded[:, width:] = 0
        del padded
        self._network.invoke()
        outputs = [self._network.get_tensor(details["index"])[0] for details in self._network.get_output_details()]
        return sorted(outputs, key=len, reverse=True)


class Haar:
    """OpenCV's frontal face cascade: needs no file beyond OpenCV 4, and sees the front row at most."""

    def __init__(self, config: DetectorConfig) -> None:
        folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
        path = Path(folder, "haarcascade_frontalface_default.xml")
        if not path.is_file():
            raise DetectorError(f"{path}: this OpenCV ({cv2.__version__}) ships no Haar cascades; install 4.x by pip")
        self._fit = (config.width, config.height)
        self._cascade = cv2.CascadeClassifier(str(path))

    def detect(self, frame: Frame) -> list[Box]:
        """Boxes of the faces in pixels of `frame.image`."""
        picture = grey(fitted(frame, *self._fit))
        found = self._cascade.detectMultiScale(picture, scaleFactor=1.1, minNeighbors=5)
        return boxes_in_frame(np.asarray(found, np.float32).reshape(-1, 4), picture, frame)


def fitted(frame: Frame, width: int, height: int, enlarged: float = 1.0) -> np.ndarray:
    """The frame's picture, (h, w, 3) uint8 bgr, to fit into width x height: shrunk, or `enlarged` so much at most."""
    picture = frame.image if frame.lores is None else frame.lores
    scale = min(width / picture.shape[1], height / picture.shape[0], enlarged)
    if 1 <= scale < _NEARLY:
        return picture
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def decoded(outputs: Sequence[np.ndarray], min_score: float) -> np.ndarray:
    """Faces, (n, 5) float32 x, y, width, height in pixels and score, of all cells that score `min_score`.

    Args:
        outputs: For each of CELLS_PX (rows, columns, 6) float32, as convert.detector describes them.
        min_score: Of the geometric mean of two probabilities, so neither is less than its square.

    Source: OpenCV 4.11, modules/objdetect/src/face_detect.cpp, postProcess.
    """
    logit = np.log(min_score**2 / (1 - min_score**2))
    faces = []
    for cell, values in zip(CELLS_PX, outputs, strict=True):
        row, column = np.nonzero((values[..., 0] >= logit) & (values[..., 1] >= logit))
        face, thing, x, y, across, down = values[row, column].T
        size = np.exp([across, down]) * cell
        corner = np.array([column + x, row + y]) * cell - size / 2
        score = 1 / np.sqrt((1 + np.exp(-face)) * (1 + np.exp(-thing)))
        faces.append(np.vstack([corner, size, score])[:, score >= min_score].T)
    found: np.ndarray = np.concatenate(faces).astype(np.float32)
    return found


def boxes_in_frame(found: np.ndarray, picture: np.ndarray, frame: Frame) -> list[Box]:
    """Boxes in pixels of `frame.image` from (n, 4) rows x, y, width, height in pixels of `picture`.

    A face cut by the border keeps its whole box, because the crop's centre and side follow from it. What is no face
    is left out: no finite numbers, a centre outside the picture, no extent, or twice the picture's height.
    """
    height, width = frame.image.shape[:2]
    scale = np.array([width / picture.shape[1], height / picture.shape[0]] * 2)
    boxes = []
    for x, y, across, down in (found[np.isfinite(found).all(axis=1)] * scale).tolist():  # numpy's numbers are slow here
        inside = 0 <= x + across / 2 < width and 0 <= y + down / 2 < height
        if inside and across >= 1 and 1 <= down <= 2 * height:
            boxes.append((round(x), round(y), round(x + across), round(y + down)))
    return boxes


def _read_yunet(path: Path) -> bytes:
    if path.suffix == ".onnx":
        raise DetectorError(
            f"{path}: this version reads yunet.tflite instead, which `make models` writes: name it in [detector] model"
        )
    try:
        return read_detector(path)
    except ModelCardError as error:
        raise DetectorError(f'{error}; `make models` writes both, or set detector.name = "haar"') from error
