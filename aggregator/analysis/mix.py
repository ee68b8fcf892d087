"""The mix of a span of a room: from windows to shares of the labels. No clock, no I/O.

Everything is averaged per frame for each device before devices are added, or a fast camera would weigh more. All spans
of a lesson are worked out at once, as arrays: one by one they would cost ten times as much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from aggregator.analysis.estimate import posteriors
from aggregator.store.windows import Key, Sums, Table
from contract.card import ModelCard
from contract.labels import EMOTIONS, GROUPS

MIN_FRAMES = 5
"""Where frames were withheld, fewer others of a device show nothing: the only one of 200 would be a single frame."""
SPAN_WINDOWS = 2
"""In so many windows all frames of a span carry the same noise: 20 s."""
_WHOLE_S = 2**40
"""A span that has every window."""
_LABELS = len(EMOTIONS)
Row = tuple[Key, Sums]
Shares = dict[str, tuple[float, float, float]]
"""Label or group -> (share, low, high), a 90 % interval."""


class Mix(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A span of a room. Shares are from 0 to 1. Part of a summary's payload."""

    frames: int
    withheld: float
    """Share of the frames."""
    faces: float
    """Faces per frame, over all devices."""
    unsure: float
    """Share of the faces."""
    counts: Mapping[str, float] | None
    """Sure faces per frame and label; None where no emotion was read."""
    estimate: Shares | None
    """Label -> (share, low, high), a 90 % interval; None where no emotion was read or the model's card is unknown."""

    def __post_init__(self) -> None:
        for labels in (self.counts, self.estimate):
            if labels is not None and labels.keys() != set(EMOTIONS):
                raise ValueError(f"labels are {', '.join(labels)}, not {', '.join(EMOTIONS)}")

    groups: Shares | None = None
    """The same of groups of labels; without the model's card the share of the counts, from 0 to 1. Not in payloads."""

    @property
    def shares(self) -> dict[str, float] | None:
        """The estimate's shares, else those of the counts, else None."""
        if self.estimate:
            return {label: triple[0] for label, triple in self.estimate.items()}
        total = sum(self.counts.values()) if self.counts else 0
        return {label: count / total for label, count in (self.counts or {}).items()} if total else None


class Estimator(NamedTuple):
    """What mixes are estimated with."""

    cards: Mapping[str, ModelCard]
    """By the hash that messages carry."""
    groups: Mapping[str, Sequence[str]] = GROUPS
    """Group -> its labels; every label is in one."""
    epsilon: float = 0.0
    """Of the noise that devices add to the sums of a span; 0 if they add none. Messages do not tell it."""

    @property
    def noise(self) -> float:
        """Variance of that noise per label, in squared faces: of Laplace noise 2 s^2, scale s = 2 / epsilon."""
        return 2 * (2 / self.epsilon) ** 2 if self.epsilon else 0.0

    @property
    def members(self) -> tuple[tuple[int, ...], ...]:
        """The indices of each group's labels."""
        return tuple(tuple(map(EMOTIONS.index, labels)) for labels in self.groups.values())


class Moment(NamedTuple):
    """The mix of one span of a room."""

    start: int
    """Seconds since 1970."""
    mix: Mix


@dataclass(frozen=True, slots=True)
class Mixes:
    """The mixes of n spans of a room, by time."""

    starts: np.ndarray
    """(n,) Seconds since 1970."""
    frames: np.ndarray
    """(n, 2) All of them; withheld ones."""
    faces: np.ndarray
    """(n, 2 + labels) Per frame: all of them, unsure ones, sure ones of each label."""
    read: np.ndarray
    """(n,) Whether emotions were read."""
    estimated: np.ndarray
    """(n,) Whether `shares` are an estimate, not those of the counts."""
    shares: np.ndarray
    """(n, labels + groups, 3) Share, low, high; NaN where there is nothing to tell."""
    groups: Sequence[str]

    def moments(self) -> list[Moment]:
        """One for each span that has a frame."""
        return [Moment(int(self.starts[i]), self._mix(i)) for i in np.flatnonzero(self.frames[:, 0]).tolist()]

    def _mix(self, i: int) -> Mix:
        frames, withheld = self.frames[i].tolist()
        faces, unsure, *counts = self.faces[i].tolist()
        triples = [(share, low, high) for share, low, high in self.shares[i].tolist()]
        return Mix(
            frames=frames,
            withheld=withheld / frames,
            faces=faces,
            unsure=unsure / faces if faces else 0.0,
            counts=dict(zip(EMOTIONS, counts, strict=True)) if self.read[i] else None,
            estimate=dict(zip(EMOTIONS, triples, strict=False)) if self.estimated[i] else None,
            groups=None if isnan(triples[0][0]) else dict(zip(self.groups, triples[_LABELS:], strict=True)),
        )


