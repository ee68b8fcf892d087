"""From probabilities to counts, and from counts to the message's frame. No clock, no picture."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from contract.labels import EMOTIONS
from contract.message import FrameCounts, instant


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read in one frame."""

    captured_s: float
    """Of time.monotonic()."""
    faces: int
    unsure: int
    """Faces too small to read, or read with too low a probability; 0 with emotions switched off."""
    counts: dict[str, int] | None
    """Faces per label, every label present; None with emotions switched off."""
    expected: dict[str, float] | None
    """Sum of the probabilities per label over every face that was large enough; None with emotions switched off."""


def count_emotions(probabilities: np.ndarray, unsure_below: float) -> dict[str, int]:
    """Faces per label, zeros included; `probabilities` is (n, len(EMOTIONS)), one row per face."""
    counts = dict.fromkeys(EMOTIONS, 0)
    for row in probabilities:
        top = int(row.argmax())
        if row[top] >= unsure_below:
            counts[EMOTIONS[top]] += 1
    return counts


def sum_probabilities(probabilities: np.ndarray) -> dict[str, float]:
    """Probability per label, summed over the rows of (n, len(EMOTIONS)); two decimals, as a message carries them."""
    sums = probabilities.sum(axis=0, dtype=np.float64)
    return {label: round(float(value), 2) for label, value in zip(EMOTIONS, sums, strict=True)}


def read_faces(captured_s: float, faces: int, probabilities: np.ndarray, unsure_below: float) -> Reading:
    """The reading of a frame with `faces` faces; n rows of `probabilities` were classified."""
    counts = count_emotions(probabilities, unsure_below)
    return Reading(
        captured_s=captured_s,
        faces=faces,
        unsure=faces - sum(counts.values()),
        counts=counts,
        expected=sum_probabilities(probabilities),
    )


def frame_message(reading: Reading, t: datetime, min_faces: int) -> FrameCounts:
    """What a message says of a reading taken at `t` (UTC): withheld if fewer than `min_faces` faces were read."""
    if reading.counts is None or reading.expected is None:
        return FrameCounts(t=instant(t), faces=reading.faces)
    if reading.faces - reading.unsure < min_faces:
        return FrameCounts(t=instant(t), withheld=True)
    return FrameCounts(
        t=instant(t), faces=reading.faces, unsure=reading.unsure, counts=reading.counts, expected=reading.expected
    )
