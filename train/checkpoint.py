"""What a run leaves on the disk as it goes, so that it can be interrupted at any moment; its learning rates."""

import io
import logging
import math
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from train import curves, figures
from train.data import Faces
from train.hyperparameters import Hyperparameters
from train.model import classifier
from train.origin import TrainingError
from train.step import TrainingStep

log = logging.getLogger(__name__)

NAME = "checkpoint.npz"
_TOLD_EVERY_S = 60
"""Between two lines of progress within epochs."""
_COMPILED = 10
"""Batches after which the first ones, which compile, are forgotten."""


class Checkpoint(keras.callbacks.Callback):
    """Sets the rate of each epoch; after some of them evaluates the averaged weights, keeps the best and writes all."""

    def __init__(self, out: Path, validation: Faces, settings: Hyperparameters, minutes: float | None) -> None:
        """Go on after the epochs that `out` holds.

        Args:
            out: The run's folder.
            validation: Faces to choose the best epoch by.
            settings: Of the run.
            minutes: Of training, those of earlier starts included; it ends the run earlier than its last epoch.
        """
        super().__init__()
        self._out, self._validation, self._minutes = out, validation, minutes
        self._epochs, self._every, self._peak_rate = settings.epochs, settings.evaluate_every, settings.learning_rate
        self._history = curves.read(out / "history.csv")
        # Keras then calls the hooks of batches in a thread of their own, instead of waiting for each batch's result
        self.async_safe = True
        self._told_s: float | None = None
        self._evaluated_s = time.monotonic()

    @property
    def epochs_done(self) -> int:
        """Of this run, by all its starts; those that were evaluated and written."""
        return int(self._history[-1]["epoch"]) + 1 if self._history else 0

    @property
    def finished(self) -> bool:
        """Whether there is neither an epoch nor time for one left."""
        return self.epochs_done >= self._epochs or (self.epochs_done > 0 and self._left_s() < self._epoch_s() / 2)

    def on_train_begin(self, logs=None):  # noqa: ARG002 - the signature is Keras's
        """Note the time: what was loaded and built before is no training."""
        self._evaluated_s = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):  # noqa: ARG002
        """Draw anew, set the rate."""
        self._epoch = epoch
        self.model.begin_epoch(epoch)
        share = (epoch + 0.5) / self._epochs
        if self._minutes is not None:
            share = max(share, 1 - (self._left_s() - self._epoch_s() / 2) / (60 * self._minutes))
        self.model.optimizer.learning_rate = self._peak_rate * rate(epoch, min(share, 1), self._epochs)

    def on_train_batch_end(self, batch, logs=None):  # noqa: ARG002
        """Say how long it will take, as soon as that can be told, and again now and then."""
        now_s = time.monotonic()
        if batch == _COMPILED:
            self._steady_s = now_s
        first = self._told_s is None and batch >= 4 * _COMPILED
        due = first or now_s - (self._told_s or self._evaluated_s) > _TOLD_EVERY_S
        if batch <= _COMPILED or not due or os.isatty(1):
            return
        self._told_s = now_s
        step_s = (now_s - self._steady_s) / (batch - _COMPILED)
        steps, epoch = self.params["steps"], self._epoch + 1
        left_s = min((steps - batch + (self._epochs - epoch) * steps) * step_s, self._left_s())
        log.info(
            "epoch %d of %d, %.0f %% of it; %.0f minutes to the end of the run",
            epoch, self._epochs, 100 * batch / steps, left_s / 60,
        )  # fmt: skip

    def on_epoch_end(self, epoch, logs=None):
        """Evaluate and write, if it is time to."""
        last = epoch + 1 >= self._epochs or self._left_s() < self._epoch_s() / 2
        if last or (epoch + 1) % self._every == 0:
            self._evaluate(epoch, logs["loss"])
        self.model.stop_training = last or self.finished

    def _evaluate(self, epoch: int, loss: float) -> None:
        """Everything is written to a temporary file first: a full disk or a kill leaves the last good checkpoint."""
        network = self.model.network
        own = network.get_weights()
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        # copies: with JAX, network and optimizer would share the averages' memory, and prediction gives its own away
        network.set_weights(network.get_weights())
        row = {"epoch": epoch, "loss": loss, **validation_figures(network, self._validation)}
        if not math.isfinite(row["loss"] + row["val_loss"]):
            losses = f"{row['loss']}, that of validation {row['val_loss']}"
            raise TrainingError(f"the loss is {losses} in epoch {epoch + 1}: try a lower learning_rate")
        best = max((r["val_accuracy"] for r in self._history), default=0)
        if row["val_accuracy"] >= best:
            shipped = classifier(network)
            replace(self._out / "model.keras", shipped.save)
            replace(self._out / "model.h5", shipped.save)
        network.set_weights(own)
        now_s = time.monotonic()
        row["seconds"], self._evaluated_s = now_s - self._evaluated_s, now_s
        self._history.append(row)
        replace(self._out / NAME, lambda fresh: save(fresh, self.model))
        curves.write(self._out / "history.csv", self._history)
        curves.plot(self._out / "curves.png", self._history)
        log.info(
            "epoch %d of %d: loss %.3f, validation accuracy %.1f %% (best %.1f), loss %.3f; %.1f s an epoch",
            epoch + 1, self._epochs, row["loss"], 100 * row["val_accuracy"], 100 * max(best, row["val_accuracy"]),
            row["val_loss"], self._epoch_s(),
        )  # fmt: skip

    def _left_s(self) -> float:
        if self._minutes is None:
            return math.inf
        spent_s = sum(row["seconds"] for row in self._history) + time.monotonic() - self._evaluated_s
        return 60 * self._minutes - spent_s

    def _epoch_s(self) -> float:
        return curves.epoch_seconds(self._history) if self._history else 0.0