def moments(table: Table, estimator: Estimator, span_s: int) -> list[Moment]:
    """The mix of every span of `span_s` seconds that has a frame, by time."""
    return mixes(table, estimator, span_s).moments()


def mix_of(table: Table, estimator: Estimator) -> Mix | None:
    """The mix of these windows; None without a frame."""
    return next((mix for _, mix in moments(table, estimator, _WHOLE_S)), None)


def mixes(table: Table, estimator: Estimator, span_s: int) -> Mixes:
    """The mix of every span of `span_s` seconds that has a window, by time."""
    devices = list(dict.fromkeys(device for device, _ in table.parts))
    device_of = np.array([devices.index(device) for device, _ in table.parts], int)
    # columns: SUM_COLUMNS, and the number of windows; rows: by span and part, then by span and device, then by span
    windows = np.ones((len(table.starts), 1), int)
    keys, sums = _added(
        table.starts // span_s * len(table.parts) + table.part, np.concatenate([table.sums, windows], axis=1)
    )
    span, part = np.divmod(keys, len(table.parts))
    shown = sums[:, 0] - sums[:, 1]
    few = (sums[:, 1] > 0) & (shown > 0) & (shown < MIN_FRAMES)
    sums[few, 1], sums[few, 2:-1] = sums[few, 0], 0
    keys = span * len(devices) + device_of[part]
    of_device, by_device = _added(keys, sums)
    # withheld frames tell nothing, so they do not count
    shown_by_device = np.maximum(by_device[:, :1] - by_device[:, 1:2], 1)
    per_frame = sums[:, 2:-1] / shown_by_device[np.searchsorted(of_device, keys)]
    read = np.array([model != "" for _, model in table.parts], bool)[part] & (sums[:, 0] > sums[:, 1])
    spans, rooms = _added(span, np.concatenate([sums[:, :2], read[:, None], per_frame], axis=1))
    # of the noise in the room's faces per frame so much is left: 1 is the variance of one span of one device
    _, left = _added(of_device // len(devices), np.minimum(1.0, SPAN_WINDOWS / by_device[:, -1:]))
    by_model = {
        model: _added(span[chosen], per_frame[chosen, -_LABELS:] / 100)
        for model in {model for _, model in table.parts}
        if (chosen := np.array([model == each for _, each in table.parts])[part]).any()
    }
    estimated, shares = _shares(spans, rooms[:, 5 : 5 + _LABELS], by_model, left[:, 0], estimator)
    return Mixes(
        starts=spans * span_s,
        frames=rooms[:, :2].astype(int),
        faces=rooms[:, 3 : 5 + _LABELS],
        read=rooms[:, 2] > 0,
        estimated=estimated,
        shares=shares,
        groups=tuple(estimator.groups),
    )


def _added(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each key once, sorted, and the sum of its rows."""
    order = np.argsort(keys, kind="stable")
    once, first = np.unique(keys[order], return_index=True)
    return once, np.add.reduceat(values[order], first, axis=0)


def _shares(
    spans: np.ndarray,
    counts: np.ndarray,
    by_model: Mapping[str, tuple[np.ndarray, np.ndarray]],
    noise: np.ndarray,
    estimator: Estimator,
) -> tuple[np.ndarray, np.ndarray]:
    """`estimated` and `shares` of Mixes: of what each model read, weighted by the faces that it read.

    Args:
        spans: (n,) Sorted.
        counts: (n, labels) Sure faces per frame.
        by_model: Spans and (…, labels) expected faces per frame.
        noise: (n,) How much of its variance is left.
        estimator: None is known of a span where the card of any of its models is not here.
    """
    members = estimator.members
    shares = np.zeros((len(spans), _LABELS + len(members), 3))
    total, unknown = np.zeros(len(spans)), np.zeros(len(spans), bool)
    for model, (own, expected) in by_model.items():
        faces = expected.sum(axis=1)
        some = faces > 0
        place, faces = np.searchsorted(spans, own)[some], faces[some]
        if model not in estimator.cards:
            unknown[place] = True
        elif len(place):
            added, confusion = estimator.noise * noise[place], estimator.cards[model].soft_confusion
            known = posteriors(expected[some], faces, confusion, added)
            triples = np.concatenate([known.estimates(), known.estimates(members)], axis=1)
            shares[place] += faces[:, None, None] * triples
            total[place] += faces
    estimated = (total > 0) & ~unknown
    shares[estimated] /= total[estimated, None, None]
    # of raw counts nobody knows how far they are from the truth
    groups = np.stack([counts[:, list(labels)].sum(axis=1) for labels in members], axis=1)
    with np.errstate(invalid="ignore"):
        counted = np.concatenate([counts, groups], axis=1) / counts.sum(axis=1, keepdims=True)
    shares[~estimated] = np.stack([counted, np.zeros_like(counted), np.ones_like(counted)], axis=2)[~estimated]
    return estimated, shares
