"""How soon lasting changes of a class are noticed, and how often nothing has changed: synthetic lessons.

People keep an expression for a while and then take another one from the class's mix; each reading errs as the shipped
model's card says, and each span has the noise that devices add. `.venv/bin/python -m benchmarks.attention`
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from aggregator.analysis.attention import Points, events
from aggregator.analysis.estimate import LABELS, posteriors
from aggregator.analysis.mix import SPAN_WINDOWS, Estimator
from aggregator.config import AttentionConfig
from aggregator.store.windows import WINDOW_S
from contract.card import read
from contract.labels import EMOTIONS, GROUPS

LESSON_S = 45 * 60
CHANGE_S = 20 * 60
"""When the class changes."""
EARLY_S = 2 * 60
"""When it changes early."""
RAMP_S = 10 * 60
"""How long a slow change takes."""
DWELL_S = 20.0
"""Mean time for which a person keeps an expression."""
USUAL = np.array([0.04, 0.01, 0.05, 0.20, 0.10, 0.05, 0.55])
"""In the order of EMOTIONS."""
SHARPNESS = 3.0
"""Of the Dirichlet distribution that a face's probabilities are drawn from; low: one label takes most."""
MEMBERS = tuple(tuple(map(EMOTIONS.index, labels)) for labels in GROUPS.values())

Course = Callable[[float], float]
"""Seconds since the begin of the lesson -> how much of the class's share has moved from neutral to sad."""


def step(change: float, begin_s: float, lasts_s: float = LESSON_S) -> Course:
    """All at once, and back after `lasts_s`."""
    return lambda t: change if begin_s <= t < begin_s + lasts_s else 0.0


def ramp(change: float) -> Course:
    """Slowly, from CHANGE_S on."""
    return lambda t: change * min(max((t - CHANGE_S) / RAMP_S, 0.0), 1.0)


def lesson(
    course: Course, people: int, confusion: np.ndarray, rng: np.random.Generator, variance: float = 0.0
) -> Points:
    """The windows of a lesson; `variance`: of the noise that devices add to a label's sum, in squared faces."""
    labels = np.arange(len(EMOTIONS))
    shown = rng.choice(labels, people, p=USUAL)
    looks = np.array([rng.dirichlet(SHARPNESS * confusion[label] + 1e-3) for label in shown])
    rows, last, noise = [], 0.0, np.zeros(len(EMOTIONS))
    for start in range(0, LESSON_S, WINDOW_S):
        moved, last = course(start) - last, course(start)
        mix = USUAL.copy()
        mix[EMOTIONS.index("neutral")] -= last
        mix[EMOTIONS.index("sad")] += last
        for person in np.flatnonzero(rng.random(people) < (0.8 if abs(moved) > 0.1 else WINDOW_S / DWELL_S)):
            shown[person] = rng.choice(labels, p=mix)
            looks[person] = rng.dirichlet(SHARPNESS * confusion[shown[person]] + 1e-3)
        if start % (SPAN_WINDOWS * WINDOW_S) == 0:
            noise = rng.laplace(0, (variance / 2) ** 0.5, len(EMOTIONS))
        told = np.clip(looks.sum(axis=0) + noise, 0, None)
        card = tuple(map(tuple, confusion.tolist()))
        found = posteriors(told[None], np.array([people], float), card, np.array([variance]))
        groups, shares = (found.estimates(each)[0, :, 0].tolist() for each in (MEMBERS, LABELS))
        rows.append((*groups, people, 0.0, *shares))
    return Points(tuple(GROUPS), np.arange(0, LESSON_S, WINDOW_S), np.array(rows))


CASES: dict[str, tuple[Course, float, float]] = {
    "nothing": (step(0.0, 0), 0, 0),
    "40 points for 20 s": (step(0.4, CHANGE_S, 20), 0, 0),
    "40 points for 60 s": (step(0.4, CHANGE_S, 60), 0, 0),
    "20 points": (step(0.2, CHANGE_S), CHANGE_S, 600),
    "30 points": (step(0.3, CHANGE_S), CHANGE_S, 600),
    "40 points": (step(0.4, CHANGE_S), CHANGE_S, 600),
    "30 points in 10 min": (ramp(0.3), CHANGE_S, 1200),
    "30 points, after 2 min": (step(0.3, EARLY_S), EARLY_S, 600),
}
"""Name -> course of the lesson, when the change begins, and how long after that it may be noticed."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--card", type=Path, default=Path("models/emotion_int8.json"))
    parser.add_argument("--lessons", type=int, default=40, help="lessons per row")
    parser.add_argument("--people", type=int, default=25)
    parser.add_argument("--epsilon", type=float, default=0.0, help="of devices that add noise ([publish] span_s = 20)")
    parser.add_argument("--deviations", type=float, default=AttentionConfig().deviations, help="of [attention]")
    arguments = parser.parse_args()
    confusion = np.array(read(arguments.card).soft_confusion)
    config = AttentionConfig(deviations=arguments.deviations)
    variance = Estimator({}, epsilon=arguments.epsilon).noise
    print(f"{arguments.lessons} lessons of {LESSON_S // 60} minutes and {arguments.people} people per row")
    print(f"{'change':24} noticed  median delay  other events per lesson")
    for row, (name, (course, begin_s, within_s)) in enumerate(CASES.items()):
        rng, delays, others = np.random.default_rng(row), [], 0
        for _ in range(arguments.lessons):
            found = events(lesson(course, arguments.people, confusion, rng, variance), config)
            at = [event.t.timestamp() - begin_s for event in found]
            right = [delay for delay in at if 0 < delay <= within_s][:1]
            delays += right
            others += len(at) - len(right)
        share = f"{len(delays) / arguments.lessons:7.0%}" if within_s else "      -"
        delay = f"{np.median(delays):10.0f} s" if delays else "           -"
        print(f"{name:24} {share}  {delay}  {others / arguments.lessons:8.2f}", flush=True)


if __name__ == "__main__":
    main()
