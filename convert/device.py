"""Measuring a .tflite file in the device's own environment, a child process: TensorFlow and TFLite cannot share one."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convert.verify import ConversionError
from train.figures import Json

_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one runtime made of one split."""

    runtime: str
    """Package and version, such as "tflite_runtime 2.14.0"."""
    labels: np.ndarray
    probabilities: np.ndarray
    """(n, 7) float32."""
    digest: str
    """Of the faces, as train.data.digest gives it."""


def measure(python: Path, model: Path, data: Path, split: str, scratch: Path) -> Measured:
    """The probabilities that `convert verify`, run by `python`, gives for one split.

    Raises:
        ConversionError: If the child fails; it has then said why on standard error.
    """
    answer = scratch / "probabilities.npz"
    _run(python, ["verify", str(model), "--data", str(data), "--split", split, "--probabilities", str(answer)])
    with np.load(answer) as stored:
        return Measured(
            str(stored["runtime"]), stored["labels"], stored["probabilities"].copy(), str(stored["digest"])
        )  # fmt: skip


def golden(python: Path, model: Path) -> list[list[float]]:
    """What `convert golden`, run by `python`, prints."""
    rows: list[list[float]] = json.loads(_run(python, ["golden", str(model)]))
    return rows


def conditions(python: Path, model: Path, data: Path, split: str, detector: Path, *, faces: int | None) -> Json:
    """What `convert conditions --json`, run by `python`, prints; of all faces or of so many."""
    given = ["conditions", str(model), "--data", str(data), "--split", split, "--detector", str(detector), "--json"]
    report: Json = json.loads(_run(python, given + (["--faces", str(faces)] if faces else [])))
    return report


def _run(python: Path, arguments: list[str]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    try:
        child = subprocess.run(  # noqa: S603 - the interpreter is the one the user named
            [python, "-m", "convert", *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
    except OSError as error:
        raise ConversionError(f"{python}: {error.strerror}; `make setup` makes the device's environment") from error
    if child.returncode:
        raise ConversionError(f"{python} -m convert {arguments[0]} ended with status {child.returncode}, see above")
    return child.stdout
