"""What the published figures tell of one student: the difference attack, and what each measure against it costs.

    .venv/bin/python -m benchmarks.privacy --data fer2013.zip

A student enters a group; an observer who knows the minute compares what was published before and after, and guesses the
label that the network reads in the student's face. Everybody has a face of the test split with what the shipped int8
model says of it, moved a little from frame to frame. From one minute to the next a part of the others takes another
face. The observer knows the measure: the guess is the largest difference, or that of a linear discriminant trained on
as many trials again, whichever is right more often.

The same rooms give the error of a minute's mix: the estimate that the page shows against the true labels.
"""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from aggregator.analysis.estimate import Confusion, posteriors
from aggregator.analysis.mix import SPAN_WINDOWS, Estimator
from aggregator.store.windows import WINDOW_S
from contract.card import read
from contract.labels import EMOTIONS
from edge.config import MIN_FRAMES, PublishConfig, RuntimeConfig
from edge.vision.classifier import EmotionClassifier
from edge.vision.pipeline import Reading, averaged
from train.data import load

GROUPS = (7, 12, 25, 40)
CHANGING = {"none": 0.0, "a tenth": 0.1, "a third": 1 / 3}
"""Of the others, from one minute to the next."""
LOOKS = 5
"""Pictures of each face: as it is, and moved as a head and a camera move it."""
LABELS = len(EMOTIONS)
Rng = np.random.Generator
Publish = Callable[[np.ndarray], np.ndarray]
"""(trials, people) faces of one minute -> (trials, n): `expected`, and what else is published."""


class Faces(NamedTuple):
    """What the network says of the faces to draw from."""

    labels: np.ndarray
    """(n,) true ones."""
    probabilities: np.ndarray
    """(n, LOOKS, 7)."""
    counts: np.ndarray
    """(n, LOOKS, 8): 1 for the sure label, or for unsure."""

    @property
    def read(self) -> np.ndarray:
        """(n,) what the network reads in them over a minute."""
        label: np.ndarray = self.probabilities.mean(axis=1).argmax(axis=1)
        return label

    @property
    def sure(self) -> np.ndarray:
        """The faces that it is sure of: those are counted for a label."""
        return np.flatnonzero(self.counts[:, :, LABELS].mean(axis=1) < 1 / 2)


class Measure(NamedTuple):
    """One way to publish."""

    publish: Publish
    minutes: int = 1
    """The observer compares so many before with so many after; the page shows their mean."""
    gap: int = 0
    """Minutes held back between them."""
    added: float = 0.0
    """Variance of the noise in a minute's sum of a label, as far as the page knows it; in squared faces."""


@dataclass(frozen=True, slots=True)
class Room:
    """Draws rooms, attacks them, and measures their mix."""

    faces: Faces
    confusion: Confusion
    rng: Rng
    trials: int

    def course(self, people: int, changing: float, minutes: int, trials: int) -> np.ndarray:
        """(trials, minutes, people) faces; the same ones for every measure that takes as many minutes."""
        rng = np.random.default_rng(people)
        drawn = rng.integers(len(self.faces.labels), size=(trials, minutes, people))
        for minute in range(1, minutes):
            same = rng.random((trials, people)) >= changing
            drawn[:, minute][same] = drawn[:, minute - 1][same]
        return drawn

    def success(self, measure: Measure, people: int, changing: float) -> float:
        """Share of the trials in which the student's label was recovered."""
        minutes, trials = measure.minutes, 2 * self.trials
        course = self.course(people, changing, 2 * minutes + measure.gap, trials)
        student = self.rng.choice(self.faces.sure, trials)
        after = np.concatenate([course, np.broadcast_to(student[:, None, None], (*course.shape[:2], 1))], axis=2)
        seen = np.mean([measure.publish(after[:, -1 - minute]) for minute in range(minutes)], axis=0)
        seen = seen - np.mean([measure.publish(course[:, minute]) for minute in range(minutes)], axis=0)
        true = self.faces.read[student]
        largest = seen[:, :LABELS].argmax(axis=1) == true
        return float(max(largest.mean(), discriminant(seen, true, self.trials).mean()))

    def error(self, measure: Measure, people: int, changing: float) -> tuple[float, float]:
        """Mean error of the shown mix of now, in points per label; share of the truths in the 90 % intervals."""
        course = self.course(people, changing, measure.minutes + measure.gap, self.trials)
        shown = np.mean([measure.publish(course[:, m])[:, :LABELS] for m in range(measure.minutes)], axis=0)
        added = np.full(self.trials, measure.added / measure.minutes)
        known = posteriors(np.maximum(shown, 1e-6), np.full(self.trials, float(people)), self.confusion, added)
        mix, low, high = np.moveaxis(known.estimates(), -1, 0)
        true = np.array([np.bincount(self.faces.labels[drawn], minlength=LABELS) for drawn in course[:, -1]]) / people
        held = (low <= true + 1e-9) & (true <= high + 1e-9)
        return float(100 * np.abs(mix - true).mean()), float(held.mean())


