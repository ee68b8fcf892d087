"""How far the estimated mix is from the true one, against raw counts: thousands of bags of labelled faces.

The card's confusion is of the validation split; the bags are drawn from the test split, which nothing was fitted on.
`.venv/bin/python -m benchmarks.estimate --data fer2013.zip`

With `--split validation` half of those faces give the confusion and the other half the bags: the constants of
aggregator/estimate.py are chosen by it.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aggregator.analysis.estimate import LABELS, Confusion, Groups, posteriors
from contract.labels import EMOTIONS, GROUPS
from edge.config import RuntimeConfig
from edge.vision.classifier import EmotionClassifier
from train.data import Faces, load
from train.figures import soft_confusion

SIZES = (10, 25, 100, 400)
AIMS = {10: 1.02, 25: 0.95, 100: 0.80, 400: 0.65}
"""Faces -> the largest error allowed, relative to raw counts; at natural mixes it is 1.02."""


def bags(labels: np.ndarray, size: int, mix: str, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of `size` faces, with replacement, of the data's own mix (`natural`) or of any with the same probability."""
    rows = [np.flatnonzero(labels == label) for label in range(len(EMOTIONS))]
    own = np.bincount(labels, minlength=len(EMOTIONS)) / len(labels)
    for _ in range(draws):
        drawn = rng.multinomial(size, own if mix == "natural" else rng.dirichlet(np.ones(len(EMOTIONS))))
        yield np.concatenate(
            [rng.choice(own_rows, count) for own_rows, count in zip(rows, drawn, strict=True) if count]
        )


def shares(labels: np.ndarray, groups: Groups) -> np.ndarray:
    """(groups,) shares of these labels."""
    by_label = np.bincount(labels, minlength=len(EMOTIONS)) / max(len(labels), 1)
    return np.array([by_label[list(group)].sum() for group in groups])


@dataclass(frozen=True, slots=True)
class Read:
    """What the classifier read, and what it is known to be worth."""

    labels: np.ndarray
    """(n,) true ones."""
    probabilities: np.ndarray
    """(n, 7)."""
    confusion: Confusion
    """Of other faces."""
    unsure_below: float


def measure(faces: Read, bag: np.ndarray, groups: Groups) -> tuple[float, ...]:
    """Errors per group of raw counts, mean probabilities and estimate; share of truths in their interval; its width."""
    read, true = faces.probabilities[bag], shares(faces.labels[bag], groups)
    sure = read.max(axis=1) >= faces.unsure_below
    known = posteriors(read.sum(axis=0)[None], np.array([len(bag)], float), faces.confusion)
    mix, low, high = known.estimates(groups)[0].T
    held = (low <= true + 1e-9) & (true <= high + 1e-9)
    raw = shares(read.argmax(axis=1)[sure], groups)
    mean = np.array([read.mean(axis=0)[list(group)].sum() for group in groups])
    errors = (np.abs(guess - true).mean() for guess in (raw, mean, mix))
    return (*errors, float(held.mean()), float(np.mean(high - low)))


def read_faces(classifier: EmotionClassifier, data: Path, split: str) -> Read:
    """The faces to draw from; of the validation split every second one, the others give the confusion."""
    threshold = classifier.card.unsure_below
    faces = load(data, split)
    if split != "validation":
        return Read(faces.labels, classifier.probabilities(faces.images), classifier.card.soft_confusion, threshold)
    # in the data's order the labels may lie one after the other, so every second face has the same mix
    known, drawn = (_probabilities(classifier, faces.take(np.arange(first, len(faces), 2))) for first in (0, 1))
    confusion = soft_confusion(*known)
    return Read(*drawn, tuple(map(tuple, confusion.tolist())), threshold)


def _probabilities(classifier: EmotionClassifier, faces: Faces) -> tuple[np.ndarray, np.ndarray]:
    return faces.labels, classifier.probabilities(faces.images)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="labelled faces, as `make train` takes them")
    parser.add_argument("--split", choices=("test", "validation", "private"), default="test")
    parser.add_argument("--model", type=Path, default=Path("models/emotion_int8.tflite"))
    parser.add_argument("--draws", type=int, default=2000, help="bags per row")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    classifier = EmotionClassifier(arguments.model, RuntimeConfig(package="tflite_runtime"))
    faces = read_faces(classifier, arguments.data, arguments.split)
    accuracy = (faces.probabilities.argmax(axis=1) == faces.labels).mean()
    print(
        f"{len(faces.labels)} faces, top-1 {accuracy:.1%}; {arguments.draws} bags per row; errors in points per class"
    )
    print("mix      faces    raw  mean p  estimate  of raw   aim  coverage  width")
    print_table(faces, LABELS, arguments)
    print(f"the groups {', '.join(GROUPS)}")
    print_table(faces, tuple(tuple(EMOTIONS.index(label) for label in labels) for labels in GROUPS.values()), arguments)


def print_table(faces: Read, groups: Groups, arguments: argparse.Namespace) -> None:
    """A row per mix and size of bags."""
    rng = np.random.default_rng(arguments.seed)
    for mix in ("random", "natural"):
        for size in SIZES:
            drawn = bags(faces.labels, size, mix, arguments.draws, rng)
            rows = np.array([measure(faces, bag, groups) for bag in drawn])
            raw, mean, error, coverage, width = rows.mean(axis=0)
            aim = 1.02 if mix == "natural" else AIMS[size]
            figures = f"{100 * raw:6.2f}  {100 * mean:6.2f}  {100 * error:8.2f}  {error / raw:6.2f}  {aim:4.2f}"
            print(f"{mix:8} {size:5d} {figures}  {coverage:8.1%}  {100 * width:5.1f}")


if __name__ == "__main__":
    main()
