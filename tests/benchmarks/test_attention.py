"""The synthetic lessons that changes are looked for in."""

import numpy as np
import pytest

from benchmarks.attention import CHANGE_S, lesson, step
from contract.labels import EMOTIONS


def test_a_class_shows_its_usual_mix_until_it_changes():
    """With a network that is nearly always right."""
    confusion = np.full((7, 7), 0.01) + 0.93 * np.eye(7)

    points = lesson(step(0.4, CHANGE_S), 40, confusion, np.random.default_rng(0))

    before, after = (
        points.values[(points.starts >= CHANGE_S) == late, -len(EMOTIONS) :].mean(axis=0) for late in (False, True)
    )
    neutral, sad = EMOTIONS.index("neutral"), EMOTIONS.index("sad")
    assert (before[neutral], before[sad]) == pytest.approx((0.55, 0.10), abs=0.08)
    assert (after[neutral], after[sad]) == pytest.approx((0.15, 0.50), abs=0.08)
