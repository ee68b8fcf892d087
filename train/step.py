"""One training step, on whatever device Keras computes: augment, mix pairs of faces, ask the teachers, compare."""

import keras
from keras import ops

from contract.card import INPUT_SIZE
from train.augment import spoil, view
from train.hyperparameters import Hyperparameters


class TrainingStep(keras.Model):
    """A network in training, with its teachers: what `fit` calls; the network alone is what is kept.

    Teachers see the same view of each face as the network does (Beyer et al. 2022, arXiv:2106.05237), and of pairs of
    faces mixed to one (Zhang et al. 2017, arXiv:1710.09412) the same mix, but without what spoils it: the network
    learns to read a small or hidden face as its teachers read the clear one.
    """

    def __init__(self, network: keras.Model, teachers: list[keras.Model], settings: Hyperparameters) -> None:
        """Prepare a step.

        Args:
            network: What learns: (n, 48, 48, 1) raw pixels to logits, by name of the head.
            teachers: Classifiers: the same to probabilities. Their mean is learned from.
            settings: Of the run.
        """
        super().__init__(name=network.name)
        self.network, self.teachers, self._settings = network, teachers, settings
        self._generator = keras.random.SeedGenerator(settings.seed)
        for teacher in teachers:
            teacher.trainable = False

    def begin_epoch(self, epoch: int) -> None:
        """Draw what a run that was not interrupted would draw in this epoch."""
        self._generator.state.assign([self._settings.seed, epoch * 1_000_003])

    def call(self, inputs, training=None):  # noqa: ARG002 - the signature is Keras's
        """Logits by head, and the teachers' probabilities as `soft`."""
        changes = self._settings.augmentation
        # a shape that is known before the graph is built
        pixels = ops.reshape(inputs["faces"], (self._settings.batch_size, INPUT_SIZE, INPUT_SIZE, 1))
        seen = mixed(view(ops.cast(pixels, "float32"), changes, self._generator), inputs["weight"])
        answers = dict(self.network(spoil(seen, changes, self._generator), training=True))
        if self.teachers:
            said = [ops.cast(teacher(seen, training=False), "float32") for teacher in self.teachers]
            answers["soft"] = ops.stop_gradient(sum(said) / len(said))
        return answers

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):  # noqa: ARG002, FBT002
        """Cross-entropy with labels and teachers, and that of the auxiliary task."""
        wanted = mixed(y["emotion"], x["weight"])
        soft = y_pred["soft"] if "soft" in y_pred else mixed(y["soft"], x["weight"]) if "soft" in y else None
        if soft is not None:
            wanted = self._settings.label_share * wanted + (1 - self._settings.label_share) * soft
        loss = cross_entropy(wanted, y_pred["emotion"])
        if "votes" in y_pred:
            loss += self._settings.votes_weight * cross_entropy(mixed(y["votes"], x["weight"]), y_pred["votes"])
        return loss


def mixed(rows, weight):
    """Each row, by its weight, with the row at its place in the reversed batch."""
    weight = ops.reshape(weight, (-1,) + (1,) * (len(rows.shape) - 1))
    return weight * rows + (1 - weight) * ops.flip(rows, axis=0)


def cross_entropy(wanted, logits):
    """Mean over the batch; a row of zeros costs nothing, so faces without votes can stay in it."""
    return -ops.mean(ops.sum(wanted * ops.log_softmax(logits), axis=-1))
