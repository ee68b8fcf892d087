"""The difference attack sees everything where nothing is done against it, and little where devices publish spans."""

import numpy as np
import pytest

from benchmarks.privacy import LABELS, LOOKS, Faces, Measure, Room, frame, minute, spans
from edge.config import PublishConfig

LABEL = np.arange(70) % LABELS
PROBABILITIES = np.repeat((0.72 * np.eye(LABELS) + 0.04)[LABEL][:, None], LOOKS, axis=1)
FACES = Faces(LABEL, PROBABILITIES, np.repeat(np.eye(LABELS + 1)[LABEL][:, None], LOOKS, axis=1))
CONFUSION = tuple(map(tuple, 0.72 * np.eye(LABELS) + 0.04))


@pytest.fixture
def room() -> Room:
    """Of ten faces of each label, all of which the network reads right; guessing recovers one in seven."""
    return Room(FACES, CONFUSION, np.random.default_rng(0), trials=200)


@pytest.mark.parametrize("publish", [minute(FACES), frame(FACES, np.random.default_rng(0))])
def test_the_attack_recovers_every_label_while_nobody_else_changes(room, publish):
    """Else its figures would flatter what is measured by it."""
    assert room.success(Measure(publish), 12, changing=0.0) == 1.0


def test_others_who_change_hide_the_student(room):
    """The more of them the better."""
    tenth, third = (room.success(Measure(minute(FACES)), 12, changing) for changing in (0.1, 1 / 3))

    assert 1.0 > tenth > third > 1 / LABELS


def test_spans_hide_the_student_even_while_nobody_else_changes(room):
    """By the device's own code, at epsilon 2; without noise this would be 1, with no information 0.14."""
    assert room.success(spans(FACES, PublishConfig(span_s=20.0)), 12, changing=0.0) < 0.45


def test_noise_costs_a_part_of_the_mix_and_intervals_hold(room):
    """What is true of seven labels lies in nine of ten intervals with and without noise."""
    (plain, _), (noisy, held) = (
        room.error(each, 12, 0.1) for each in (Measure(minute(FACES)), spans(FACES, PublishConfig(span_s=20.0)))
    )

    assert plain < noisy < plain + 6
    assert held > 0.88
