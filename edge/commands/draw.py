"""Boxes and labels on a copy of a picture, for people who look at their own."""

from collections.abc import Sequence

import cv2
import numpy as np

from contract.labels import EMOTIONS
from edge.vision.pipeline import Face

_GREEN = (80, 220, 80)
_GREY = (170, 170, 170)
_BLACK = (0, 0, 0)


def top(probabilities: np.ndarray) -> tuple[str, float]:
    """The most probable label and its probability."""
    index = int(probabilities.argmax())
    return EMOTIONS[index], float(probabilities[index])


def caption(face: Face) -> str:
    """What stands at a face's box: "happy 93%", "unsure (happy 31%)", or nothing if it was not classified."""
    if face.probabilities is None:
        return ""
    label, probability = top(face.probabilities)
    text = f"{label} {probability:.0%}"
    return text if face.sure else f"unsure ({text})"


def draw(image: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """A copy of a (height, width, 3) uint8 bgr picture with the faces' boxes: green if sure or not asked, else grey."""
    copy = image.copy()
    thickness = max(1, round(min(image.shape[:2]) / 400))
    for face in faces:
        text = caption(face)
        colour = _GREEN if face.sure or face.probabilities is None else _GREY
        x0, y0, x1, y1 = face.box
        cv2.rectangle(copy, (x0, y0), (x1, y1), colour, thickness)
        if text:
            _write(copy, text, (x0, y0), colour, thickness)
    return copy


def _write(image: np.ndarray, text: str, corner: tuple[int, int], colour: tuple[int, ...], thickness: int) -> None:
    """Text above `corner` (x, y), moved so that it lies within the picture."""
    scale = 0.45 * thickness
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    x = max(0, min(corner[0], image.shape[1] - width))
    y = max(height + below, corner[1] - below)
    cv2.rectangle(image, (x, y - height - below), (x + width, y + below), _BLACK, cv2.FILLED)
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA)
