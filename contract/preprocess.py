"""From a picture and a face's box to the model's input: the same code on the Pi and in training.

Only crop, grey and resize happen here; normalisation is inside the model's graph. Any change to the pixels that this
module gives is a new PREPROCESSING_VERSION.
"""

import cv2
import numpy as np

from contract.card import INPUT_SIZE

CROP_FACTOR = 0.9
"""Side of the square crop in box heights. Measured on 3,375 held-out FER2013 faces found by YuNet: 0.9 costs
nothing against the dataset's own crops, 1.0 up to one point, 1.2 three, 1.4 nine."""


def grey(image: np.ndarray) -> np.ndarray:
    """A (height, width) uint8 picture from one that is (height, width[, 1 | 3 bgr | 4 bgra]) uint8."""
    if image.ndim == 2:
        return image
    channels = image.shape[2]
    if channels == 1:
        return image[:, :, 0]
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY if channels == 3 else cv2.COLOR_BGRA2GRAY)


def square(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The square, xyxy in pixels, that the model sees of a face in `box` (xyxy); it may reach over the border."""
    x0, y0, x1, y1 = box
    side = max(1, round(CROP_FACTOR * (y1 - y0)))
    left = round((x0 + x1 - side) / 2)
    top = round((y0 + y1 - side) / 2)
    return left, top, left + side, top + side


def resize(face: np.ndarray) -> np.ndarray:
    """A (INPUT_SIZE, INPUT_SIZE) uint8 face from a grey one of any size."""
    shrinks = min(face.shape) > INPUT_SIZE
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(face, (INPUT_SIZE, INPUT_SIZE), interpolation=interpolation)


def crop(picture: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """The model's input for one face: (INPUT_SIZE, INPUT_SIZE) uint8.

    Args:
        picture: (height, width[, 1 | 3 bgr | 4 bgra]) uint8; only the face's pixels are made grey.
        box: The face, xyxy in pixels of `picture`. What lies outside the picture is its border, repeated.
    """
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = square(box)
    rows = slice(min(max(y0, 0), height - 1), max(min(y1, height), 1))
    columns = slice(min(max(x0, 0), width - 1), max(min(x1, width), 1))
    inner = grey(picture[rows, columns])
    over = (max(-y0, 0), max(y1 - height, 0), max(-x0, 0), max(x1 - width, 0))
    if any(over):
        inner = cv2.copyMakeBorder(inner, *over, cv2.BORDER_REPLICATE)
    return resize(inner)
