"""Drawn faces: seven expressions that a network learns in seconds, and nobody's face."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from contract.labels import EMOTIONS

MOUTHS = {
    "angry": (0, -12, 0), "disgust": (8, 0, 4), "fear": (0, 0, 9), "happy": (0, 14, 0),
    "sad": (0, -14, 0), "surprise": (0, 0, 14), "neutral": (0, 0, 1),
}  # fmt: skip
"""Slant, curve and opening of the mouth in tenths of a face."""


def draw_face(label: str, rng: np.random.Generator, side: int = 48) -> np.ndarray:
    """A (side, side) uint8 cartoon of one expression."""
    slant, curve, opening = MOUTHS[label]
    face = np.full((96, 96), int(rng.integers(150, 210)), np.uint8)
    x, y = 48 + int(rng.integers(-4, 5)), 48 + int(rng.integers(-4, 5))
    brow = {"angry": 6, "sad": -6, "fear": -4}.get(label, 0)
    for sign in (-1, 1):
        cv2.circle(face, (x + sign * 18, y - 12), 4 + opening // 4, 20, -1)
        cv2.line(face, (x + sign * 28, y - 24 - brow // 2), (x + sign * 10, y - 24 + brow), 20, 3)
    steps = np.linspace(-1, 1, 15)
    points = np.column_stack([x + 20 * steps, y + 24 + slant * steps + curve * (1 - steps**2) - curve / 2])
    cv2.polylines(face, [np.rint(points).astype(np.int32)], isClosed=False, color=20, thickness=3)
    if opening > 1:
        cv2.ellipse(face, (x, y + 24), (12, opening), 0, 0, 360, 20, -1)
    noisy = face + rng.normal(0, 8, face.shape)
    return cv2.resize(np.clip(noisy, 0, 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_AREA)


def draw_folder(root: Path, counts: dict[str, int], seed: int = 0, side: int = 48) -> Path:
    """`root` filled with `<label>/<n>.png`, so many of each label."""
    rng = np.random.default_rng(seed)
    for label, count in counts.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            cv2.imwrite(str(root / label / f"{label}-{number:03}.png"), draw_face(label, rng, side))
    return root


@pytest.fixture
def draw():
    """The function that fills a folder."""
    return draw_folder


@pytest.fixture
def drawn(tmp_path):
    """A folder of label folders, 24 drawn faces of each."""
    return draw_folder(tmp_path / "faces", dict.fromkeys(EMOTIONS, 24))


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """The same for tests that only read it."""
    return draw_folder(tmp_path_factory.mktemp("data") / "faces", dict.fromkeys(EMOTIONS, 24))