def discriminant(seen: np.ndarray, true: np.ndarray, known: int) -> np.ndarray:
    """For each trial after the first `known`, from which it learns, whether a linear discriminant is right."""
    learnt, labels = seen[:known], true[:known]
    means = np.array([learnt[labels == label].mean(axis=0) for label in range(LABELS)])
    off = learnt - means[labels]
    weights = np.linalg.solve(off.T @ off / known + 1e-4 * np.eye(seen.shape[1]), means.T)
    priors = np.log(np.bincount(labels, minlength=LABELS) / known)
    scores = seen[known:] @ weights - (means.T * weights).sum(axis=0) / 2 + priors
    right: np.ndarray = scores.argmax(axis=1) == true[known:]
    return right


def frame(faces: Faces, rng: Rng) -> Publish:
    """One frame, as it was counted."""

    def publish(drawn: np.ndarray) -> np.ndarray:
        look = rng.integers(LOOKS, size=drawn.shape)
        expected = faces.probabilities[drawn, look].sum(axis=1).round(2)
        return np.concatenate([expected, faces.counts[drawn, look].sum(axis=1)], axis=1)

    return publish


def minute(faces: Faces) -> Publish:
    """The mean of a minute's frames, each as it was counted: what is stored without any measure."""
    both = np.concatenate([faces.probabilities.mean(axis=1), faces.counts.mean(axis=1)], axis=1)
    return lambda drawn: both[drawn].sum(axis=1)


def rounded(faces: Faces, step: float) -> Publish:
    """`expected` of a minute in multiples of `step` faces."""
    whole = minute(faces)
    return lambda drawn: np.rint(whole(drawn)[:, :LABELS] / step) * step


def noisy(faces: Faces, draw: Callable[..., np.ndarray | float], scale: float) -> Publish:
    """`expected` of a minute with noise, brought back to what is not negative and to the number of people."""
    whole = minute(faces)

    def publish(drawn: np.ndarray) -> np.ndarray:
        expected = whole(drawn)[:, :LABELS]
        kept = np.clip(expected + draw(0, scale, expected.shape), 1e-6, None)
        return np.asarray(kept * (expected.sum(axis=1) / kept.sum(axis=1))[:, None])

    return publish


def device(faces: Faces, config: PublishConfig) -> Publish:
    """A minute of spans by the device's own code."""
    whole, number = minute(faces), max(1, round(60 / config.span_s))

    def publish(drawn: np.ndarray) -> np.ndarray:
        return np.array(
            [np.mean([_span(sums, drawn.shape[1], config) for _ in range(number)], axis=0) for sums in whole(drawn)]
        )

    return publish


def spans(faces: Faces, config: PublishConfig) -> Measure:
    """A minute of spans, of which the page knows epsilon."""
    return Measure(
        device(faces, config), added=Estimator({}, epsilon=config.epsilon).noise * SPAN_WINDOWS * WINDOW_S / 60
    )


def _span(sums: np.ndarray, people: int, config: PublishConfig) -> list[float]:
    unsure = round(sums[-1])
    counts = dict.fromkeys(EMOTIONS, 0)  # averaged makes them of `expected`
    reading = Reading(0.0, people, unsure, counts, dict(zip(EMOTIONS, sums.tolist(), strict=False)))
    told = averaged([reading] * MIN_FRAMES, 1, config.epsilon)[0]
    return [*(told.expected or counts).values(), *(told.counts or counts).values(), told.unsure]


