"""Train a network: one folder per run, resumable after any interruption."""

import argparse
import contextlib
import dataclasses
import logging
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from train import checkpoint
from train.batches import Batches, Targets, smoothed
from train.checkpoint import Checkpoint
from train.data import Faces, digest, load, load_training, pictures, require_enough, tell_copies
from train.hyperparameters import ARCHITECTURES, LARGE, Hyperparameters, assignments, hyperparameters
from train.layouts import SplitMissingError
from train.model import build, in_precision, load_classifier, with_heads
from train.origin import TrainingError, claim
from train.step import TrainingStep
from train.votes import FER_PLUS, votes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a run's faces and targets come from."""

    data: Path
    """As train.data.load reads it."""
    votes: Path | None = None
    """FER+ votes for an auxiliary head."""
    targets: Path | None = None
    """Teachers' stored probabilities, as `train targets` writes them."""
    teachers: tuple[Path, ...] = ()
    """model.keras of runs, which are asked about every view of a face."""
    initial: Path | None = None
    """A model.keras of the same architecture to begin with instead of random weights."""

    def named(self) -> dict[str, str | None]:
        """The files' names, for the run's origin; of a teacher with the run's."""
        names = {f.name: path.name if (path := getattr(self, f.name)) else None
                 for f in dataclasses.fields(self) if f.name != "teachers"}  # fmt: skip
        return names | {"teachers": ", ".join("/".join(path.parts[-2:]) for path in self.teachers) or None}


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fit`."""
    parser.description = "Train, or go on where the run in --out stopped. Press Ctrl-C at any time."
    add_common(parser)
    parser.add_argument("--architecture", choices=ARCHITECTURES, help="default: deep, or that of --initial")
    parser.add_argument("--epochs", type=int, help="of the whole run; default 170, for --architecture teacher 60")
    parser.add_argument(
        "--targets", type=Path, help="teachers' stored probabilities, written by `targets`, to learn from"
    )
    parser.add_argument(
        "--teacher", type=Path, action="append", default=[], metavar="MODEL",
        help="model.keras of a teacher's run, asked about every view of a face; repeatable",
    )  # fmt: skip
    parser.add_argument("--initial", type=Path, help="a model.keras of the same architecture to begin with")


def add_common(parser: argparse.ArgumentParser) -> None:
    """The arguments that `fit` and `recipe` share."""
    parser.add_argument("--data", type=Path, required=True, help="folder, zip or fer2013.csv, see docs/retraining.md")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--votes", type=Path, help="csv of FER+ votes, an auxiliary task")
    parser.add_argument("--minutes", type=float, help="stop after so much training, all starts together")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="any other hyper-parameter of train/fit.py, such as dropout=0.2 or augmentation.blur=0.3; repeatable",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Train as asked; Ctrl-C ends it, and the same command goes on."""
    given = assignments(arguments.set)
    if arguments.architecture or arguments.initial:
        given["architecture"] = arguments.architecture or load_classifier(arguments.initial).name
    if arguments.epochs is not None:
        given["epochs"] = arguments.epochs
    sources = Sources(
        arguments.data, arguments.votes, arguments.targets, tuple(arguments.teacher), arguments.initial
    )  # fmt: skip
    print(fit(hyperparameters(given), sources, arguments.out, arguments.minutes))
    return 0


def fit(settings: Hyperparameters, sources: Sources, out: Path, minutes: float | None = None) -> Path:
    """Train, or go on where the run in `out` stopped; returns the path of the best model, chosen on validation.

    Writes run.json, origin.json, history.csv, curves.png, checkpoint.npz (the last epoch written, with the optimizer),
    model.keras and model.h5 (the best epoch's averaged weights, probabilities out).

    Raises:
        DatasetError: If the data cannot be read, or a label has too few pictures.
        TrainingError: If `out` holds a run of other hyper-parameters or data, or the run was interrupted.
    """
    try:
        return _fit(settings, sources, out, minutes)
    except KeyboardInterrupt:
        raise TrainingError(f"{out}: interrupted; the same command goes on after the last epoch") from None
    except OSError as error:
        raise TrainingError(f"{error}; what {out} held is kept, the same command goes on") from error


def _fit(settings: Hyperparameters, sources: Sources, out: Path, minutes: float | None) -> Path:
    training, validation = _faces(settings, sources.data)
    targets = _targets(settings, training, sources)
    saver = Checkpoint(out, validation, settings, minutes)
    step = _step(settings, sources)
    if saver.epochs_done or (out / checkpoint.NAME).exists():
        checkpoint.restore(out / checkpoint.NAME, step)
    # only now, so that a start that fails leaves a folder that can be used
    origin = {**sources.named(), "digest": digest(training)}
    claim(out, dataclasses.asdict(settings), origin, begun=saver.epochs_done > 0)
    log.info("%s: %d faces to train on, %d to choose by", out, len(training), len(validation))
    if saver.epochs_done:
        log.info("%s: going on after epoch %d of %d", out, saver.epochs_done, settings.epochs)
    if not saver.finished:
        batches = Batches(training, targets, settings, saver.epochs_done)
        step.fit(
            batches, epochs=settings.epochs, initial_epoch=saver.epochs_done, callbacks=[saver],
            verbose=1 if os.isatty(1) else 0,
        )  # fmt: skip
    return out / "model.keras"


def _faces(settings: Hyperparameters, data: Path) -> tuple[Faces, Faces]:
    training, validation = load_training(data)
    require_enough(np.concatenate([training.labels, validation.labels]), data)
    if len(training) < settings.batch_size:
        raise TrainingError(
            f"batch_size = {settings.batch_size}, but there are only {len(training)} faces to train on; "
            "--set batch_size=32 is enough for few"
        )
    splits = {"train": training, "validation": validation}
    with contextlib.suppress(SplitMissingError):
        splits["test"] = load(data, "test")
    tell_copies(splits, data)
    return training, validation


def _targets(settings: Hyperparameters, faces: Faces, sources: Sources) -> Targets:
    if sources.targets and sources.teachers:
        raise TrainingError("give teachers or their stored probabilities, not both")
    return Targets(
        smoothed(faces.labels, settings.label_smoothing),
        _stored(sources.targets, faces) if sources.targets else None,
        votes(sources.votes, faces.names) if sources.votes else None,
    )


def _stored(path: Path, faces: Faces) -> np.ndarray:
    try:
        with np.load(path) as stored:
            by_picture = dict(zip(stored["pictures"].tolist(), stored["probabilities"], strict=True))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path}: no teachers' probabilities: {error}") from error
    wanted = pictures(faces)
    missing = [name for name, picture in zip(faces.names, wanted, strict=True) if picture not in by_picture]
    if missing:
        raise TrainingError(f"{path}: no teachers' probabilities of {len(missing)} faces, {missing[0]} among them")
    probabilities: np.ndarray = np.stack([by_picture[picture] for picture in wanted]).astype(np.float32)
    return probabilities


def _step(settings: Hyperparameters, sources: Sources) -> TrainingStep:
    keras.utils.set_random_seed(settings.seed)
    heads = len(FER_PLUS) if sources.votes else 0
    policies = dict.fromkeys(LARGE, _precision(bfloat16=settings.bfloat16))
    network = with_heads(build(settings.architecture, settings.dropout), heads)
    network = in_precision(network, policies.get(network.name, "float32"))
    if sources.initial:
        _take_weights(network, sources.initial)
    asked = [load_classifier(path) for path in sources.teachers]
    teachers = [in_precision(teacher, policies.get(teacher.name, "float32")) for teacher in asked]
    step = TrainingStep(network, teachers, settings)
    optimizer = keras.optimizers.SGD(
        settings.learning_rate, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay,
        use_ema=True, ema_momentum=settings.average, ema_overwrite_frequency=None,
    )  # fmt: skip
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    step.compile(optimizer)
    return step


def _precision(*, bfloat16: bool) -> str:
    """Keras' policy for large networks.

    On a CPU TensorFlow's own rewrite is used, of networks of every size: the policy would convert between layers for
    nothing.
    """
    if keras.backend.backend() != "tensorflow":
        return "mixed_bfloat16" if bfloat16 else "float32"
    from tensorflow import config  # noqa: PLC0415 - not there with the other backends

    on_gpu = bool(config.list_physical_devices("GPU"))
    config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": bfloat16 and not on_gpu})
    return "mixed_bfloat16" if bfloat16 and on_gpu else "float32"


def _take_weights(network: keras.Model, initial: Path) -> None:
    """The auxiliary head, which `initial` no longer has, keeps its random weights."""
    donor = [layer for layer in load_classifier(initial).layers if layer.weights]
    own = [layer for layer in network.layers if layer.weights and layer.name != "vote_logits"]
    try:
        for layer, given in zip(own, donor, strict=True):
            layer.set_weights(given.get_weights())
    except ValueError as error:
        raise TrainingError(f"{initial}: not of the architecture {network.name}: {error}") from error
