"""What a run leaves on the disk after every epoch, so that it can be interrupted at any moment."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from train import curves, figures
from train.data import Faces
from train.model import classifier
from train.origin import TrainingError

log = logging.getLogger(__name__)

_TIMED = (10, 40)
"""Batches between which the first epoch is timed: the first ones compile."""


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

    def on_train_batch_end(self, batch, logs=None):  # noqa: ARG002
        """Say how long the run will take, as soon as that can be told."""
        if len(self._history) > self.epochs_done or batch not in _TIMED:
            return
        if batch == _TIMED[0]:
            self._timed_s = time.monotonic()
            return
        epoch_s = (time.monotonic() - self._timed_s) / (_TIMED[1] - _TIMED[0]) * self.params["steps"]
        left = self._epochs - self.epochs_done
        log.info("about %.0f s per epoch, %.0f min for %d epochs", epoch_s, left * epoch_s / 60, left)

    def on_epoch_end(self, epoch, logs=None):
        """Everything is written to a temporary file first: a full disk or a kill leaves the last good checkpoint."""
        if not math.isfinite(logs["loss"]):
            raise TrainingError(f"the loss is {logs['loss']} in epoch {epoch + 1}: try a lower learning_rate")
        own = self.model.get_weights()
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        row = {"epoch": epoch, "loss": logs["loss"], **validation_figures(self.model, self._validation)}
        best = max((r["val_accuracy"] for r in self._history), default=0)
        if row["val_accuracy"] >= best:
            shipped = classifier(self.model)
            replace(self._out / "model.keras", shipped.save)
            replace(self._out / "model.h5", shipped.save)
        self.model.set_weights(own)
        row["seconds"] = time.monotonic() - self._began_s
        self._history.append(row)
        replace(self._out / "checkpoint.keras", self.model.save)
        curves.write(self._out / "history.csv", self._history)
        curves.plot(self._out / "curves.png", self._history)
        left_min = (self._epochs - epoch - 1) * row["seconds"] / 60
        log.info(
            "epoch %d/%d: loss %.3f, validation accuracy %.1f %% (best %.1f), loss %.3f; %.0f s, about %.0f min left",
            epoch + 1, self._epochs, row["loss"], 100 * row["val_accuracy"], 100 * max(best, row["val_accuracy"]),
            row["val_loss"], row["seconds"], left_min,
        )  # fmt: skip


def replace(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a new file and put it in the place of `path`; if it cannot, the old one stays."""
    fresh = path.with_name("new-" + path.name)
    try:
        save(fresh)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    fresh.replace(path)


def validation_figures(model: keras.Model, faces: Faces) -> dict[str, float]:
    """Loss and accuracy of a network with heads on the held-out faces."""
    logits = model.predict(faces.images[..., None].astype(np.float32), batch_size=256, verbose=0)["emotion"]
    probabilities = figures.softmax(logits)
    return {
        "val_loss": figures.log_loss(faces.labels, probabilities),
        "val_accuracy": figures.accuracy(faces.labels, probabilities),
    }
