"""How soon lasting changes of a class are told, and how often there is nothing to tell: synthetic lessons.

People keep an expression for a while and then take another one from the class's mix; each reading errs as the shipped
model's card says. `.venv/bin/python -m benchmarks.attention`
"""

import argparse
from pathlib import Path

import numpy as np

from aggregator.analysis.attention import Point, events
from aggregator.analysis.estimate import estimate
from aggregator.config import AttentionConfig
from aggregator.store.windows import WINDOW_S
from contract.card import read
from contract.labels import EMOTIONS

LESSON_S = 45 * 60
CHANGE_S = 20 * 60
"""When the class changes."""
DWELL_S = 20.0
"""Mean time for which a person keeps an expression."""
USUAL = np.array([0.04, 0.01, 0.05, 0.20, 0.10, 0.05, 0.55])
"""In the order of EMOTIONS."""
SHARPNESS = 3.0
"""Of the Dirichlet distribution that a face's probabilities are drawn from; low: one label takes most."""


def mixes(change: float, lasts_s: float) -> np.ndarray:
    """(windows, 7): `change` of the class's share moves from neutral to sad at CHANGE_S and back after `lasts_s`."""
    whole = np.tile(USUAL, (LESSON_S // WINDOW_S, 1))
    begin, end = CHANGE_S // WINDOW_S, int((CHANGE_S + lasts_s) // WINDOW_S)
    whole[begin:end, EMOTIONS.index("neutral")] -= change
    whole[begin:end, EMOTIONS.index("sad")] += change
    return whole


def lesson(wanted: np.ndarray, people: int, confusion: np.ndarray, rng: np.random.Generator) -> list[Point]:
    """The windows of a lesson whose class has these mixes."""
    labels = np.arange(len(EMOTIONS))
    shown = rng.choice(labels, people, p=wanted[0])
    looks = np.array([rng.dirichlet(SHARPNESS * confusion[label] + 1e-3) for label in shown])
    points = []
    for window, mix in enumerate(wanted):
        moved = window > 0 and not np.array_equal(mix, wanted[window - 1])
        for person in np.flatnonzero(rng.random(people) < (0.8 if moved else WINDOW_S / DWELL_S)):
            shown[person] = rng.choice(labels, p=mix)
            looks[person] = rng.dirichlet(SHARPNESS * confusion[shown[person]] + 1e-3)
        found = estimate(looks.sum(axis=0).tolist(), people, tuple(map(tuple, confusion.tolist())))
        points.append(Point(window * WINDOW_S, found.mix))
    return points


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--card", type=Path, default=Path("models/emotion_int8.json"))
    parser.add_argument("--lessons", type=int, default=40, help="lessons per row")
    parser.add_argument("--people", type=int, default=25)
    arguments = parser.parse_args()
    confusion = np.array(read(arguments.card).soft_confusion)
    rng = np.random.default_rng(0)
    print(f"{arguments.lessons} lessons of {LESSON_S // 60} minutes and {arguments.people} people per row")
    print("change  lasts    told  median delay  other events per lesson")
    for change, lasts_s in ((0.0, 0.0), (0.4, 20.0), (0.4, 60.0), (0.2, 1500.0), (0.3, 1500.0), (0.4, 1500.0)):
        delays, others = [], 0
        for _ in range(arguments.lessons):
            told = events(lesson(mixes(change, lasts_s), arguments.people, confusion, rng), AttentionConfig())
            at = [event.t.timestamp() - CHANGE_S for event in told]
            right = [delay for delay in at if 0 < delay <= 300 and change] if lasts_s > 60 else []
            delays += right[:1]
            others += len(at) - len(right[:1])
        share = f"{len(delays) / arguments.lessons:5.0%}" if lasts_s > 60 else "    -"
        delay = f"{np.median(delays):10.0f} s" if delays else "           -"
        print(f"{change:5.0%}  {lasts_s:4.0f} s  {share}  {delay}  {others / arguments.lessons:8.2f}")


if __name__ == "__main__":
    main()
