"""What a model is worth on faces it has not seen: tables and plots into a folder."""

import argparse
import json
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contract.labels import EMOTIONS
from train import conditions, figures, plots
from train.data import digest, load
from train.figures import Json
from train.model import load_classifier
from train.origin import ModelError
from train.votes import votes


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model said of some faces."""

    images: np.ndarray | None
    """(n, 48, 48) uint8; None if they are not at hand."""
    names: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    """(n, 7)."""
    origin: Json
    """Model, runtime and split, to be told."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `evaluate`."""
    parser.description = (
        "Write metrics.json, confusion_matrix.txt and .png, calibration.png, coverage.png and mistakes.png, the faces "
        "that were read most wrongly. The device's own figures of a .tflite file: first `.venv/bin/python -m convert "
        "verify FILE --data PATH --probabilities FILE.npz`, then give that .npz as MODEL."
    )
    parser.add_argument(
        "model", type=Path, help="model.keras of a run, or the .npz of `convert verify --probabilities`"
    )
    parser.add_argument("--data", type=Path, help="folder, zip or fer2013.csv; without it an .npz has no mistakes.png")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--split", default="test", choices=("test", "private", "validation", "train"))
    parser.add_argument("--votes", type=Path, help="csv of FER+ votes: figures where annotators and label agree, too")
    parser.add_argument(
        "--conditions",
        action="store_true",
        help="small, blurred, dark, turned, hidden faces too; minutes (.keras only)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, write, and print the confusion matrix."""
    if arguments.model.suffix == ".npz":
        answers, under = stored(arguments.model, arguments.data), None
    else:
        answers, under = by_keras(arguments.model, arguments.data, arguments.split, changed=arguments.conditions)
    report = metrics(answers, arguments.votes)
    if under:
        report["conditions"] = under
    arguments.out.mkdir(parents=True, exist_ok=True)
    write(arguments.out, answers, report)
    print(confusion_table(report))
    return 0


def stored(path: Path, data: Path | None) -> Answers:
    """What `convert verify --probabilities` wrote, with the faces of `data` if it is given.

    Raises:
        ModelError: If the file is another, or of other faces.
    """
    try:
        with np.load(path) as file:
            values = {key: file[key] for key in ("names", "labels", "probabilities", "digest")}
            origin = {key: str(file[key]) for key in ("sha256", "runtime", "split")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: not what `convert verify --probabilities` writes: {error}") from error
    faces = load(data, origin["split"]) if data else None
    if faces and digest(faces) != str(values["digest"]):
        raise ModelError(f"{path}: of other faces than {origin['split']} of {data}")
    names = tuple(values["names"].tolist())
    return Answers(faces.images if faces else None, names, values["labels"], values["probabilities"], origin)


def by_keras(path: Path, data: Path | None, split: str, *, changed: bool) -> tuple[Answers, dict[str, float] | None]:
    """What a Keras model says of a split, and its accuracy under every condition if `changed`."""
    if path.suffix == ".tflite":
        raise ModelError(f"{path}: measured in the device's environment, see `evaluate --help`")
    if data is None:
        raise ModelError(f"{path}: --data is needed with a Keras model")
    model, faces = load_classifier(path), load(data, split)

    def predict(images: np.ndarray) -> np.ndarray:
        verbose = 1 if sys.stdout.isatty() else 0
        said: np.ndarray = model.predict(images[..., None].astype(np.float32), batch_size=128, verbose=verbose)
        return said

    origin = {"model": str(path), "runtime": "keras", "split": split}
    answers = Answers(faces.images, faces.names, faces.labels, predict(faces.images), origin)
    return answers, conditions.accuracies(predict, faces.images, faces.labels, _tell) if changed else None


def metrics(answers: Answers, votes_file: Path | None) -> Json:
    """Everything that metrics.json holds but the conditions."""
    labels, probabilities = answers.labels, answers.probabilities
    report = {
        **answers.origin,
        **figures.summary(labels, probabilities),
        "coverage": figures.coverage(labels, probabilities, figures.THRESHOLDS),
        "confusion": {
            "hard": figures.hard_confusion(labels, probabilities).tolist(),
            "soft": figures.soft_confusion(labels, probabilities).tolist(),
        },
    }
    if votes_file is not None:
        report["fer_plus"] = figures.agreement(labels, probabilities, votes(votes_file, answers.names))
    return report


def write(out: Path, answers: Answers, report: Json) -> None:
    """Tables and plots."""
    (out / "metrics.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "confusion_matrix.txt").write_text(confusion_table(report) + "\n")
    plots.confusion(out / "confusion_matrix.png", np.array(report["confusion"]["hard"]))
    plots.calibration(
        out / "calibration.png", figures.reliability(answers.labels, answers.probabilities), report["ece"]
    )
    plots.coverage(out / "coverage.png", report["coverage"])
    if answers.images is not None:
        plots.mistakes(out / "mistakes.png", answers.images, answers.labels, answers.probabilities)
    if "conditions" in report:
        (out / "conditions.txt").write_text("".join(map(_condition, report["conditions"].items())))


def confusion_table(report: Json) -> str:
    """Counts by true label (row) and top label (column), then precision, recall, F1 and support per label."""
    width = 10
    lines = [
        "{faces} faces of {split} by {runtime}".format_map(report),
        "accuracy {accuracy:.1%}, macro recall {macro_recall:.1%}, calibration error {ece:.3f}".format_map(report),
        "",
        "true, read as".ljust(14) + "".join(label.rjust(width) for label in EMOTIONS),
    ]
    for label, row in zip(EMOTIONS, report["confusion"]["hard"], strict=True):
        lines.append(label.ljust(14) + "".join(f"{count:{width}d}" for count in row))
    lines += ["", "label".ljust(14) + "".join(name.rjust(width) for name in ("precision", "recall", "f1", "support"))]
    for label, row in report["per_class"].items():
        lines.append(label.ljust(14) + "{precision:10.3f}{recall:10.3f}{f1:10.3f}{support:10d}".format_map(row))
    return "\n".join(lines)


def _condition(found: tuple[str, float]) -> str:
    name, accuracy = found
    return f"{name:45}{accuracy:7.1%}\n"


def _tell(name: str, accuracy: float) -> None:
    print(_condition((name, accuracy)), end="", flush=True)
