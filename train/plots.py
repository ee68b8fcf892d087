"""Figures as PNGs: confusion, calibration, coverage, and the faces read most wrongly."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from contract.labels import EMOTIONS

mpl.use("Agg")
from matplotlib import pyplot as plt

_PER_LABEL = 10
"""Faces in a row of the contact sheet."""


def confusion(path: Path, counts: np.ndarray) -> None:
    """Two panels of (7, 7) `counts`, true label by row: as they are, and every row divided by its sum."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(1, 2, figsize=(12, 5.5))
    for axis, values, form, title in zip(axes, (counts, shares), ("d", ".2f"), ("faces", "share of row"), strict=True):
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(counts.shape):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, format(values[row, column], form), ha="center", va="center", color=colour, size=9)
        axis.set_xticks(range(len(EMOTIONS)), EMOTIONS, rotation=45, ha="right")
        axis.set_yticks(range(len(EMOTIONS)), EMOTIONS)
        axis.set(xlabel="read as", ylabel="true label", title=title)
    _save(path, figure)


def calibration(path: Path, bins: list[tuple[float, float, int]], error: float) -> None:
    """Accuracy against top probability, bins as train.figures.reliability gives them; points grow with their faces."""
    said, right, faces = (np.array(column) for column in zip(*bins, strict=True))
    figure, axis = plt.subplots(figsize=(5, 5))
    axis.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axis.scatter(said, right, s=20 + 400 * faces / faces.sum())
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="top probability", ylabel="share read rightly")
    axis.set_title(f"expected calibration error {error:.3f}")
    _save(path, figure)


def coverage(path: Path, rows: list[dict[str, float]]) -> None:
    """Accuracy on the faces that stay sure against their share, one point per threshold."""
    kept = [row for row in rows if row["coverage"] > 0]
    figure, axis = plt.subplots(figsize=(6, 4.5))
    axis.plot([row["coverage"] for row in kept], [row["accuracy"] for row in kept], marker="o")
    for row in kept:
        axis.annotate(f"{row['unsure_below']:.2f}", (row["coverage"], row["accuracy"]), xytext=(4, 4),
                      textcoords="offset points", size=8)  # fmt: skip
    axis.set(xlabel="share of faces that stay sure", ylabel="share of these read rightly")
    axis.set_title("points: unsure below this probability")
    _save(path, figure)


def mistakes(path: Path, images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> None:
    """A contact sheet: of each label (row) the faces that were read wrongly with the highest probability.

    Args:
        path: PNG to write. It shows faces: it belongs where the data set does.
        images: (n, 48, 48) uint8.
        labels: (n,) indices into EMOTIONS.
        probabilities: (n, 7).
    """
    figure, axes = plt.subplots(len(EMOTIONS), _PER_LABEL, figsize=(1.15 * _PER_LABEL, 1.35 * len(EMOTIONS)))
    for axis in axes.flat:
        axis.axis("off")
    read, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    for index, label in enumerate(EMOTIONS):
        wrong = np.flatnonzero((labels == index) & (read != index))
        for axis, row in zip(axes[index], wrong[np.argsort(-sure[wrong])], strict=False):
            axis.imshow(images[row], cmap="gray", vmin=0, vmax=255)
            axis.set_title(f"{EMOTIONS[read[row]]} {sure[row]:.2f}", size=8)
        axes[index, 0].text(-0.15, 0.5, label, transform=axes[index, 0].transAxes, ha="right", va="center", size=10)
    _save(path, figure)


def _save(path: Path, figure) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
