"""A teacher's probabilities of the training faces, stored for a student to learn from."""

import argparse
import logging
import sys
from pathlib import Path

import numpy as np

from train.checkpoint import replace
from train.data import load_training, pictures
from train.model import load_classifier

log = logging.getLogger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `targets`."""
    parser.description = (
        "Write the distillation targets that `fit --targets` takes: the mean over models and mirrored faces."
    )
    parser.add_argument("model", type=Path, nargs="+", help="model.keras of a run; several are averaged")
    parser.add_argument("--data", type=Path, required=True, help="folder, zip or fer2013.csv")
    parser.add_argument(
        "--out", type=Path, required=True, help=".npz to write: hashes of the pictures and float16 probabilities"
    )


def run(arguments: argparse.Namespace) -> int:
    """Read every training face by every model; the validation faces are left out."""
    models = [load_classifier(path) for path in arguments.model]
    faces, _ = load_training(arguments.data)
    total = np.zeros((len(faces), 7))
    for path, model in zip(arguments.model, models, strict=True):
        log.info("%s: %d faces, twice", path, len(faces))
        for images in (faces.images, faces.images[:, :, ::-1]):
            verbose = 1 if sys.stdout.isatty() else 0
            total += model.predict(images[..., None].astype(np.float32), batch_size=128, verbose=verbose)
    mean = (total / (2 * len(models))).astype(np.float16)
    # numpy appends .npz to a name that lacks it, but not to an open file
    replace(arguments.out, lambda fresh: _write(fresh, pictures(faces), mean))
    right = float((mean.argmax(axis=1) == faces.labels).mean())
    print(f"{arguments.out}: {len(faces)} faces; the teacher agrees with {right:.1%} of their labels")
    return 0


def _write(path: Path, named: list[str], probabilities: np.ndarray) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, pictures=named, probabilities=probabilities)
