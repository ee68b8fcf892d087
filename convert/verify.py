"""The figures of a .tflite file, measured by the device's own code. No TensorFlow, no keras."""

import argparse
import importlib.metadata
import json
import sys
import time
from pathlib import Path

import numpy as np

from contract.card import ModelCard
from contract.labels import EMOTIONS
from edge.config import RuntimeConfig
from edge.vision.classifier import EmotionClassifier
from edge.vision.runtime import choose, fault, installed, open_interpreter
from train import figures
from train.data import Faces, digest, load

BATCH = 64
AGREES_WITHIN = 0.005
"""Accuracy on the card's own faces may differ by this between runtimes, versions and processors."""


class ConversionError(Exception):
    """A model that cannot be converted or must not ship, or a card that tells wrongly; the text names the file."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `verify`."""
    add_measured(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--probabilities", type=Path, help="also write names, labels and probabilities to this .npz")


def add_measured(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what is measured, on which faces and by which runtime."""
    parser.add_argument("model", type=Path, help="the .tflite file; its card lies beside it")
    parser.add_argument("--data", type=Path, required=True, help="folder, zip or fer2013.csv")
    parser.add_argument("--split", default="test", choices=("test", "private", "validation", "train"))
    parser.add_argument("--runtime", default="auto", help="ai_edge_litert or tflite_runtime (default: auto)")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; 1 if the card tells otherwise of the same faces."""
    runtime = RuntimeConfig(package=arguments.runtime)
    classifier = EmotionClassifier(arguments.model, runtime)
    check_input(arguments.model, runtime)
    faces = load(arguments.data, arguments.split)
    probabilities = predict(classifier, faces.images)
    report = {
        "model": str(arguments.model),
        "sha256": classifier.card.sha256,
        "runtime": runtime_name(runtime),
        "split": arguments.split,
        "digest": digest(faces),
        **figures.summary(faces.labels, probabilities),
        "unsure": _unsure(classifier.card, faces, probabilities),
        "confusion": {
            "hard": figures.hard_confusion(faces.labels, probabilities).tolist(),
            "soft": figures.soft_confusion(faces.labels, probabilities).tolist(),
        },
    }
    if arguments.probabilities:
        np.savez_compressed(
            arguments.probabilities, names=faces.names, labels=faces.labels, probabilities=probabilities,
            split=arguments.split, runtime=report["runtime"], sha256=report["sha256"], digest=report["digest"],
        )  # fmt: skip
    print(json.dumps(report, indent=1) if arguments.json else table(report))
    require_agreement(classifier.card, report)
    return 0


def check_input(model: Path, runtime: RuntimeConfig) -> None:
    """ConversionError unless the file takes raw pixels less 128: scale 1, zero point -128, int8 in and out."""
    interpreter = open_interpreter(model.read_bytes(), runtime)
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    if taken["dtype"] is not np.int8 or given["dtype"] is not np.int8:
        raise ConversionError(f"{model}: input is {taken['dtype']}, output {given['dtype']}: both must be int8")
    scale, zero_point = taken["quantization"]
    if abs(scale - 1) > 1e-6 or zero_point != -128:
        raise ConversionError(
            f"{model}: input scale {scale}, zero point {zero_point}; raw pixels need 1 and -128: "
            "the calibration samples did not reach from 0 to 255"
        )


def predict(classifier: EmotionClassifier, images: np.ndarray) -> np.ndarray:
    """Probabilities, (n, 7) float32, of (n, 48, 48) uint8 faces; progress on a terminal."""
    rows, began_s = [np.empty((0, len(EMOTIONS)), np.float32)], time.monotonic()
    for start in range(0, len(images), BATCH):
        rows.append(classifier.probabilities(images[start : start + BATCH]))
        if sys.stderr.isatty():
            done = min(start + BATCH, len(images))
            left_s = (time.monotonic() - began_s) / done * (len(images) - done)
            print(f"\r{done} of {len(images)} faces, {left_s:.0f} s left ", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r" + " " * 60, end="\r", file=sys.stderr)
    return np.concatenate(rows)


def runtime_name(runtime: RuntimeConfig) -> str:
    """Package and version of the interpreter in use, such as "tflite_runtime 2.14.0"."""
    package = choose(runtime.package, installed(), fault)
    return f"{package} {importlib.metadata.version(package.replace('_', '-'))}"


def require_agreement(card: ModelCard, report: figures.Json) -> None:
    """ConversionError if the card measured the very same faces and states another accuracy."""
    stated = card.document.get("int8", {}).get(str(report["runtime"]).split()[0])
    if card.document.get("data", {}).get("measured_digest") != report["digest"] or stated is None:
        return
    if abs(stated["accuracy"] - report["accuracy"]) > AGREES_WITHIN:
        raise ConversionError(
            f"{report['model']}: its card states {stated['accuracy']:.4f} on these faces, "
            f"measured {report['accuracy']:.4f}"
        )


def table(report: figures.Json) -> str:
    """The report for reading."""
    lines = [
        f"{report['model']} on {report['runtime']}: {report['faces']} faces of {report['split']}",
        f"accuracy {report['accuracy']:.1%}, macro recall {report['macro_recall']:.1%}, ece {report['ece']:.3f}",
        "pleasant, neutral or unpleasant: {accuracy:.1%}".format_map(report["groups"]),
        "unsure below {unsure_below:.2f}: {coverage:.1%} stay, {accuracy:.1%} of them right".format_map(
            report["unsure"]
        ),
        "",
        f"{'':10}{'precision':>10}{'recall':>8}{'f1':>8}{'faces':>7}  read as {', '.join(EMOTIONS)}",
    ]
    for (label, row), counts in zip(report["per_class"].items(), report["confusion"]["hard"], strict=True):
        told = "{precision:10.3f}{recall:8.3f}{f1:8.3f}{support:7d}".format_map(row)
        lines.append(f"{label:10}{told} {''.join(f'{count:6d}' for count in counts)}")
    return "\n".join(lines)


def _unsure(card: ModelCard, faces: Faces, probabilities: np.ndarray) -> dict[str, float]:
    return figures.coverage(faces.labels, probabilities, np.array([card.unsure_below]))[0]
