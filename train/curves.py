"""A run's history: a csv that a resumed run continues, and its picture."""

import csv
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt


def read(path: Path) -> list[dict[str, float]]:
    """The rows written so far; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as lines:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]


def epoch_seconds(history: list[dict[str, float]]) -> float:
    """The median duration of an epoch; each row covers those since the row before it."""
    covered = np.diff([-1, *(row["epoch"] for row in history)])
    return float(np.median([row["seconds"] for row in history] / covered))


def write(path: Path, history: list[dict[str, float]]) -> None:
    """All rows, replacing the file in one step."""
    fresh = path.with_name("new-" + path.name)
    with fresh.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(history[0]))
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in history)
    fresh.replace(path)


def plot(path: Path, history: list[dict[str, float]]) -> None:
    """Loss and validation accuracy by epoch, as a PNG."""
    epochs = [row["epoch"] + 1 for row in history]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    left.plot(epochs, [row["loss"] for row in history], "o-", markersize=3, label="training (all heads)")
    left.plot(epochs, [row["val_loss"] for row in history], "o-", markersize=3, label="validation")
    left.set(xlabel="epoch", ylabel="cross-entropy")
    left.legend()
    right.plot(epochs, [100 * row["val_accuracy"] for row in history], "o-", markersize=3)
    right.set(xlabel="epoch", ylabel="validation accuracy, %")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
