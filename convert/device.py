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


def runtimes(python: Path) -> list[str]:
    """The TFLite packages that are installed for `python`, the device's choice first.

    Raises:
        ConversionError: If `python` cannot be run.
    """
    return _run(python, ["-c", "from edge.vision.runtime import installed; print(*installed())"]).split()


def measure(python: Path, model: Path, data: Path, split: str, scratch: Path, runtime: str = "auto") -> Measured:
    """The probabilities that `convert verify`, run by `python` with one of its runtimes, gives for one split.

    Raises:
        ConversionError: If the child fails; it has then said why on standard error.
    """
    answer = scratch / "probabilities.npz"
    given = ["verify", str(model), "--data", str(data), "--split", split, "--runtime", runtime]
    _convert(python, [*given, "--probabilities", str(answer)])
    with np.load(answer) as stored:
        return Measured(
            str(stored["runtime"]), stored["labels"], stored["probabilities"].copy(), str(stored["digest"])
        )  # fmt: skip


def golden(python: Path, model: Path) -> list[list[float]]:
    """What `convert golden`, run by `python`, prints."""
    rows: list[list[float]] = json.loads(_convert(python, ["golden", str(model)]))
    return rows


def conditions(python: Path, model: Path, data: Path, split: str, detector: Path, *, faces: int | None) -> Json:
    """What `convert conditions --json`, run by `python`, prints; of all faces or of so many."""
    given = ["conditions", str(model), "--data", str(data), "--split", split, "--detector", str(detector), "--json"]
    report: Json = json.loads(_convert(python, given + (["--faces", str(faces)] if faces else [])))
    return report


def _convert(python: Path, arguments: list[str]) -> str:
    return _run(python, ["-m", "convert", *arguments])


def _run(python: Path, arguments: list[str]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    try:
        child = subprocess.run(  # noqa: S603 - the interpreter is the one the user named
            [python, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
    except OSError as error:
        raise ConversionError(f"{python}: {error.strerror}; `make setup` makes the device's environment") from error
    if child.returncode:
        raise ConversionError(f"{python} {' '.join(arguments[:3])} ended with status {child.returncode}, see above")
    return child.stdout
