"""Train a network: one folder per run, resumable after any interruption."""

import dataclasses
import json
import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from train import curves
from train.augment import Augmentation
from train.batches import Batches, Targets, targets
from train.data import FER_PLUS, Faces, load, split_validation, votes
from train.model import ARCHITECTURES, build, classifier, with_heads

log = logging.getLogger(__name__)


class TrainingError(Exception):
    """A run that cannot start or go on; the text names the file, key and value."""


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Everything that decides a run but the data; saved beside its checkpoint."""

    architecture: str = "compact"
    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 0.06
    """Peak of a cosine with one epoch of warm-up. Source: Loshchilov and Hutter 2016, arXiv:1608.03983."""
    weight_decay: float = 5e-3
    """Decoupled, on kernels only."""
    label_smoothing: float = 0.1
    dropout: float = 0.3
    average: float = 0.998
    """Momentum of the exponential moving average of the weights, which is what is evaluated and kept."""
    votes_weight: float = 0.5
    """Weight of the auxiliary loss on FER+ votes, where a file of them is given."""
    soft_share: float = 0.7
    """Weight of a teacher's probabilities against the labels, where a file of them is given."""
    seed: int = 1
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise TrainingError(f"architecture {self.architecture!r} is none of {', '.join(ARCHITECTURES)}")
        for name, value in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if value < 1:
                raise TrainingError(f"{name} is {value}, not at least 1")


def fit(
    settings: Hyperparameters,
    data: Path,
    out: Path,
    votes_file: Path | None = None,
    soft_file: Path | None = None,
    initial: Path | None = None,
) -> Path:
    """Train, or go on where the run in `out` stopped; returns the path of the best model, chosen on validation.

    Args:
        settings: What decides the run.
        data: As train.data.load reads it.
        out: The run's folder.
        votes_file: FER+ votes for an auxiliary head.
        soft_file: A teacher's probabilities, as `soften` writes them.
        initial: A model.keras of the same architecture to begin with instead of random weights.

    Writes run.json, history.csv, curves.png, checkpoint.keras (the last epoch, with the optimizer), model.keras and
    model.h5 (the best epoch's averaged weights, probabilities out).

    Raises:
        DatasetError: If the data cannot be read.
        TrainingError: If `out` holds a run of other hyper-parameters.
    """
    out.mkdir(parents=True, exist_ok=True)
    _claim(settings, out)
    training, validation = split_validation(load(data, "train"))
    log.info("%d faces to train on, %d to choose by", len(training), len(validation))
    batches = Batches(
        training.images,
        _targets(settings, training, votes_file, soft_file),
        size=settings.batch_size,
        augmentation=settings.augmentation,
        seed=settings.seed,
        epoch=len(curves.read(out / "history.csv")),
    )
    model = _resumed(out) or _compiled(settings, len(batches), initial, with_votes=votes_file is not None)
    keeper = Keeper(out, validation, settings.epochs)
    model.fit(
        batches,
        epochs=settings.epochs,
        initial_epoch=keeper.epochs_done,
        callbacks=[keeper],
        verbose=1 if os.isatty(1) else 0,
    )
    return out / "model.keras"


class Keeper(keras.callbacks.Callback):
    """After each epoch: evaluate the averaged weights, keep the best, write the checkpoint and the curves."""

    def __init__(self, out: Path, validation: Faces, epochs: int) -> None:
        super().__init__()
        self._out, self._validation, self._epochs = out, validation, epochs
        self._history = curves.read(out / "history.csv")
        self.epochs_done = len(self._history)

    def on_epoch_begin(self, epoch, logs=None):  # noqa: ARG002 - the signature is Keras's
        """Note the time."""
        self._began_s = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Everything is written to a temporary file first: a full disk or a kill leaves the last good checkpoint."""
        own = self.model.get_weights()
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        row = {"epoch": epoch, "loss": logs["loss"], **_validation_figures(self.model, self._validation)}
        best = max((r["val_accuracy"] for r in self._history), default=0)
        if row["val_accuracy"] >= best:
            shipped = classifier(self.model)
            _replace(self._out / "model.keras", shipped.save)
            _replace(self._out / "model.h5", shipped.save)
        self.model.set_weights(own)
        row["seconds"] = time.monotonic() - self._began_s
        self._history.append(row)
        _replace(self._out / "checkpoint.keras", self.model.save)
        curves.write(self._out / "history.csv", self._history)
        curves.plot(self._out / "curves.png", self._history)
        left_min = (self._epochs - epoch - 1) * row["seconds"] / 60
        log.info(
            "epoch %d/%d: loss %.3f, validation accuracy %.1f %% (best %.1f), loss %.3f; %.0f s, about %.0f min left",
            epoch + 1, self._epochs, row["loss"], 100 * row["val_accuracy"], 100 * max(best, row["val_accuracy"]),
            row["val_loss"], row["seconds"], left_min,
        )  # fmt: skip


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
        0.0, settings.epochs * steps - steps, warmup_target=settings.learning_rate, warmup_steps=steps
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
    soft = None
    if soft_file is not None:
        stored = np.load(soft_file)
        by_name = dict(zip(stored["names"].tolist(), stored["probabilities"], strict=True))
        missing = [name for name in faces.names if name not in by_name]
        if missing:
            raise TrainingError(f"{soft_file}: no soft labels of {len(missing)} faces, {missing[0]} among them")
        soft = np.stack([by_name[name] for name in faces.names]).astype(np.float32)
    emotion = targets(faces.labels, settings.label_smoothing, soft, settings.soft_share)
    return Targets(emotion, votes(votes_file, faces.names) if votes_file else None)


def _validation_figures(model: keras.Model, faces: Faces) -> dict[str, float]:
    logits = model.predict(faces.images[..., None].astype(np.float32), batch_size=256, verbose=0)["emotion"]
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return {
        "val_loss": float(-log_p[np.arange(len(faces)), faces.labels].mean()),
        "val_accuracy": float((logits.argmax(axis=1) == faces.labels).mean()),
    }


def _claim(settings: Hyperparameters, out: Path) -> None:
    wanted = json.loads(json.dumps(dataclasses.asdict(settings)))
    run = out / "run.json"
    if run.exists():
        found = json.loads(run.read_text())
        if found != wanted:
            keys = sorted(k for k in wanted if found.get(k) != wanted[k])
            raise TrainingError(f"{run}: a run with other {', '.join(keys)}; give another --out, or delete it")
        return
    run.write_text(json.dumps(wanted, indent=1) + "\n")


def _resumed(out: Path) -> keras.Model | None:
    checkpoint = out / "checkpoint.keras"
    if not checkpoint.exists():
        return None
    log.info("%s: going on after epoch %d", checkpoint, len(curves.read(out / "history.csv")))
    return keras.models.load_model(checkpoint)


def _take_weights(model: keras.Model, initial: Path) -> None:
    """The auxiliary head, which `initial` no longer has, keeps its random weights."""
    donor = [layer for layer in keras.models.load_model(initial, compile=False).layers if layer.weights]
    own = [layer for layer in model.layers if layer.weights and layer.name != "vote_logits"]
    try:
        for layer, given in zip(own, donor, strict=True):
            layer.set_weights(given.get_weights())
    except ValueError as error:
        raise TrainingError(f"{initial}: not of the architecture {model.name}: {error}") from error


def _replace(path: Path, save) -> None:
    fresh = path.with_name("new-" + path.name)
    save(fresh)
    fresh.replace(path)
