"""What a classifier's probabilities are worth against the true labels. Pure: no keras, no files.

Everywhere `probabilities` is (n, 7) and `labels` (n,) indices into EMOTIONS.
"""

from typing import Any

import numpy as np

from contract.labels import EMOTIONS, GROUPS

Json = dict[str, Any]
"""A table that goes into a file."""

CALIBRATION_BINS = 15
"""Of equal width over the top probability. Source: Guo et al. 2017, arXiv:1706.04599."""
_FER_PLUS_LABELS = (
    "neutral",
    "happy",
    "surprise",
    "sad",
    "angry",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "not_face",
)
"""train.data.FER_PLUS in the words of EMOTIONS."""
THRESHOLDS = np.arange(25, 100, 5) / 100
"""Of the coverage table."""
SURE_ACCURACY = 0.75
"""The rule for `unsure`: the lowest threshold at which this share of the remaining validation faces is right …"""
SURE_COVERAGE = 0.5
"""… but never one that calls more than half of them unsure."""


def summary(labels: np.ndarray, probabilities: np.ndarray) -> Json:
    """Everything below that is one number or one table per class, ready for JSON."""
    confusion = hard_confusion(labels, probabilities)
    classes = per_class(confusion)
    return {
        "faces": len(labels),
        "accuracy": accuracy(labels, probabilities),
        "macro_recall": float(np.mean([row["recall"] for row in classes.values() if row["support"]])),
        "macro_f1": float(np.mean([row["f1"] for row in classes.values() if row["support"]])),
        "ece": calibration_error(labels, probabilities),
        "log_loss": log_loss(labels, probabilities),
        "per_class": classes,
        "groups": groups(labels, probabilities),
    }


def groups(labels: np.ndarray, probabilities: np.ndarray) -> Json:
    """Accuracy and recalls of the three groups of labels, 0 where there are no faces.

    A face is read as the group with the greatest sum of probabilities.
    """
    members = np.array([[label in group for label in EMOTIONS] for group in GROUPS.values()])
    true, read = members.argmax(axis=0)[labels], (probabilities @ members.T).argmax(axis=1)
    right, there = (np.bincount(rows, minlength=len(GROUPS)) for rows in (true[read == true], true))
    return {
        "accuracy": float((read == true).mean()),
        "recall": dict(zip(GROUPS, (right / np.maximum(there, 1)).tolist(), strict=True)),
    }


def accuracy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Share of faces whose top label is the true one."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative logarithm of the true label's probability, which counts as at least half an int8 step."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1 / 512)).mean())


def hard_confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(7, 7) faces, by true label (row) and top label (column)."""
    confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    return confusion


def soft_confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(7, 7) mean probabilities, by true label (row); a label without faces has a row of equal ones."""
    size = len(EMOTIONS)
    rows = [probabilities[labels == index].mean(axis=0) if (labels == index).any() else np.full(size, 1 / size)
            for index in range(size)]  # fmt: skip
    return np.stack(rows)


def per_class(confusion: np.ndarray) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of every label; 0 where nothing was said or nothing is there."""
    right = np.diag(confusion).astype(float)
    said, there = confusion.sum(axis=0), confusion.sum(axis=1)
    precision, recall = right / np.maximum(said, 1), right / np.maximum(there, 1)
    f1 = 2 * right / np.maximum(said + there, 1)
    return {
        label: {
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "f1": float(f1[index]),
            "support": int(there[index]),
        }
        for index, label in enumerate(EMOTIONS)
    }


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean top probability, accuracy, faces) of every bin that has faces, lowest bin first."""
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((top * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    members = [bins == number for number in np.unique(bins)]
    return [(float(top[rows].mean()), float(right[rows].mean()), int(rows.sum())) for rows in members]


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error: mean distance of accuracy and top probability over the bins, weighted by faces.

    Source: Naeini et al. 2015, AAAI; Guo et al. 2017, arXiv:1706.04599.
    """
    return sum(abs(said - right) * faces for said, right, faces in reliability(labels, probabilities)) / len(labels)


def coverage(labels: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray) -> list[dict[str, float]]:
    """For every threshold: the share of faces that stay sure, and the accuracy on them (1 if none stays)."""
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    rows = []
    for threshold in thresholds:
        sure = top >= threshold
        share = float(right[sure].mean()) if sure.any() else 1.0
        rows.append({"unsure_below": float(threshold), "coverage": float(sure.mean()), "accuracy": share})
    return rows


def unsure_below(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The threshold, in hundredths, that the rule of SURE_ACCURACY and SURE_COVERAGE gives."""
    best = 0.0
    for row in coverage(labels, probabilities, np.arange(0, 100) / 100):
        if row["coverage"] < SURE_COVERAGE:
            break
        best = row["unsure_below"]
        if row["accuracy"] >= SURE_ACCURACY:
            break
    return best


def agreement(labels: np.ndarray, probabilities: np.ndarray, votes: np.ndarray) -> Json:
    """How FER+'s annotators see the labels, and the accuracy where they agree with them and where they do not.

    Args:
        labels: (n,) indices into EMOTIONS.
        probabilities: (n, 7).
        votes: (n, 10) in FER_PLUS's order; rows of zeros, and rows without a single winner, take no part.
    """
    ordered = np.sort(votes, axis=1)
    decided = ordered[:, -1] > ordered[:, -2]
    # contempt, unknown and "not a face" are none of the seven
    majority = np.array([EMOTIONS.index(name) if name in EMOTIONS else -1 for name in _FER_PLUS_LABELS])
    seen, right = majority[votes.argmax(axis=1)], probabilities.argmax(axis=1) == labels
    same = seen == labels
    return {
        "faces": int(decided.sum()),
        "agree": float(same[decided].mean()),
        "accuracy_where_they_agree": float(right[decided & same].mean()),
        "accuracy_where_they_do_not": float(right[decided & ~same].mean()),
        "accuracy_against_their_majority": float((probabilities.argmax(axis=1) == seen)[decided & (seen >= 0)].mean()),
    }


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """The divisor of `logits`, (n, 7), at which the mean top probability is the accuracy; 0.2 to 5, to a thousandth.

    Source: Clarté et al. 2023, arXiv:2303.02644. The least log loss (Guo et al. 2017, arXiv:1706.04599) left a student
    of teachers 1.4 points too sure of itself, and `unsure` goes by that probability.
    """
    low, high = np.log(0.2), np.log(5.0)
    while high - low > 1e-4:
        middle = (low + high) / 2
        if softmax(logits / np.exp(middle)).max(axis=1).mean() > accuracy(labels, logits):
            low = middle
        else:
            high = middle
    return round(float(np.exp((low + high) / 2)), 3)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, (n, 7), of logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
