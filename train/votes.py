"""The ten annotators' votes of FER+ for each picture of FER2013."""

import csv
from pathlib import Path

import numpy as np

from train.layouts import DatasetError

FER_PLUS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "not_face",
)
"""What annotators could choose. Source: Barsoum et al. 2016, arXiv:1608.01041."""
_BY_FILE = ("file", *FER_PLUS)
_ORIGINAL = ("Usage", "Image name", *FER_PLUS[:-1], "NF")
"""Columns of FER+'s own fer2013new.csv, whose rows are those of fer2013.csv."""


def votes(path: Path, names: tuple[str, ...]) -> np.ndarray:
    """Votes as probabilities, (n, 10) float32 in FER_PLUS's order; rows of zeros for faces without votes.

    Args:
        path: csv with the columns `file` and FER_PLUS, one row per picture, or FER+'s own fer2013new.csv.
        names: The faces' names, as `train.data.load` gives them.

    Raises:
        DatasetError: If the columns are others, or no name has votes.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            by_name = _by_name(csv.DictReader(lines), path)
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{path}: {error}") from error
    counts = np.array([by_name.get(name, [0.0] * len(FER_PLUS)) for name in names], np.float32)
    if not counts.any():
        raise DatasetError(
            f"{path}: has votes for none of the {len(names)} faces, such as {names[0]}; fer2013new.csv goes with "
            "fer2013.csv, not with pictures under other names"
        )
    shares: np.ndarray = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _by_name(reader: "csv.DictReader[str]", path: Path) -> dict[str, list[float]]:
    columns = tuple(reader.fieldnames or ())
    if columns == _BY_FILE:
        return {row["file"]: [float(row[column]) for column in FER_PLUS] for row in reader}
    if columns != _ORIGINAL:
        raise DatasetError(f"{path}: columns are {list(columns)}, not {', '.join(_BY_FILE)}")
    found: dict[str, list[float]] = {}
    for number, row in enumerate(reader):
        counts = [float(row[column]) for column in _ORIGINAL[2:]]
        found[f"{row['Usage']}_{number}"] = counts
        found[row["Image name"]] = counts
    found.pop("", None)  # of faces that the annotators took for none
    return found
