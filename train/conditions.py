"""Accuracy under what a classroom camera does to a face, one thing at a time. No keras: devices measure this too."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from contract.card import INPUT_SIZE
from contract.preprocess import resize

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""A (48, 48) uint8 face as the condition shows it."""
Predict = Callable[[np.ndarray], np.ndarray]
"""(n, 48, 48) uint8 faces to (n, 7) probabilities."""

AS_IS = "as they are"
_EYES, _MOUTH = slice(12, 24), slice(32, INPUT_SIZE)
_GREY = 96
"""Value of what hides a part: a hand or a scarf in a room's light."""


def shrink(face: np.ndarray, side_px: int) -> np.ndarray:
    """The face as the device sees it when its crop is only `side_px` wide."""
    return resize(cv2.resize(face, (side_px, side_px), interpolation=cv2.INTER_AREA))


def defocus(face: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian blur."""
    return cv2.GaussianBlur(face, (0, 0), sigma_px)


def motion(face: np.ndarray, length_px: float, angle_deg: float) -> np.ndarray:
    """Blur along a line of `length_px`."""
    size = 2 * int(np.ceil(length_px / 2)) + 1
    kernel = np.zeros((size, size), np.float32)
    centre = size // 2
    reach = length_px / 2 * np.array([np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))])
    start, end = np.rint(centre - reach).astype(int), np.rint(centre + reach).astype(int)
    cv2.line(kernel, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])), (1.0,))
    return cv2.filter2D(face, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def light(face: np.ndarray, contrast: float, brightness: float) -> np.ndarray:
    """Contrast as a factor around the face's mean, then brightness added."""
    mean = float(face.mean())
    return _clip((face.astype(np.float32) - mean) * contrast + mean + brightness)


def noise(face: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """With a sensor's Gaussian noise."""
    return _clip(face + rng.normal(0, sigma, face.shape))


def jpeg(face: np.ndarray, quality: int) -> np.ndarray:
    """Through a JPEG file of this quality, 0-100."""
    data = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def rotate(face: np.ndarray, angle_deg: float) -> np.ndarray:
    """Turned about its centre; the border is repeated."""
    centre = (INPUT_SIZE - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), angle_deg, 1)
    return cv2.warpAffine(face, matrix, face.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def occlude(face: np.ndarray, rows: slice, columns: slice, value: int) -> np.ndarray:
    """With one rectangle hidden."""
    hidden = face.copy()
    hidden[rows, columns] = value
    return hidden


def _turned(reach_deg: float) -> Change:
    return lambda face, rng: rotate(face, reach_deg if rng.random() < 0.5 else -reach_deg)


def _hidden(rows: slice, columns: slice = slice(None)) -> Change:
    return lambda face, _: occlude(face, rows, columns, _GREY)


def _clip(pixels: np.ndarray) -> np.ndarray:
    clipped: np.ndarray = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return clipped


CONDITIONS: Mapping[str, Change] = {
    AS_IS: lambda face, _: face,
    "16 px wide": lambda face, _: shrink(face, 16),
    "20 px wide": lambda face, _: shrink(face, 20),
    "24 px wide": lambda face, _: shrink(face, 24),
    "32 px wide": lambda face, _: shrink(face, 32),
    "48 px wide": lambda face, _: shrink(face, 48),
    "defocus 1 px": lambda face, _: defocus(face, 1.0),
    "defocus 2 px": lambda face, _: defocus(face, 2.0),
    "motion 4 px": lambda face, rng: motion(face, 4.0, rng.uniform(0, 180)),
    "motion 8 px": lambda face, rng: motion(face, 8.0, rng.uniform(0, 180)),
    "darker by 60": lambda face, _: light(face, 1.0, -60.0),
    "brighter by 60": lambda face, _: light(face, 1.0, 60.0),
    "half the contrast": lambda face, _: light(face, 0.5, 0.0),
    "double the contrast": lambda face, _: light(face, 2.0, 0.0),
    "dim: 0.4 of the contrast, darker by 60": lambda face, _: light(face, 0.4, -60.0),
    "noise of 10": lambda face, rng: noise(face, 10.0, rng),
    "JPEG 50": lambda face, _: jpeg(face, 50),
    "JPEG 20": lambda face, _: jpeg(face, 20),
    "turned 15 degrees": _turned(15.0),
    "turned 30 degrees": _turned(30.0),
    "eyes hidden": _hidden(_EYES),
    "mouth hidden": _hidden(_MOUTH),
    "left half hidden": _hidden(slice(None), slice(INPUT_SIZE // 2)),
}


def accuracies(
    predict: Predict, images: np.ndarray, labels: np.ndarray, report: Callable[[str, float], None]
) -> dict[str, float]:
    """Share of faces read rightly, by condition.

    Args:
        predict: The classifier.
        images: (n, 48, 48) uint8.
        labels: (n,) indices into EMOTIONS.
        report: Told every condition and its accuracy as soon as it is known.
    """
    found = {}
    for name, change in CONDITIONS.items():
        rng = np.random.default_rng(0)
        changed = np.stack([change(face, rng) for face in images])
        found[name] = float((predict(changed).argmax(axis=1) == labels).mean())
        report(name, found[name])
    return found
