"""What a training step is given: shuffled faces with their targets, for any Keras backend."""

from dataclasses import dataclass

import keras
import numpy as np

from contract.labels import EMOTIONS
from train.data import Faces
from train.hyperparameters import Hyperparameters


@dataclass(frozen=True, slots=True)
class Targets:
    """What the network learns from besides teachers; one row per face."""

    emotion: np.ndarray
    """(n, 7) float32, smoothed labels."""
    soft: np.ndarray | None = None
    """(n, 7) float32, stored probabilities of teachers; None without."""
    votes: np.ndarray | None = None
    """(n, 10) float32 FER+ votes, rows of zeros where there are none; None without the auxiliary task."""

    def at(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Those of some faces, by name."""
        named = {"emotion": self.emotion, "soft": self.soft, "votes": self.votes}
        return {name: values[rows] for name, values in named.items() if values is not None}


def smoothed(labels: np.ndarray, smoothing: float) -> np.ndarray:
    """(n, 7) float32: one-hot labels, a share of each given to all seven.

    Source: Szegedy et al. 2015, arXiv:1512.00567.
    """
    size = len(EMOTIONS)
    hard: np.ndarray = np.eye(size, dtype=np.float32)[labels]
    return hard * np.float32(1 - smoothing) + np.float32(smoothing / size)


def oversampling(labels: np.ndarray, balance: float) -> np.ndarray:
    """(n,) how often each face is drawn in an epoch, 1 on average: faces of rare labels more often.

    Args:
        labels: (n,) indices into EMOTIONS.
        balance: A label's faces are drawn its number of faces to the power of minus this often: 0 leaves the data as
            they are, 1 draws all labels alike.
    """
    rarity = np.maximum(np.bincount(labels, minlength=len(EMOTIONS)), 1).astype(float)[labels] ** -balance
    drawn: np.ndarray = rarity / rarity.mean()
    return drawn


class Batches(keras.utils.PyDataset):
    """Batches of (size, 48, 48) uint8 faces, of the weight of each against its partner, and of their targets.

    A face's partner is the one at its place in the reversed batch; see train.step. Epoch and batch number seed the
    randomness, so a resumed run sees what an uninterrupted one would have.
    """

    def __init__(self, faces: Faces, targets: Targets, settings: Hyperparameters, epoch: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self._images, self._targets, self._epoch = faces.images, targets, epoch
        self._size, self._mix, self._seed = settings.batch_size, settings.mix, settings.seed
        self._drawn = oversampling(faces.labels, settings.balance)
        self._order = self._shuffled()

    def __len__(self) -> int:
        return len(self._images) // self._size

    def __getitem__(self, index: int):
        rows = self._order[index * self._size : (index + 1) * self._size]
        rng = np.random.default_rng((self._seed, self._epoch, index))
        # every fourth batch is one of pairs if `mix` is a quarter
        paired = int((index + 1) * self._mix) > int(index * self._mix)
        weight = rng.uniform(0.5, 1) if paired else 1.0
        weights = np.full(self._size, weight, np.float32)
        return {"faces": self._images[rows], "weight": weights}, self._targets.at(rows)

    def on_epoch_end(self) -> None:
        """Called by Keras after every epoch."""
        self._epoch += 1
        self._order = self._shuffled()

    def _shuffled(self) -> np.ndarray:
        rng = np.random.default_rng((self._seed, self._epoch))
        if (self._drawn == 1).all():
            return rng.permutation(len(self._drawn))
        times = np.floor(self._drawn + rng.random(len(self._drawn))).astype(int)
        drawn = rng.permutation(np.repeat(np.arange(len(self._drawn)), times))
        return np.resize(drawn, len(self._drawn))
