"""An honest estimate of a class's mix from summed probabilities and the model card's confusion. Pure; numpy only.

What the interval assumes: the faces of one frame are different people; every frame shows the same people again, so the
number of faces is that of one frame, however many frames were summed; and the classifier errs here as on the card's
faces, of which there were no more than CARD_FACES.

The estimate is the mean, and the interval comes from the variance, of the mix given the summed probabilities, with two
priors: a class may be anything, or like the faces that the model was trained on. Which of them holds the data decide.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

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
class Posterior:
    """What is known of n mixes of the seven labels, in the order of EMOTIONS."""

    mean: np.ndarray
    """(n, 7)"""
    covariance: np.ndarray
    """(n, 7, 7)"""

    def estimates(self, groups: Groups = LABELS) -> np.ndarray:
        """The share of each group with its own 90 % interval, which labels taken for one another do not widen.

        Returns:
            (n, groups, 3): share, low, high.
        """
        members = np.zeros((len(groups), _LABELS))
        for row, group in enumerate(groups):
            members[row, list(group)] = 1
        variance = np.einsum("ga,nab,gb->ng", members, self.covariance, members)
        mix, half = on_simplex(self.mean @ members.T), _Z90 * np.sqrt(np.clip(variance, 0, None))
        return np.stack([mix, np.clip(mix - half, 0, 1), np.clip(mix + half, 0, 1)], axis=-1)


def posteriors(
    expected: np.ndarray, faces: np.ndarray, soft_confusion: Confusion, added: np.ndarray | None = None
) -> Posterior:
    """What the summed probabilities of faces tell of their mix, for n classes at once.

    Args:
        expected: (n, 7) summed or averaged probabilities per label, in any scale.
        faces: (n,) how many people they were read from: faces per frame, not faces times frames.
        soft_confusion: (7, 7), the card's: mean probabilities by true label (row).
        added: (n,) variance of the noise that devices added to each label's sum, in squared faces.

    Raises:
        ValueError: If there is no face.

    Source: for each prior the linear minimum mean square error estimate, that is, constrained least squares by the
        confusion (the adjusted probabilistic count of Bella et al. 2010, doi:10.1109/ICDM.2010.75) drawn to the prior
        as far as the noise asks for; the priors are weighed by the normal likelihood of what was read.
    """
    total = expected.sum(axis=1)
    if total.min() <= 0 or faces.min() <= 0:
        raise ValueError(f"no mix of {faces.min()} faces, {total.min()} in sum")
    read = expected / total[:, None]
    relative = np.zeros_like(faces) if added is None else added / faces**2
    parts = [_given(read, faces, relative, prior) for prior in _priors(soft_confusion)]
    weights = np.array([part.log_weight for part in parts])
    weights = np.exp(weights - weights.max(axis=0))
    weights /= weights.sum(axis=0)
    mean = sum(weight[:, None] * part.mean for weight, part in zip(weights, parts, strict=True))
    covariance = sum(
        weight[:, None, None] * (part.covariance + _outer(part.mean - mean))
        for weight, part in zip(weights, parts, strict=True)
    )
    return Posterior(np.asarray(mean), np.asarray(covariance))


def on_simplex(values: np.ndarray) -> np.ndarray:
    """The nearest shares, not negative and summing to 1, to (…, k) numbers.

    Source: Duchi et al. 2008, doi:10.1145/1390156.1390191, figure 1.
    """
    falling = np.sort(values)[..., ::-1]
    excess = (np.cumsum(falling, axis=-1) - 1) / np.arange(1, values.shape[-1] + 1)
    last = (falling > excess).sum(axis=-1, keepdims=True) - 1
    shares: np.ndarray = np.clip(values - np.take_along_axis(excess, last, axis=-1), 0, None)
    return shares


def _outer(values: np.ndarray) -> np.ndarray:
    product: np.ndarray = values[:, :, None] * values[:, None, :]
    return product


class _Prior(NamedTuple):
    """What a prior and a card say of a class of `faces` people: the sum of each pair, its second divided by `faces`."""

    log_weight: float
    centre: np.ndarray
    read: np.ndarray
    """What is read on average."""
    spread: tuple[np.ndarray, np.ndarray]
    """Covariance of the mix of people drawn from a Dirichlet-distributed mix."""
    mixed: tuple[np.ndarray, np.ndarray]
    """Covariance of what is read and the mix."""
    seen: tuple[np.ndarray, np.ndarray]
    """Covariance of what is read."""


@lru_cache(maxsize=64)
def _priors(soft_confusion: Confusion) -> tuple[_Prior, ...]:
    confusion = np.asarray(soft_confusion, float) + _JITTER  # no probability of 0
    confusion = confusion / confusion.sum(axis=1, keepdims=True)
    natural, found = _natural(confusion), []
    for centre, (weight, concentration) in ((np.full(_LABELS, 1 / _LABELS), ANYTHING), (natural, NATURAL)):
        drawn = np.diag(centre) - np.outer(centre, centre)
        spread = drawn / (concentration + 1), drawn - drawn / (concentration + 1)
        mixed = confusion.T @ spread[0], confusion.T @ spread[1]
        card = _noise(confusion, natural, centre**2 / (CARD_FACES * natural)) + _JITTER * np.eye(_LABELS)
        seen = mixed[0] @ confusion + card, mixed[1] @ confusion + _noise(confusion, natural, centre)
        found.append(_Prior(np.log(weight), centre, confusion.T @ centre, spread, mixed, seen))
    return tuple(found)


class _Part(NamedTuple):
    """The n mixes given one prior."""

    mean: np.ndarray
    covariance: np.ndarray
    log_weight: np.ndarray


def _given(read: np.ndarray, faces: np.ndarray, added: np.ndarray, prior: _Prior) -> _Part:
    """The mixes of `faces` people given their mean probabilities `read`, to which noise of variance `added` came."""
    spread, mixed, seen = (first + second / faces[:, None, None] for first, second in prior[3:])
    seen += added[:, None, None] * np.eye(_LABELS)
    off = (read - prior.read)[:, :, None]
    solved = np.linalg.solve(seen, np.concatenate([mixed, off], axis=2))
    gain = np.swapaxes(solved[:, :, :-1], 1, 2)
    likelihood = (off * solved[:, :, -1:]).sum(axis=(1, 2)) + np.linalg.slogdet(seen)[1]
    return _Part(prior.centre + (gain @ off)[:, :, 0], spread - gain @ mixed, prior.log_weight - likelihood / 2)


def _noise(confusion: np.ndarray, natural: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(7, 7) covariance of the probabilities of faces of true labels weighted by `weights`.

    A label's probabilities are taken to vary as a draw of one label would, but less by a factor that holds on average
    over the labels. It follows from the confusion because the probabilities are calibrated: with natural shares n, the
    second moment of a face's probabilities is diag(n) @ confusion.
    """
    between = confusion.T @ np.diag(natural) @ confusion
    factor = np.trace(np.diag(natural) @ confusion - between) / np.trace(np.diag(natural) - between)
    noise: np.ndarray = factor * (np.diag(confusion.T @ weights) - confusion.T @ np.diag(weights) @ confusion)
    return noise


def _natural(confusion: np.ndarray) -> np.ndarray:
    """The mix that the card's faces had: what calibrated probabilities leave as it is, confusion.T @ n = n."""
    values, vectors = np.linalg.eig(confusion.T)
    natural = np.abs(vectors[:, int(np.argmax(values.real))].real) + _JITTER
    shares: np.ndarray = natural / natural.sum()
    return shares