def curves(faces: Faces, rng: Rng) -> dict[str, list[Measure]]:
    """Name -> the measure, ever stronger."""
    plain, scales = minute(faces), (0.3, 0.45, 0.6, 0.8, 1.1)
    return {
        "expected in multiples of 0.5 to 3 faces": [
            Measure(rounded(faces, step)) for step in (0.5, 1.0, 1.5, 2.0, 3.0)
        ],
        "held back for 1 to 10 minutes": [Measure(plain, gap=gap) for gap in (1, 2, 3, 5, 10)],
        "windows of 2 to 10 minutes": [Measure(plain, minutes=minutes) for minutes in (2, 3, 5, 10)],
        "Laplace noise, one draw a minute": [
            Measure(noisy(faces, rng.laplace, scale), added=2 * scale**2) for scale in scales
        ],
        "Gaussian noise, one draw a minute": [
            Measure(noisy(faces, rng.normal, scale * 2**0.5), added=2 * scale**2) for scale in scales
        ],
        "the device: spans of 20 s, epsilon 6 to 1": [
            spans(faces, PublishConfig(span_s=20.0, epsilon=epsilon)) for epsilon in (6.0, 4.0, 3.0, 2.0, 1.0)
        ],
    }


def read_faces(data: Path, model: Path, cache: Path, rng: Rng) -> Faces:
    """Every second face of the test split, read by the shipped model; `cache` keeps what it said."""
    classifier = EmotionClassifier(model, RuntimeConfig(threads=1))
    kept = cache / f"privacy-{classifier.card.short}.npz"
    if not kept.exists():
        faces = load(data, "test")
        faces = faces.take(np.arange(0, len(faces), 2))
        looks = [np.stack([moved(image, rng) if look else image for image in faces.images]) for look in range(LOOKS)]
        cache.mkdir(parents=True, exist_ok=True)
        probabilities = np.stack([classifier.probabilities(images) for images in looks], axis=1)
        np.savez(kept, labels=faces.labels, probabilities=probabilities)
    stored = np.load(kept)
    probabilities = stored["probabilities"].astype(float)
    column = np.where(probabilities.max(axis=2) >= classifier.card.unsure_below, probabilities.argmax(axis=2), LABELS)
    return Faces(stored["labels"], probabilities, np.eye(LABELS + 1)[column])


def moved(image: np.ndarray, rng: Rng) -> np.ndarray:
    """The face as another frame would show it: turned, shifted, scaled, in other light, with the sensor's noise."""
    turn = cv2.getRotationMatrix2D((23.5, 23.5), rng.normal(0, 2), 1 + rng.normal(0, 0.03))
    turn[:, 2] = turn[:, 2] + rng.normal(0, 1, 2)
    warped = cv2.warpAffine(image, turn, image.shape[::-1], borderMode=cv2.BORDER_REPLICATE).astype(float)
    lit = warped * (1 + rng.normal(0, 0.04)) + rng.normal(0, 4) + rng.normal(0, 4, image.shape)
    return np.clip(lit, 0, 255).astype(np.uint8)


def print_attacks(room: Room, ways: Mapping[str, Measure]) -> None:
    """How often each attack is right, by group and by how many others change."""
    guess = np.bincount(room.faces.read[room.faces.sure]).max() / len(room.faces.sure)
    print(f"label recovered, % of {2 * room.trials} trials (guessing: {guess:.0%})")
    print(f"{'others changing':42}" + "".join(f"{name:>20}" for name in CHANGING))
    print(f"{'group of':42}" + "".join(f"{people:5}" for _ in CHANGING for people in GROUPS))
    for name, measure in ways.items():
        cells = [room.success(measure, people, changing) for changing in CHANGING.values() for people in GROUPS]
        print(f"{name:42}" + "".join(f"{100 * cell:5.0f}" for cell in cells), flush=True)


def print_costs(room: Room, ways: Mapping[str, Measure]) -> None:
    """What each way costs the minute's mix."""
    print("error of a minute's mix, points per label, and share of the truths in the 90 % intervals; a tenth changing")
    print(f"{'group of':42}" + "".join(f"{people:>12}" for people in GROUPS))
    for name, measure in ways.items():
        cells = [room.error(measure, people, CHANGING["a tenth"]) for people in GROUPS]
        print(f"{name:42}" + "".join(f"{error:6.1f} {held:4.0%} " for error, held in cells), flush=True)


