"""The model card as JSON: everything about a .tflite file that the file cannot say of itself."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from contract.card import INPUT_SIZE, PREPROCESSING_VERSION
from contract.labels import EMOTIONS
from convert.device import Measured
from train import curves, figures
from train.data import Faces
from train.figures import Json
from train.origin import commit


@dataclass(frozen=True, slots=True)
class Measurements:
    """What conversion found out, besides the file."""

    held_out: str
    """The split that is reported: test, or validation where there is none."""
    float_probabilities: np.ndarray
    """(n, 7), of the calibrated Keras model on the held-out faces."""
    runtimes: list[Measured]
    """On the held-out faces, the device's own runtime first."""
    validation: Measured
    """By the device's own runtime."""
    golden: list[list[float]]
    """Likewise, of convert.golden's pictures."""
    temperature: float


def draft(tflite: bytes) -> Json:
    """A card that lets the device's code load the file and claims nothing."""
    blank = np.zeros((len(EMOTIONS), len(EMOTIONS)), int).tolist()
    return {
        "sha256": hashlib.sha256(tflite).hexdigest(),
        "bytes": len(tflite),
        "labels": list(EMOTIONS),
        "input": {"shape": [1, INPUT_SIZE, INPUT_SIZE, 1], "dtype": "int8", "scale": 1.0, "zero_point": -128},
        "preprocessing": PREPROCESSING_VERSION,
        "unsure_below": 0.0,
        "confusion": {"hard": blank, "soft": blank},
    }


def card(tflite: bytes, measured: Measurements, splits: dict[str, Faces], data: Path, facts: Json) -> Json:
    """The whole card.

    Args:
        tflite: The file.
        measured: As conversion found it.
        splits: Faces by split's name.
        data: Where they came from; only its name is told.
        facts: Of the network and its training, as they stand.
    """
    device, held_out = measured.runtimes[0], splits[measured.held_out]
    threshold = figures.unsure_below(measured.validation.labels, measured.validation.probabilities)
    return {
        **draft(tflite),
        "date": datetime.now(UTC).date().isoformat(),
        **facts,
        "temperature": measured.temperature,
        "data": {
            "name": data.name,
            **{split: _counts(faces) for split, faces in splits.items()},
            "measured_on": measured.held_out,
            "measured_digest": device.digest,
        },
        "float": figures.summary(held_out.labels, measured.float_probabilities),
        "int8": {m.runtime.split()[0]: _runtime(m) for m in measured.runtimes},
        "validation": figures.summary(measured.validation.labels, measured.validation.probabilities),
        "unsure_below": threshold,
        "unsure_rule": (
            f"the lowest hundredth at which {figures.SURE_ACCURACY:.0%} of the validation faces that stay sure are "
            f"right, while at least {figures.SURE_COVERAGE:.0%} stay"
        ),
        "unsure": figures.coverage(device.labels, device.probabilities, np.array([threshold]))[0],
        "coverage": figures.coverage(device.labels, device.probabilities, figures.THRESHOLDS),
        "confusion": {
            "hard": figures.hard_confusion(device.labels, device.probabilities).tolist(),
            "soft": figures.soft_confusion(measured.validation.labels, measured.validation.probabilities).tolist(),
        },
        "golden": measured.golden,
    }


def training_facts(model: Path) -> Json:
    """What the files beside model.keras tell of its training; null where there are none."""
    history = curves.read(model.with_name("history.csv"))
    best = max(history, key=lambda row: (row["val_accuracy"], row["epoch"]), default=None)
    return {
        "hyperparameters": _json(model.with_name("run.json")),
        "origin": _json(model.with_name("origin.json")),
        "converted_at_commit": commit(),
        "epochs": int(history[-1]["epoch"]) + 1 if history else None,
        "best_epoch": best and int(best["epoch"]) + 1,
        "validation_accuracy": best and best["val_accuracy"],
        "seconds_per_epoch": curves.epoch_seconds(history) if history else None,
    }


def _runtime(measured: Measured) -> Json:
    version = measured.runtime.split()[1]
    return {"version": version, **figures.summary(measured.labels, measured.probabilities)}


def _counts(faces: Faces) -> dict[str, int]:
    counts = np.bincount(faces.labels, minlength=len(EMOTIONS))
    return dict(zip(EMOTIONS, counts.tolist(), strict=True))


def _json(path: Path) -> Json | None:
    return json.loads(path.read_text()) if path.is_file() else None
