"""Pictures to measure with: a grid of faces, from the user's pictures or drawn."""

from collections.abc import Iterator, Sequence
from itertools import cycle

import cv2
import numpy as np

from edge.camera.frame import Box, Frame
from edge.vision.detector import Detector

_MARGIN = 0.4
"""Of a face's height, around the face, on every side."""
_GROUND = 96


class Placed:
    """Runs a detector for its time, and gives the boxes that were placed: a drawn face is found by none."""

    def __init__(self, detector: Detector, boxes: Sequence[Box]) -> None:
        self._detector = detector
        self._boxes = list(boxes)

    def detect(self, frame: Frame) -> list[Box]:
        """The placed boxes."""
        self._detector.detect(frame)
        return self._boxes


def faces_of(pictures: Sequence[np.ndarray], detector: Detector) -> list[np.ndarray]:
    """Every face that the detector finds in the pictures, (side, side, 3) uint8 bgr with some margin around it."""
    faces = []
    for picture in pictures:
        for x0, y0, x1, y1 in detector.detect(Frame(picture, captured_s=0.0)):
            half = round((0.5 + _MARGIN) * (y1 - y0))
            x, y = (x0 + x1) // 2, (y0 + y1) // 2
            padded = cv2.copyMakeBorder(picture, half, half, half, half, cv2.BORDER_REPLICATE)
            faces.append(padded[y : y + 2 * half, x : x + 2 * half])
    return faces


def cells(width: int, height: int, number: int) -> Iterator[Box]:
    """`number` squares, xyxy, in rows and columns of a picture of width x height, as large as they can be."""
    columns = max(range(1, number + 1), key=lambda n: min(width // n, height // -(-number // n)))
    side = min(width // columns, height // -(-number // columns))
    for index in range(number):
        x, y = side * (index % columns), side * (index // columns)
        yield x, y, x + side, y + side


def compose(faces: Sequence[np.ndarray], size: tuple[int, int], number: int) -> np.ndarray:
    """A (height, width, 3) uint8 bgr picture of `number` faces, each in a cell of its own; `size` is width, height."""
    image = np.full((size[1], size[0], 3), _GROUND, np.uint8)
    for (x0, y0, x1, y1), face in zip(cells(*size, number), cycle(faces), strict=False):
        image[y0:y1, x0:x1] = cv2.resize(face, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    return image


def inner(cell: Box) -> Box:
    """The box of the face in a cell that `compose` filled, xyxy."""
    x0, y0, x1, y1 = cell
    margin = round((y1 - y0) * _MARGIN / (1 + 2 * _MARGIN))
    return x0 + margin, y0 + margin, x1 - margin, y1 - margin


def drawn_face(side: int = 200) -> np.ndarray:
    """A face of nobody, (side, side, 3) uint8 bgr."""
    face = np.full((side, side, 3), _GROUND, np.uint8)
    half = side // 2
    cv2.ellipse(face, (half, half), (round(0.22 * side), round(0.28 * side)), 0, 0, 360, (150, 180, 220), cv2.FILLED)
    for x in (0.42, 0.58):
        cv2.circle(face, (round(x * side), round(0.45 * side)), side // 40, (40, 40, 40), cv2.FILLED)
    cv2.ellipse(face, (half, round(0.58 * side)), (side // 12, side // 24), 0, 0, 180, (60, 60, 160), 2)
    return face
