"""Figures computed from probabilities."""

import numpy as np
import pytest

from contract.labels import EMOTIONS
from train import figures
from train.votes import FER_PLUS


def one_hot(*tops: int) -> np.ndarray:
    """Certain answers."""
    return np.eye(7)[list(tops)]


def calibrated(count: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and logits that are `temperature` times too sharp for them."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (count, 7))
    labels = np.array([rng.choice(7, p=row) for row in figures.softmax(logits)])
    return labels, logits * temperature


def test_per_class_figures_follow_their_definitions():
    """Precision divides by what was said, recall by what is there, F1 is their harmonic mean."""
    labels = np.array([0, 0, 0, 1, 3])
    confusion = figures.hard_confusion(labels, one_hot(0, 0, 3, 0, 3))

    rows = figures.per_class(confusion)

    assert rows["angry"] == {
        "precision": pytest.approx(2 / 3), "recall": pytest.approx(2 / 3), "f1": pytest.approx(2 / 3), "support": 3,
    }  # fmt: skip
    assert rows["disgust"]["recall"] == 0
    assert rows["happy"]["precision"] == 0.5
    assert rows["sad"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


def test_confusion_has_true_labels_in_rows():
    """An angry face read as happy stands in angry's row and happy's column, hard and soft."""
    labels, said = np.array([0]), one_hot(3)

    assert figures.hard_confusion(labels, said)[0, 3] == 1
    assert figures.soft_confusion(labels, said)[0, 3] == 1
    assert figures.soft_confusion(labels, said)[1].tolist() == pytest.approx([1 / 7] * 7)


def test_macro_recall_leaves_out_labels_without_faces():
    """A label that is not there can be neither missed nor found."""
    report = figures.summary(np.array([0, 0, 3, 3]), one_hot(0, 0, 3, 0))

    assert report["macro_recall"] == 0.75
    assert report["accuracy"] == 0.75


def test_a_face_is_read_as_the_group_of_the_greatest_summed_probability():
    """Three unpleasant labels of a fifth each outweigh two fifths of happy; a group without faces has a recall of 0."""
    doubtful = np.zeros((1, 7))
    doubtful[0, [EMOTIONS.index(label) for label in ("angry", "fear", "sad")]] = 0.2
    doubtful[0, EMOTIONS.index("happy")] = 0.4

    found = figures.groups(
        np.array([EMOTIONS.index("sad"), EMOTIONS.index("surprise")]), np.concatenate([doubtful, one_hot(3)])
    )

    assert found == {"accuracy": 1, "recall": {"pleasant": 1, "neutral": 0, "unpleasant": 1}}


def test_calibration_error_is_the_distance_of_confidence_and_accuracy():
    """Four answers at 0.9, half of them right, are 0.4 off."""
    probabilities = np.full((4, 7), 0.1 / 6)
    probabilities[:, 3] = 0.9

    assert figures.calibration_error(np.array([3, 3, 0, 1]), probabilities) == pytest.approx(0.4)


def test_fitted_temperature_undoes_a_known_one():
    """Logits that are twice too sharp give a temperature of two."""
    labels, logits = calibrated(4000, 2.0)

    temperature = figures.fit_temperature(labels, logits)

    assert temperature == pytest.approx(2.0, rel=0.06)
    assert figures.calibration_error(labels, figures.softmax(logits / temperature)) < 0.03
    assert figures.calibration_error(labels, figures.softmax(logits)) > 0.05


def test_unsure_threshold_is_the_lowest_that_is_accurate_enough():
    """One step lower, the accuracy of those that stay sure is under the rule's."""
    labels, logits = calibrated(4000, 1.0)
    probabilities = figures.softmax(logits * 0.5)

    threshold = figures.unsure_below(labels, probabilities)

    here, lower = figures.coverage(labels, probabilities, np.array([threshold, threshold - 0.01]))
    assert 0 < threshold < 1
    assert here["accuracy"] >= figures.SURE_ACCURACY > lower["accuracy"]


def test_unsure_threshold_keeps_half_of_the_faces():
    """A model that is never accurate enough does not call everything unsure."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(7), 1000)

    threshold = figures.unsure_below(rng.integers(0, 7, 1000), probabilities)

    assert figures.coverage(np.zeros(1000, int), probabilities, np.array([threshold]))[0]["coverage"] >= 0.5


def test_agreement_counts_only_faces_with_one_winner():
    """A tie and a face without votes take no part; contempt agrees with no label."""
    votes = np.zeros((4, 10))
    votes[0, FER_PLUS.index("happiness")] = 1
    votes[1, FER_PLUS.index("contempt")] = 1
    votes[2, [FER_PLUS.index("fear"), FER_PLUS.index("sadness")]] = 0.5
    labels = np.full(4, EMOTIONS.index("happy"))

    found = figures.agreement(labels, one_hot(3, 0, 3, 3), votes)

    assert found["faces"] == 2
    assert found["agree"] == 0.5
    assert found["accuracy_where_they_agree"] == 1
    assert found["accuracy_where_they_do_not"] == 0