def measure_curves(room: Room, people: int) -> dict[str, list[tuple[float, float]]]:
    """Name -> (points of error more than without a measure, attack success) by strength; a tenth changing."""
    changing, plain = CHANGING["a tenth"], Measure(minute(room.faces))
    without, _ = room.error(plain, people, changing)
    begin = (0.0, room.success(plain, people, changing))
    print(
        f"group of {people}, a tenth changing: points of error more than {without:.1f} / label recovered; "
        f"without a measure {begin[1]:.0%}"
    )
    found = {}
    for name, measures in curves(room.faces, room.rng).items():
        points = [
            (room.error(each, people, changing)[0] - without, room.success(each, people, changing)) for each in measures
        ]
        print(f"{name:42}" + "".join(f"  {error:+.1f} / {success:.0%}" for error, success in points), flush=True)
        found[name] = [begin, *points]
    return found


def draw(path: Path, panels: Mapping[int, Mapping[str, Sequence[tuple[float, float]]]]) -> None:
    """The curves as a picture: error to the right, success upwards, the aim shaded."""
    colours = ((60, 60, 220), (200, 120, 0), (0, 160, 220), (60, 140, 20), (160, 60, 160), (0, 0, 0))
    picture = np.full((560, 620 * len(panels), 3), 255, np.uint8)

    def write(text: str, x: int, y: int) -> None:
        cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)

    for panel, (people, lines) in enumerate(panels.items()):
        left = 620 * panel + 50

        def at(error: float, success: float, left: int = left) -> tuple[int, int]:
            return int(left + 90 * min(max(error, 0.0), 6.0)), int(500 - 640 * (success - 0.2))

        cv2.rectangle(picture, at(0, 0.4), at(2.5, 0.2), (225, 245, 225), -1)
        for tenth in range(2, 9):
            cv2.line(picture, at(0, tenth / 10), at(6, tenth / 10), (225, 225, 225), 1)
            write(f"{10 * tenth} %", left - 42, at(0, tenth / 10)[1] + 4)
        for points in range(7):
            write(f"+{points}", at(points, 0.2)[0] - 8, 518)
        write(f"group of {people}: label recovered, by points of error more of a minute's mix", left, 22)
        for row, (colour, (name, curve)) in enumerate(zip(colours, lines.items(), strict=True)):
            pixels = [at(*point) for point in curve]
            cv2.polylines(picture, [np.array(pixels)], isClosed=False, color=colour, thickness=2, lineType=cv2.LINE_AA)
            for pixel in pixels[1:]:
                cv2.circle(picture, pixel, 4, colour, -1, cv2.LINE_AA)
            cv2.line(picture, (left + 250, 50 + 18 * row), (left + 275, 50 + 18 * row), colour, 2, cv2.LINE_AA)
            write(name, left + 282, 54 + 18 * row)
    cv2.imwrite(str(path), picture)


def main() -> None:
    """Print the tables and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("CLASSPULSE_TEST_DATA")
    parser.add_argument("--data", type=Path, default=data, required=data is None, help="as `make train` takes them")
    parser.add_argument("--model", type=Path, default=Path("models/emotion_int8.tflite"))
    parser.add_argument("--cache", type=Path, default=Path("var"), help="keeps what the network said")
    parser.add_argument("--trials", type=int, default=600, help="that an observer learns from, and as many to guess")
    parser.add_argument("--curve", type=Path, default=Path("docs/privacy.png"))
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    faces = read_faces(arguments.data, arguments.model, arguments.cache, rng)
    confusion = read(arguments.model.with_suffix(".json")).soft_confusion
    room = Room(faces, confusion, rng, arguments.trials)
    default = spans(faces, PublishConfig(span_s=20.0))
    ways = {
        "frames as they were counted": Measure(frame(faces, rng)),
        "a minute of such frames": Measure(minute(faces)),
        "a minute of spans of 20 s, epsilon = 2": default,
        "five minutes of such frames": Measure(minute(faces), minutes=5),
        "five minutes of spans": default._replace(minutes=5),
        "a minute of spans, epsilon = 1": spans(faces, PublishConfig(span_s=20.0, epsilon=1.0)),
    }
    print_attacks(room, ways)
    print_costs(room, {name: ways[name] for name in list(ways)[1:3] + list(ways)[5:]})
    draw(arguments.curve, {people: measure_curves(room, people) for people in (12, 25)})


if __name__ == "__main__":
    main()
