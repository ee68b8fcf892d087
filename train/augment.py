"""What a classroom camera does to a face: turned, far away, blurred, dark, noisy, partly hidden.

Each function changes one (48, 48) uint8 face; the random generator is passed in.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from contract.card import INPUT_SIZE
from contract.preprocess import resize


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How often and how strongly a training face is changed.

    Twice as much cost a network of this size two points on validation and made it no sturdier (docs/model-log.md, f).
    """

    rotation_deg: float = 12.0
    scale: float = 0.12
    """Zoom by up to this share in or out."""
    shear: float = 0.1
    shift_px: float = 4.0
    strong_rotation: float = 0.05
    """Share of faces turned by up to 30 degrees instead."""
    small: float = 0.12
    """Share of faces shrunk to 14-40 px and enlarged again, as the device does with a distant face."""
    blur: float = 0.06
    """Share of faces with defocus or motion blur."""
    contrast: float = 0.2
    """Contrast and gamma change by up to this share."""
    brightness: float = 20.0
    """Added to the pixels, up to this value either way."""
    noise: float = 0.06
    """Share of faces with sensor noise."""
    jpeg: float = 0.05
    """Share of faces through JPEG of quality 20-80."""
    erase: float = 0.2
    """Share of faces with a rectangle hidden. Source: random erasing, Zhong et al. 2017, arXiv:1708.04896."""


def augment(face: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """One random view of `face`, (48, 48) uint8 in and out."""
    face = _warp(face, settings, rng)
    if rng.random() < settings.small:
        face = shrink(face, int(rng.integers(14, 41)))
    if rng.random() < settings.blur:
        face = (
            defocus(face, rng.uniform(0.4, 1.8))
            if rng.random() < 0.5
            else motion(face, rng.uniform(2, 7), rng.uniform(0, 180))
        )
    face = _light(face, settings, rng)
    if rng.random() < settings.noise:
        face = noise(face, rng.uniform(2, 12), rng)
    if rng.random() < settings.jpeg:
        face = jpeg(face, int(rng.integers(20, 81)))
    if rng.random() < settings.erase:
        face = _erase(face, rng)
    return face


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
    cv2.line(kernel, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])), 1.0)
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


def _warp(face: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    reach = 30.0 if rng.random() < settings.strong_rotation else settings.rotation_deg
    angle = np.radians(rng.uniform(-reach, reach))
    zoom = np.exp(rng.uniform(-settings.scale, settings.scale, 2))
    shear = rng.uniform(-settings.shear, settings.shear)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    linear = (
        np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        @ np.array([[1.0, shear], [0.0, 1.0]])
        @ np.diag(zoom * (flip, 1.0))
    )
    centre = np.full(2, (INPUT_SIZE - 1) / 2)
    shift = rng.uniform(-settings.shift_px, settings.shift_px, 2)
    matrix = np.column_stack([linear, centre - linear @ centre + shift])
    return cv2.warpAffine(face, matrix, face.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def _light(face: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    contrast = np.exp(rng.uniform(-settings.contrast, settings.contrast))
    gamma = np.exp(rng.uniform(-settings.contrast, settings.contrast))
    bent = (face.astype(np.float32) / 255) ** np.float32(gamma) * 255
    return light(bent, contrast, rng.uniform(-settings.brightness, settings.brightness))


def _erase(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    area = rng.uniform(0.03, 0.25) * INPUT_SIZE**2
    ratio = np.exp(rng.uniform(-1, 1))
    height = int(np.clip(np.sqrt(area * ratio), 2, INPUT_SIZE - 1))
    width = int(np.clip(np.sqrt(area / ratio), 2, INPUT_SIZE - 1))
    top, left = rng.integers(0, INPUT_SIZE - height), rng.integers(0, INPUT_SIZE - width)
    return occlude(face, slice(top, top + height), slice(left, left + width), int(rng.integers(0, 256)))


def _clip(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
