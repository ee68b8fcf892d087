"""Batches of augmented faces with their targets, for any Keras backend."""

from dataclasses import dataclass

import keras
import numpy as np

from contract.labels import EMOTIONS
from train.augment import Augmentation, augment


@dataclass(frozen=True, slots=True)
class Targets:
    """What the network learns from; one row per face."""

    emotion: np.ndarray
    """(n, 7) float32, probabilities of the labels."""
    votes: np.ndarray | None
    """(n, 10) float32 FER+ votes, rows of zeros where there are none; None without the auxiliary task."""
    shown: np.ndarray
    """(n,) how often each face is shown in an epoch, 1 on average; see `showings`."""


def targets(labels: np.ndarray, smoothing: float, soft: np.ndarray | None, soft_share: float) -> np.ndarray:
    """(n, 7) float32: smoothed labels, mixed with a teacher's probabilities where there are any.

    Args:
        labels: (n,) indices into EMOTIONS.
        smoothing: Share of every label given to all seven. Source: Szegedy et al. 2015, arXiv:1512.00567.
        soft: (n, 7) teacher's probabilities or None. Source: Hinton et al. 2015, arXiv:1503.02531.
        soft_share: Weight of `soft`, 0-1.
    """
    hard = np.eye(len(EMOTIONS), dtype=np.float32)[labels] * (1 - smoothing) + smoothing / len(EMOTIONS)
    return hard if soft is None else ((1 - soft_share) * hard + soft_share * soft).astype(np.float32)


def showings(labels: np.ndarray, balance: float) -> np.ndarray:
    """(n,) how often each face is shown in an epoch, 1 on average: faces of rare labels more often.

    Args:
        labels: (n,) indices into EMOTIONS.
        balance: A label's faces are shown its number of faces to the power of minus this often: 0 leaves the data as
            they are, 1 shows all labels alike.
    """
    rarity = np.maximum(np.bincount(labels, minlength=len(EMOTIONS)), 1).astype(float)[labels] ** -balance
    shown: np.ndarray = rarity / rarity.mean()
    return shown


class Batches(keras.utils.PyDataset):
    """Shuffled, augmented batches.

    Epoch and batch number seed the randomness, so a resumed run sees what an uninterrupted one would have.
    """

    def __init__(
        self, images: np.ndarray, wanted: Targets, *, size: int, augmentation: Augmentation, seed: int, epoch: int
    ) -> None:  # one argument per thing that decides a batch
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self._images, self._wanted, self._size = images, wanted, size
        self._augmentation, self._seed, self._epoch = augmentation, seed, epoch
        self._order = self._shuffled()

    def __len__(self) -> int:
        return len(self._images) // self._size

    def __getitem__(self, index: int):
        rows = self._order[index * self._size : (index + 1) * self._size]
        rng = np.random.default_rng((self._seed, self._epoch, index))
        faces = np.stack([augment(self._images[row], self._augmentation, rng) for row in rows])
        wanted = {"emotion": self._wanted.emotion[rows]}
        if self._wanted.votes is not None:
            wanted["votes"] = self._wanted.votes[rows]
        return faces[..., None].astype(np.float32), wanted

    def on_epoch_end(self) -> None:
        """Called by Keras after every epoch."""
        self._epoch += 1
        self._order = self._shuffled()

    def _shuffled(self) -> np.ndarray:
        rng = np.random.default_rng((self._seed, self._epoch))
        shown = self._wanted.shown
        if (shown == 1).all():
            return rng.permutation(len(shown))
        times = np.floor(shown + rng.random(len(shown))).astype(int)
        drawn = rng.permutation(np.repeat(np.arange(len(shown)), times))
        return np.resize(drawn, len(shown))
