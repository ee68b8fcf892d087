"""Train a network: one folder per run, resumable after any interruption."""

import argparse
import dataclasses
import logging
import os
import tomllib
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
from msgspec import Meta

from service.config import build as build_config
from train.augment import Augmentation
from train.batches import Batches, Targets, showings, targets
from train.data import FER_PLUS, Faces, digest, load, pictures, require_enough, split_validation, votes
from train.keeper import Keeper
from train.model import ARCHITECTURES, build, load_classifier, with_heads
from train.origin import TrainingError, claim

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Everything that decides a run but the data; saved beside its checkpoint."""

    architecture: Annotated[str, Meta(pattern=f"^({'|'.join(ARCHITECTURES)})$")] = "compact"
    epochs: Annotated[int, Meta(ge=1, le=10_000)] = 60
    batch_size: Annotated[int, Meta(ge=1, le=4096)] = 64
    learning_rate: Annotated[float, Meta(ge=1e-6, le=10)] = 0.06
    """Peak of a cosine with one epoch of warm-up. Source: Loshchilov and Hutter 2016, arXiv:1608.03983."""
    weight_decay: Annotated[float, Meta(ge=0, le=1)] = 5e-3
    """Decoupled, on kernels only."""
    label_smoothing: Annotated[float, Meta(ge=0, le=0.9)] = 0.1
    dropout: Annotated[float, Meta(ge=0, le=0.9)] = 0.1
    average: Annotated[float, Meta(ge=0, le=0.99999)] = 0.998
    """Momentum of the exponential moving average of the weights, which is what is evaluated and kept."""
    votes_weight: Annotated[float, Meta(ge=0, le=100)] = 0.5
    """Weight of the auxiliary loss on FER+ votes, where a file of them is given."""
    soft_share: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """Weight of a teacher's probabilities against the labels, where a file of them is given."""
    balance: Annotated[float, Meta(ge=0, le=1)] = 0.25
    """How far rare labels are shown more often: 0 as they are, 1 all labels alike."""
    bfloat16: bool = False
    """Convolutions in bfloat16, weights in float32; 1.1-1.3 times as fast with AVX512-BF16. TensorFlow only."""
    seed: int = 1
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a run's faces and targets come from."""

    data: Path
    """As train.data.load reads it."""
    votes: Path | None = None
    """FER+ votes for an auxiliary head."""
    soft: Path | None = None
    """A teacher's probabilities, as `soften` writes them."""
    initial: Path | None = None
    """A model.keras of the same architecture to begin with instead of random weights."""

    def told(self) -> dict[str, str | None]:
        """The files' names, for the run's origin."""
        return {f.name: path.name if (path := getattr(self, f.name)) else None for f in dataclasses.fields(self)}


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fit`."""
    parser.description = "Train, or go on where the run in --out stopped. Press Ctrl-C at any time."
    parser.add_argument("--data", type=Path, required=True, help="folder, zip or fer2013.csv, see docs/retraining.md")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="compact")
    parser.add_argument("--epochs", type=int, default=Hyperparameters().epochs)
    parser.add_argument("--votes", type=Path, help="csv of FER+ votes, an auxiliary task")
    parser.add_argument("--soft", type=Path, help="a teacher's probabilities, written by `soften`")
    parser.add_argument("--initial", type=Path, help="a model.keras of the same architecture to begin with")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="any other hyper-parameter of train/fit.py, such as dropout=0.2 or augmentation.blur=0.3; repeatable",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Train as told; Ctrl-C ends it, and the same command goes on."""
    given = {"architecture": arguments.architecture, "epochs": arguments.epochs}
    settings = build_config(given | _settings(arguments.set), Hyperparameters)
    sources = Sources(arguments.data, arguments.votes, arguments.soft, arguments.initial)
    try:
        print(fit(settings, sources, arguments.out))
    except KeyboardInterrupt:
        raise TrainingError(f"{arguments.out}: interrupted; the same command goes on after the last epoch") from None
    except OSError as error:
        raise TrainingError(f"{error}; what {arguments.out} held is kept, the same command goes on") from error
    return 0


def fit(settings: Hyperparameters, sources: Sources, out: Path) -> Path:
    """Train, or go on where the run in `out` stopped; returns the path of the best model, chosen on validation.

    Writes run.json, origin.json, history.csv, curves.png, checkpoint.keras (the last epoch, with the optimizer),
    model.keras and model.h5 (the best epoch's averaged weights, probabilities out).

    Raises:
        DatasetError: If the data cannot be read, or a label has too few pictures.
        TrainingError: If `out` holds a run of other hyper-parameters or data.
    """
    training, validation = _faces(settings, sources, out)
    _choose_precision(bfloat16=settings.bfloat16)
    keeper = Keeper(out, validation, settings.epochs)
    batches = Batches(
        training.images,
        _targets(settings, training, sources.votes, sources.soft),
        size=settings.batch_size,
        augmentation=settings.augmentation,
        seed=settings.seed,
        epoch=keeper.epochs_done,
    )
    with_votes = sources.votes is not None
    model = _resumed(out, settings, keeper.epochs_done, with_votes=with_votes)
    model = model or _compiled(settings, len(batches), sources.initial, with_votes=with_votes)
    log.info("%s: epochs %d to %d of %s", out, keeper.epochs_done + 1, settings.epochs, settings.architecture)
    model.fit(
        batches,
        epochs=settings.epochs,
        initial_epoch=keeper.epochs_done,
        callbacks=[keeper],
        verbose=1 if os.isatty(1) else 0,
    )
    return out / "model.keras"


def _settings(given: list[str]) -> dict[str, object]:
    try:
        return tomllib.loads("\n".join(given))
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"--set {' '.join(given)}: {error}; write key=value, texts in quotes") from error


def _faces(settings: Hyperparameters, sources: Sources, out: Path) -> tuple[Faces, Faces]:
    faces = load(sources.data, "train")
    require_enough(faces, sources.data)
    training, validation = split_validation(faces)
    if len(training) < settings.batch_size:
        raise TrainingError(f"batch_size = {settings.batch_size}, but there are only {len(training)} faces to train on")
    out.mkdir(parents=True, exist_ok=True)
    claim(out, dataclasses.asdict(settings), {**sources.told(), "digest": digest(faces)})
    log.info("%d faces to train on, %d to choose by", len(training), len(validation))
    return training, validation


def _choose_precision(*, bfloat16: bool) -> None:
    """By TensorFlow's own rewrite: Keras' mixed_bfloat16 policy converts between layers and gains nothing here."""
    if keras.backend.backend() == "tensorflow":
        from tensorflow import config  # noqa: PLC0415 - not there with the other backends

        config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": bfloat16})
    elif bfloat16:
        raise TrainingError(f"bfloat16 = true, but Keras runs on {keras.backend.backend()}; it needs tensorflow")


@keras.saving.register_keras_serializable("classpulse")
def cross_entropy(wanted, logits):
    """Of a probability target; a row of zeros costs nothing, so faces without votes can stay in the batch."""
    return -keras.ops.sum(wanted * keras.ops.log_softmax(logits), axis=-1)


def _compiled(settings: Hyperparameters, steps: int, initial: Path | None, *, with_votes: bool) -> keras.Model:
    keras.utils.set_random_seed(settings.seed)
    model = with_heads(build(settings.architecture, settings.dropout), len(FER_PLUS) if with_votes else 0)
    if initial is not None:
        _take_weights(model, initial)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, settings.epochs - 1) * steps, warmup_target=settings.learning_rate, warmup_steps=steps
    )
    optimizer = keras.optimizers.SGD(
        rate, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay,
        use_ema=True, ema_momentum=settings.average, ema_overwrite_frequency=None,
    )  # fmt: skip
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    losses = {"emotion": cross_entropy, "votes": cross_entropy}
    weights = {"emotion": 1.0, "votes": settings.votes_weight}
    heads = list(model.output)
    model.compile(optimizer, {h: losses[h] for h in heads}, loss_weights={h: weights[h] for h in heads})
    return model


def _targets(settings: Hyperparameters, faces: Faces, votes_file: Path | None, soft_file: Path | None) -> Targets:
    soft = None if soft_file is None else _soft(soft_file, faces)
    emotion = targets(faces.labels, settings.label_smoothing, soft, settings.soft_share)
    by_votes = votes(votes_file, faces.names) if votes_file else None
    return Targets(emotion, by_votes, showings(faces.labels, settings.balance))


def _soft(path: Path, faces: Faces) -> np.ndarray:
    try:
        with np.load(path) as stored:
            by_picture = dict(zip(stored["pictures"].tolist(), stored["probabilities"], strict=True))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path}: no soft labels: {error}") from error
    wanted = pictures(faces)
    missing = [name for name, picture in zip(faces.names, wanted, strict=True) if picture not in by_picture]
    if missing:
        raise TrainingError(f"{path}: no soft labels of {len(missing)} faces, {missing[0]} among them")
    return np.stack([by_picture[picture] for picture in wanted]).astype(np.float32)


def _resumed(out: Path, settings: Hyperparameters, epochs: int, *, with_votes: bool) -> keras.Model | None:
    checkpoint = out / "checkpoint.keras"
    if not checkpoint.exists():
        if epochs:
            raise TrainingError(f"{out}: history.csv has {epochs} epochs, but {checkpoint.name} is gone")
        return None
    try:
        model = keras.models.load_model(checkpoint)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{checkpoint}: Keras cannot load it: {str(error).splitlines()[0]}") from error
    wanted = f"{settings.architecture} with {'emotion and votes' if with_votes else 'emotion'}"
    found = f"{model.name} with {' and '.join(sorted(model.output))}"
    if found != wanted:
        raise TrainingError(f"{checkpoint}: is {found}, but this run is {wanted}")
    log.info("%s: going on after epoch %d", checkpoint, epochs)
    return model


def _take_weights(model: keras.Model, initial: Path) -> None:
    """The auxiliary head, which `initial` no longer has, keeps its random weights."""
    donor = [layer for layer in load_classifier(initial).layers if layer.weights]
    own = [layer for layer in model.layers if layer.weights and layer.name != "vote_logits"]
    try:
        for layer, given in zip(own, donor, strict=True):
            layer.set_weights(given.get_weights())
    except ValueError as error:
        raise TrainingError(f"{initial}: not of the architecture {model.name}: {error}") from error
