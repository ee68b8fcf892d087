"""A Keras model to .tflite and card: calibrate, quantise, measure on the device's runtime, and only then write."""

import argparse
import json
import logging
import math
import tempfile
from pathlib import Path

import keras
import numpy as np

from contract import card as contract_card
from contract.labels import EMOTIONS
from convert import device, document, quantize
from convert.promote import NAME, publish
from convert.verify import ConversionError
from train import figures
from train.data import Faces, load, load_training, tell_copies
from train.layouts import SplitMissingError
from train.model import classifier, cost, load_classifier, logits
from train.votes import votes

log = logging.getLogger(__name__)

MAX_LOSS = 0.01
"""A conversion that costs more accuracy than this, or three faces where there are few, is not written."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of a conversion."""
    parser.add_argument("model", type=Path, help="model.keras of a training run; its run.json and history.csv are read")
    parser.add_argument(
        "--data", type=Path, required=True, help="the data it was trained on: folder, zip or fer2013.csv"
    )
    parser.add_argument("--out", type=Path, help="folder to write into (default: int8 beside the model)")
    parser.add_argument(
        "--device-python", type=Path, action="append", metavar="PYTHON",
        help="Python of the device's environment, without TensorFlow (default: .venv/bin/python); each runtime that is "
        "installed there is measured, the device's choice decides; repeat it for another environment",
    )  # fmt: skip
    parser.add_argument(
        "--bias", action="append", default=[], metavar="LABEL=LOGIT",
        help="added to a label's calibrated logit, so that a rare label is said more often; repeatable",
    )  # fmt: skip
    parser.add_argument("--votes", type=Path, help="csv of FER+ votes: the accuracy where annotators and label agree")
    parser.add_argument(
        "--detector", type=Path, metavar="TFLITE",
        help="YuNet's file: measures distant, blurred, dark, turned, hidden and detected faces too (some minutes)",
    )  # fmt: skip
    parser.add_argument("--faces", type=int, help="with --detector: only so many faces, drawn by chance, not all")


def run(arguments: argparse.Namespace) -> int:
    """Convert; the files appear together or not at all."""
    pythons = arguments.device_python or [Path(".venv/bin/python")]
    model = load_classifier(arguments.model)
    bias = _bias(arguments.bias)
    splits = _splits(arguments.data)
    validation = splits["validation"]
    temperature = figures.fit_temperature(validation.labels, logits(model, validation.images))
    log.info("temperature %.3f; quantising", temperature)
    calibrated = classifier(model, temperature, bias)
    tflite = quantize.quantize_model(calibrated, quantize.calibration_samples(splits["train"]))
    out = arguments.out or arguments.model.parent / "int8"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".new-") as folder:
        staged = Path(folder, f"{NAME}.tflite")
        staged.write_bytes(tflite)
        _write_card(staged, document.draft(tflite))
        measured = _measure(calibrated, staged, splits, arguments.data, pythons, temperature)
        facts = {
            "architecture": model.name,
            **cost(model),
            "bias": bias,
            "training": document.training_facts(arguments.model),
        }
        card = document.card(tflite, measured, splits, arguments.data, facts)
        _write_card(staged, card)
        card |= _asked_for(arguments, pythons[0], staged, splits[measured.held_out], measured)
        _write_card(staged, card)
        contract_card.read_with_model(staged)
        calibrated.save(staged.with_name("emotion.keras"))
        publish(staged.parent, out)
    _tell(out / staged.name, card)
    return 0


def _bias(given: list[str]) -> dict[str, float]:
    """Of labels, as --bias gives it."""
    found = {}
    for word in given:
        label, _, value = word.partition("=")
        try:
            found[label] = float(value)
        except ValueError:
            raise ConversionError(f"--bias {word}: write LABEL=LOGIT, as in disgust=0.6") from None
        if label not in EMOTIONS or not math.isfinite(found[label]):
            raise ConversionError(f"--bias {word}: wanted is one of {', '.join(EMOTIONS)} and a number")
    return found


def _splits(data: Path) -> dict[str, Faces]:
    training, validation = load_training(data)
    splits = {"train": training, "validation": validation}
    try:
        splits["test"] = load(data, "test")
    except SplitMissingError:
        log.warning("%s: no test split: the figures are of the %d validation faces", data, len(validation))
    tell_copies(splits, data)
    return splits


def _measure(
    model: keras.Model, staged: Path, splits: dict[str, Faces], data: Path, pythons: list[Path], temperature: float
) -> document.Measurements:  # one argument per thing that is measured or told
    held_out = "test" if "test" in splits else "validation"
    before = figures.softmax(logits(model, splits[held_out].images))
    by_runtime: dict[str, device.Measured] = {}
    for python in pythons:
        for runtime in [name for name in device.runtimes(python) if name not in by_runtime]:
            log.info("measuring %s with %s, %s", held_out, python, runtime)
            by_runtime[runtime] = device.measure(python, staged, data, held_out, staged.parent, runtime)
    runtimes = list(by_runtime.values())
    if not runtimes:
        raise ConversionError(f"{pythons[0]} has no TFLite runtime; `make setup` makes the device's environment")
    _require_small_loss(splits[held_out].labels, before, runtimes[0].probabilities)
    validation = device.measure(pythons[0], staged, data, "validation", staged.parent)
    golden = device.golden(pythons[0], staged)
    return document.Measurements(held_out, before, runtimes, validation, golden, temperature)


def _asked_for(
    arguments: argparse.Namespace, python: Path, staged: Path, faces: Faces, measured: document.Measurements
) -> figures.Json:
    """What the options add to the card."""
    found: figures.Json = {}
    if arguments.votes:
        by_name = votes(arguments.votes, faces.names)
        found["fer_plus"] = figures.agreement(faces.labels, measured.runtimes[0].probabilities, by_name)
    if arguments.detector:
        log.info("measuring conditions with %s", python)
        found["conditions"] = device.conditions(
            python, staged, arguments.data, measured.held_out, arguments.detector, faces=arguments.faces
        )
    return found


def _require_small_loss(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
    whole, quantized = figures.accuracy(labels, before), figures.accuracy(labels, after)
    if whole - quantized > max(MAX_LOSS, 3 / len(labels)):
        raise ConversionError(f"int8 reads {quantized:.1%} of {len(labels)} faces, float {whole:.1%}: too much is lost")


def _write_card(tflite: Path, card: figures.Json) -> None:
    contract_card.beside(tflite).write_text(json.dumps(card, indent=1, allow_nan=False) + "\n")


def _tell(written: Path, card: figures.Json) -> None:
    rows = {"float": card["float"]}
    rows |= {f"int8 {name} {row['version']}": row for name, row in card["int8"].items()}
    print(
        f"{written}: {card['bytes'] / 1024:.0f} KiB, {card['macs'] / 1e6:.1f} M MACs, {card['parameters']} parameters"
    )
    print(f"on {card['data']['measured_on']}, unsure below {card['unsure_below']}:")
    for name, row in rows.items():
        print(
            f"  {name:30} accuracy {row['accuracy']:.1%}, macro recall {row['macro_recall']:.1%}, ece {row['ece']:.3f}"
        )
