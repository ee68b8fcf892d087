"""Accuracy under what a classroom camera does to a face, one thing at a time. No keras: devices measure this too."""

from collections.abc import Callable, Mapping

import numpy as np

from contract.card import INPUT_SIZE
from train import augment

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""A (48, 48) uint8 face as the condition shows it."""
Predict = Callable[[np.ndarray], np.ndarray]
"""(n, 48, 48) uint8 faces to (n, 7) probabilities."""

AS_IS = "as they are"
_EYES, _MOUTH = slice(12, 24), slice(32, INPUT_SIZE)
_GREY = 96
"""Value of what hides a part: a hand or a scarf in a room's light."""


def _turned(reach_deg: float) -> Change:
    return lambda face, rng: augment.rotate(face, reach_deg if rng.random() < 0.5 else -reach_deg)


def _hidden(rows: slice, columns: slice = slice(None)) -> Change:
    return lambda face, _: augment.occlude(face, rows, columns, _GREY)


CONDITIONS: Mapping[str, Change] = {
    AS_IS: lambda face, _: face,
    "16 px wide": lambda face, _: augment.shrink(face, 16),
    "24 px wide": lambda face, _: augment.shrink(face, 24),
    "32 px wide": lambda face, _: augment.shrink(face, 32),
    "48 px wide": lambda face, _: augment.shrink(face, 48),
    "defocus 1 px": lambda face, _: augment.defocus(face, 1.0),
    "defocus 2 px": lambda face, _: augment.defocus(face, 2.0),
    "motion 4 px": lambda face, rng: augment.motion(face, 4.0, rng.uniform(0, 180)),
    "motion 8 px": lambda face, rng: augment.motion(face, 8.0, rng.uniform(0, 180)),
    "darker by 60": lambda face, _: augment.light(face, 1.0, -60.0),
    "brighter by 60": lambda face, _: augment.light(face, 1.0, 60.0),
    "half the contrast": lambda face, _: augment.light(face, 0.5, 0.0),
    "double the contrast": lambda face, _: augment.light(face, 2.0, 0.0),
    "dim: 0.4 of the contrast, darker by 60": lambda face, _: augment.light(face, 0.4, -60.0),
    "noise of 10": lambda face, rng: augment.noise(face, 10.0, rng),
    "JPEG 50": lambda face, _: augment.jpeg(face, 50),
    "JPEG 20": lambda face, _: augment.jpeg(face, 20),
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
