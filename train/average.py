"""One network whose weights are the mean of several runs' that began alike: often better than each, and no slower.

Source: Wortsman et al. 2022, "Model soups", arXiv:2203.05482; Izmailov et al. 2018, arXiv:1803.05407.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

from train import figures
from train.checkpoint import replace
from train.data import Faces, load
from train.model import load_classifier
from train.origin import ModelError


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `average`."""
    parser.description = "Write the mean of models of one architecture; worth it if one began with another (--initial)."
    parser.add_argument("model", type=Path, nargs="+", help="model.keras of each run")
    parser.add_argument(
        "--data", type=Path, required=True, help="the data they were trained on, to tell if it is better"
    )
    parser.add_argument("--out", type=Path, required=True, help=".keras file to write")


def run(arguments: argparse.Namespace) -> int:
    """Average, and tell the validation accuracy of each and of the mean; the choice is the user's."""
    validation = load(arguments.data, "validation")
    models = [load_classifier(path) for path in arguments.model]
    for path, model in zip(arguments.model, models, strict=True):
        print(f"{path}: {_told(model, validation)}", flush=True)
    averaged = mean(models, arguments.model)
    print(f"{arguments.out}: {_told(averaged, validation)}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    replace(arguments.out, averaged.save)
    return 0


def mean(models: list[keras.Model], paths: list[Path]) -> keras.Model:
    """The first model with the mean of all weights, the normalisations' running statistics included.

    Raises:
        ModelError: If one has other weights than the first; it is named.
    """
    first = models[0]
    shapes = [weight.shape for weight in first.get_weights()]
    for path, model in zip(paths, models, strict=True):
        if model.name != first.name or [weight.shape for weight in model.get_weights()] != shapes:
            raise ModelError(f"{path}: is {model.name}, of other weights than {first.name} in {paths[0]}")
    first.set_weights([np.mean(same, axis=0) for same in zip(*(m.get_weights() for m in models), strict=True)])
    return first


def _told(model: keras.Model, faces: Faces) -> str:
    probabilities = model.predict(faces.images[..., None].astype(np.float32), batch_size=128, verbose=0)
    accuracy, loss = figures.accuracy(faces.labels, probabilities), figures.log_loss(faces.labels, probabilities)
    return f"{accuracy:.2%} of {len(faces)} validation faces, loss {loss:.4f}"