def rate(epoch: int, share: float, epochs: int) -> float:
    """The learning rate of an epoch as a part of its peak: a cosine, after a few epochs of warm-up if there are many.

    Source: Loshchilov and Hutter 2016, arXiv:1608.03983.

    Args:
        epoch: Its number, from 0.
        share: Of the run that lies behind the middle of the epoch, 0-1.
        epochs: Of the whole run.
    """
    warm_up = min(3, epochs // 10)
    return min(1, (epoch + 1) / (warm_up + 1)) * (1 + math.cos(math.pi * share)) / 2


def save(path: Path, step: TrainingStep) -> None:
    """Write the weights, not averaged, and the optimizer's state."""
    optimizer: dict[str, np.ndarray] = {}
    step.optimizer.save_own_variables(optimizer)
    weights = {f"weight {number}": weight for number, weight in enumerate(step.network.get_weights())}
    states = {f"optimizer {name}": value for name, value in optimizer.items()}
    # through memory: numpy's own file would complain on standard error when the disk is full
    buffer = io.BytesIO()
    np.savez(buffer, network=description(step.network), **weights, **states)
    path.write_bytes(buffer.getvalue())


def restore(path: Path, step: TrainingStep) -> None:
    """Read what `save` wrote.

    Raises:
        TrainingError: If the file is another, or of another network.
    """
    try:
        with np.load(path) as stored:
            found = str(stored["network"])
            values = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path}: not a checkpoint: {str(error).splitlines()[0]}") from error
    if found != description(step.network):
        raise TrainingError(f"{path}: is of {found}, but this run trains {description(step.network)}")
    step.network.set_weights([values[f"weight {number}"] for number in range(len(step.network.weights))])
    step.optimizer.build(step.trainable_variables)
    step.optimizer.load_own_variables(
        {name.removeprefix("optimizer "): value for name, value in values.items() if name.startswith("optimizer ")}
    )


def description(network: keras.Model) -> str:
    """Architecture and heads, for people."""
    return f"{network.name} with {' and '.join(sorted(network.output))}"


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a new file and put it in the place of `path`; if it cannot, the old one stays."""
    fresh = path.with_name("new-" + path.name)
    try:
        write(fresh)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    fresh.replace(path)


def validation_figures(network: keras.Model, faces: Faces) -> dict[str, float]:
    """Loss and accuracy of a network with heads on the held-out faces."""
    logits = network.predict(faces.images[..., None].astype(np.float32), batch_size=256, verbose=0)["emotion"]
    probabilities = figures.softmax(logits)
    return {
        "val_loss": figures.log_loss(faces.labels, probabilities),
        "val_accuracy": figures.accuracy(faces.labels, probabilities),
    }
