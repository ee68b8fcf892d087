"""Counts: what becomes of probabilities, and what a message may say of them."""

from datetime import UTC, datetime

import numpy as np
import pytest
from msgspec import UNSET

from contract.labels import EMOTIONS
from contract.message import CountsMessage, FrameCounts, instant
from edge.vision.counts import Reading, count_emotions, frame_message, read_faces, sum_probabilities

T = datetime(2026, 11, 22, 6, 31, 7, 412000, tzinfo=UTC)


def one_hot(*labels: str) -> np.ndarray:
    """Certain probabilities, one row per label."""
    return np.eye(len(EMOTIONS), dtype=np.float32)[[EMOTIONS.index(label) for label in labels]]


def test_every_label_is_counted_by_its_name():
    """Each face counts for its most probable label; labels without a face are there with zero."""
    counts = count_emotions(one_hot("happy", "happy", "fear"), unsure_below=0.5)

    assert counts == {**dict.fromkeys(EMOTIONS, 0), "happy": 2, "fear": 1}


def test_a_probability_at_the_threshold_counts_and_one_below_does_not():
    """`unsure_below` is exclusive: a face at the threshold is sure."""
    rows = np.array([[0.5, 0.5, 0, 0, 0, 0, 0], [0.49, 0.3, 0.21, 0, 0, 0, 0]])

    assert count_emotions(rows, unsure_below=0.5)["angry"] == 1


def test_unsure_faces_and_counts_make_the_faces():
    """A face too small to classify and a face too uncertain are both unsure; the sum is every face found."""
    rows = np.vstack([one_hot("sad"), np.full((1, 7), 1 / 7, np.float32)])

    reading = read_faces(3.5, faces=5, probabilities=rows, unsure_below=0.5)

    assert (reading.captured_s, reading.faces, reading.unsure) == (3.5, 5, 4)
    assert reading.counts == {**dict.fromkeys(EMOTIONS, 0), "sad": 1}


def test_expected_sums_the_probabilities_of_unsure_faces_too():
    """`expected` covers every classified face, sure or not, in two decimals."""
    rows = np.vstack([one_hot("sad"), np.full((1, 7), 1 / 7, np.float32)])

    assert sum_probabilities(rows) == {**dict.fromkeys(EMOTIONS, 0.14), "sad": 1.14}


def test_a_frame_without_faces_is_a_frame_of_zeros():
    """No face is an observation like any other."""
    reading = read_faces(0.0, faces=0, probabilities=np.empty((0, 7), np.float32), unsure_below=0.5)

    assert reading.counts == dict.fromkeys(EMOTIONS, 0)
    assert reading.expected == dict.fromkeys(EMOTIONS, 0.0)


@pytest.mark.parametrize(("min_faces", "withheld"), [(2, UNSET), (3, True)])
def test_only_faces_that_were_read_count_for_min_faces(min_faces, withheld):
    """Three faces of which one is unsure are two: enough for 2, withheld at 3."""
    reading = read_faces(0.0, faces=3, probabilities=one_hot("happy", "sad"), unsure_below=0.5)

    frame = frame_message(reading, T, min_faces)

    assert frame.withheld is withheld
    assert frame.time == T


def test_with_emotions_off_only_faces_are_told():
    """Without counts there is nothing to withhold: a face is counted, whoever it is."""
    frame = frame_message(Reading(0.0, faces=1, unsure=0, counts=None, expected=None), T, min_faces=5)

    assert frame == FrameCounts(t=instant(T), faces=1)


def test_thirty_faces_whose_sums_are_rounded_make_a_legal_message():
    """Rounding `expected` to two decimals never exceeds what the contract allows."""
    rows = np.random.default_rng(0).dirichlet(np.ones(7), size=30).astype(np.float32)

    frame = frame_message(read_faces(0.0, 30, rows, unsure_below=0.2), T, min_faces=5)
    message = CountsMessage(boot="9f3a2c41", seq=0, model="3f9c1a77", clock="synced", frames=(frame,))

    assert CountsMessage.from_json(message.to_json()) == message
