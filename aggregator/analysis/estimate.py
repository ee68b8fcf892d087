"""An honest estimate of a class's mix from summed probabilities and the model card's confusion. Pure; numpy only.

What the interval assumes: the faces of one frame are different people; every frame shows the same people again, so the
number of faces is that of one frame, however many frames were summed; and the classifier errs here as on the card's
faces, of which there were no more than CARD_FACES.

The estimate is the mean, and the interval comes from the variance, of the mix given the summed probabilities, with two
priors: a class may be anything, or like the faces that the model was trained on. Which of them holds the data decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from contract.labels import EMOTIONS

CARD_FACES = 1000
"""How many faces the card's confusion is worth: fewer than the 2,897 it was measured on, since no classroom is its data
set. With 2,000 the 90 % intervals of 400 faces held 85 % of the true shares (benchmarks/estimate.py); chosen on halves
of the validation faces, where a quarter to a half of the faces known is what holds 90 %."""
ANYTHING = (0.8, 7.0)
"""Weight and concentration of the prior in which every mix is as likely as every other. On the validation faces
(benchmarks/estimate.py --split validation) weights of 0.5 to 0.95 and concentrations of 4 to 12 move the error by at
most 0.03 of that of raw counts: nothing here is finely tuned."""
NATURAL = (0.2, 300.0)
"""Weight and concentration of the prior around the mix that the model was trained on. Sharper ones would hold closer to
90 % at exactly that mix, where the intervals now hold 94 to 95 %; no class has exactly that mix."""
_Z90 = 1.645
"""Half-width of a 90 % interval of a normal distribution, in standard deviations."""
_LABELS = len(EMOTIONS)
_JITTER = 1e-6
"""Keeps matrices invertible: shares sum to 1, so their covariances have no full rank."""

Confusion = tuple[tuple[float, ...], ...]
Groups = tuple[tuple[int, ...], ...]
"""The indices of the labels of each group."""
LABELS: Groups = tuple((label,) for label in range(_LABELS))


@dataclass(frozen=True, slots=True)
class Estimate:
    """Shares of the labels, or of groups of them; `mix` sums to 1 and low <= mix <= high."""

    mix: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    """`low` and `high` bound a 90 % interval of each share by itself."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """What is known of the mix of the seven labels, in the order of EMOTIONS."""

    mean: np.ndarray
    """(7,)"""
    covariance: np.ndarray
    """(7, 7)"""

    def estimate(self, groups: Groups = LABELS) -> Estimate:
        """The share of each group with its own interval, which labels that are taken for one another do not widen."""
        members = np.zeros((len(groups), _LABELS))
        for row, group in enumerate(groups):
            members[row, list(group)] = 1
        variance = np.diag(members @ self.covariance @ members.T)
        mix, half = on_simplex(members @ self.mean), _Z90 * np.sqrt(np.clip(variance, 0, None))
        low, high = np.clip(mix - half, 0, 1), np.clip(mix + half, 0, 1)
        return Estimate(tuple(mix.tolist()), tuple(low.tolist()), tuple(high.tolist()))


def posterior(expected: Sequence[float], faces: float, soft_confusion: Confusion) -> Posterior:
    """What the summed probabilities of faces tell of their mix.

    Args:
        expected: Summed or averaged probabilities per label, in any scale.
        faces: How many people they were read from: faces per frame, not faces times frames.
        soft_confusion: (7, 7), the card's: mean probabilities by true label (row).

    Raises:
        ValueError: If there is no face.

    Source: for each prior the linear minimum mean square error estimate, that is, constrained least squares by the
        confusion (the adjusted probabilistic count of Bella et al. 2010, doi:10.1109/ICDM.2010.75) drawn to the prior
        as far as the noise asks for; the priors are weighed by the normal likelihood of what was read.
    """
    total = float(sum(expected))
    if total <= 0 or faces <= 0:
        raise ValueError(f"no mix of {faces} faces, {total} in sum")
    read = np.asarray(expected, float) / total
    parts = [
        _given(read, faces, soft_confusion, np.full(_LABELS, 1 / _LABELS), *ANYTHING),
        _given(read, faces, soft_confusion, _natural(soft_confusion), *NATURAL),
    ]
    weights = np.exp([part.log_weight - max(other.log_weight for other in parts) for part in parts])
    weights /= weights.sum()
    mean = sum(weight * part.mean for weight, part in zip(weights, parts, strict=True))
    covariance = sum(
        weight * (part.covariance + np.outer(part.mean - mean, part.mean - mean))
        for weight, part in zip(weights, parts, strict=True)
    )
    return Posterior(np.asarray(mean), np.asarray(covariance))


def on_simplex(values: np.ndarray) -> np.ndarray:
    """The nearest shares, not negative and summing to 1, to (n,) numbers.

    Source: Duchi et al. 2008, doi:10.1145/1390156.1390191, figure 1.
    """
    falling = np.sort(values)[::-1]
    excess = (np.cumsum(falling) - 1) / np.arange(1, len(values) + 1)
    shares: np.ndarray = np.clip(values - excess[falling > excess][-1], 0, None)
    return shares


@dataclass(frozen=True, slots=True)
class _Part:
    """The mix given one prior."""

    mean: np.ndarray
    covariance: np.ndarray
    log_weight: float


def _given(
    read: np.ndarray, faces: float, soft_confusion: Confusion, centre: np.ndarray, weight: float, concentration: float
) -> _Part:
    """The mix of `faces` people drawn from a Dirichlet-distributed mix, given their mean probabilities `read`."""
    confusion = _rows(soft_confusion)
    drawn = np.diag(centre) - np.outer(centre, centre)
    spread = drawn / (concentration + 1)
    spread = spread + (drawn - spread) / faces
    noise = _noise(soft_confusion, centre / faces + centre**2 / (CARD_FACES * _natural(soft_confusion)))
    seen = confusion.T @ spread @ confusion + noise + _JITTER * np.eye(_LABELS)
    gain = np.linalg.solve(seen, confusion.T @ spread).T
    off = read - confusion.T @ centre
    likelihood = off @ np.linalg.solve(seen, off) + np.linalg.slogdet(seen)[1]
    return _Part(centre + gain @ off, spread - gain @ confusion.T @ spread, float(np.log(weight) - likelihood / 2))


def _noise(soft_confusion: Confusion, weights: np.ndarray) -> np.ndarray:
    """(7, 7) covariance of the probabilities of faces of true labels weighted by `weights`.

    A label's probabilities are taken to vary as a draw of one label would, but less by a factor that holds on average
    over the labels. It follows from the confusion because the probabilities are calibrated: with natural shares n, the
    second moment of a face's probabilities is diag(n) @ confusion.
    """
    confusion, natural = _rows(soft_confusion), _natural(soft_confusion)
    between = confusion.T @ np.diag(natural) @ confusion
    factor = np.trace(np.diag(natural) @ confusion - between) / np.trace(np.diag(natural) - between)
    noise: np.ndarray = factor * (np.diag(confusion.T @ weights) - confusion.T @ np.diag(weights) @ confusion)
    return noise


@lru_cache(maxsize=64)
def _natural(soft_confusion: Confusion) -> np.ndarray:
    """The mix that the card's faces had: what calibrated probabilities leave as it is, confusion.T @ n = n."""
    values, vectors = np.linalg.eig(_rows(soft_confusion).T)
    natural = np.abs(vectors[:, int(np.argmax(values.real))].real) + _JITTER
    shares: np.ndarray = natural / natural.sum()
    return shares


@lru_cache(maxsize=64)
def _rows(soft_confusion: Confusion) -> np.ndarray:
    """The confusion as an array whose rows sum to 1, with no probability of 0."""
    confusion = np.asarray(soft_confusion, float) + _JITTER
    rows: np.ndarray = confusion / confusion.sum(axis=1, keepdims=True)
    return rows
