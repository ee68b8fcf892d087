"""The mix of a span of a room: from windows to shares of the labels. No clock, no I/O.

Everything is averaged per frame for each device before devices are added, or a fast camera would weigh more.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct, structs

from aggregator.analysis.estimate import posteriors
from aggregator.store.windows import NOTHING, Key, Sums
from contract.card import ModelCard
from contract.labels import EMOTIONS, GROUPS

MIN_FRAMES = 5
"""Where frames were withheld, fewer others of a device show nothing: the only one of 200 would be a single frame."""
SPAN_WINDOWS = 2
"""In so many windows all frames of a span carry the same noise: 20 s."""
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


class Moment(NamedTuple):
    """The mix of one span of a room."""

    start: int
    """Seconds since 1970."""
    mix: Mix


def moments(rows: Iterable[Row], estimator: Estimator, span_s: int) -> Iterator[Moment]:
    """The mix of every span of `span_s` seconds that has a frame, by time."""
    spans: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        spans[row[0].start // span_s * span_s].append(row)
    starts = sorted(spans)
    for start, mix in zip(starts, mixes([spans[start] for start in starts], estimator), strict=True):
        if mix:
            yield Moment(start, mix)


def mix_of(rows: Iterable[Row], estimator: Estimator) -> Mix | None:
    """The mix of these windows of one room; None without a frame."""
    return mixes([rows], estimator)[0]


def mixes(spans: Iterable[Iterable[Row]], estimator: Estimator) -> list[Mix | None]:
    """The mix of each span's windows; many at once cost a small part of what one by one would."""
    summed = [_summed(rows) for rows in spans]
    estimates = _estimates(summed, estimator)
    return [
        _mix(parts, devices, *estimates.get(i, (None, None)), estimator.groups)
        for i, (parts, devices, _) in enumerate(summed)
    ]


Parts = Mapping[tuple[str, str], Sums]
"""By device and model."""
Devices = Mapping[str, Sums]


def _summed(rows: Iterable[Row]) -> tuple[Parts, Devices, float]:
    """With the part of the noise that is left in the room's faces per frame: 1 is the variance of one span."""
    parts: dict[tuple[str, str], Sums] = {}
    windows: dict[str, int] = defaultdict(int)
    for key, sums in rows:
        windows[key.device] += 1
        before = parts.get((key.device, key.model))
        parts[key.device, key.model] = before + sums if before else sums
    parts = {key: _told(sums) for key, sums in parts.items()}
    devices: dict[str, Sums] = {}
    for (device, _), sums in parts.items():
        devices[device] = devices[device] + sums if device in devices else sums
    return parts, devices, sum(min(1.0, SPAN_WINDOWS / count) for count in windows.values())


def _told(sums: Sums) -> Sums:
    few = sums.withheld and 0 < sums.frames - sums.withheld < MIN_FRAMES
    return structs.replace(NOTHING, frames=sums.frames, withheld=sums.frames) if few else sums


def _mix(
    parts: Parts, devices: Devices, labels: Shares | None, groups: Shares | None, members: Mapping[str, Sequence[str]]
) -> Mix | None:
    frames = sum(sums.frames for sums in devices.values())
    if not frames:
        return None
    faces = sum(_per_frame(sums.faces, sums) for sums in devices.values())
    unsure = sum(_per_frame(sums.unsure, sums) for sums in devices.values())
    counts = [sum(_per_frame(sums.counts[i], sums) for sums in devices.values()) for i in range(len(EMOTIONS))]
    read = any(model and sums.frames > sums.withheld for (_, model), sums in parts.items())
    return Mix(
        frames=frames,
        withheld=sum(sums.withheld for sums in devices.values()) / frames,
        faces=faces,
        unsure=unsure / faces if faces else 0.0,
        counts=dict(zip(EMOTIONS, counts, strict=True)) if read else None,
        estimate=labels,
        groups=groups or _counted(counts, members),
    )


def _estimates(
    summed: Sequence[tuple[Parts, Devices, float]], estimator: Estimator
) -> dict[int, tuple[Shares | None, Shares | None]]:
    """Span -> shares of labels and of groups: each model's, weighted by the faces that it read.

    None are known where the card of any model is not.
    """
    by_model: dict[str, list[tuple[int, float, list[float]]]] = defaultdict(list)
    for i, (parts, devices, _) in enumerate(summed):
        read = _expected(parts, devices)
        total = sum(map(sum, read.values()))
        if read.keys() <= estimator.cards.keys():
            for model, values in read.items():
                by_model[model].append((i, sum(values) / total, values))
    members = tuple(tuple(map(EMOTIONS.index, labels)) for labels in estimator.groups.values())
    triples = np.zeros((len(summed), len(EMOTIONS) + len(members), 3))
    for model, entries in by_model.items():
        expected = np.array([values for _, _, values in entries])
        added = estimator.noise * np.array([summed[i][2] for i, _, _ in entries])
        known = posteriors(expected, expected.sum(axis=1), estimator.cards[model].soft_confusion, added)
        both = np.concatenate([known.estimates(), known.estimates(members)], axis=1)
        triples[[i for i, _, _ in entries]] += both * np.array([weight for _, weight, _ in entries])[:, None, None]
    names = (*EMOTIONS, *estimator.groups)
    return {
        i: (_shares(names[: len(EMOTIONS)], each), _shares(names[len(EMOTIONS) :], each[len(EMOTIONS) :]))
        for i, each in enumerate(triples.tolist())
        if any(each[0])
    }


def _shares(names: Sequence[str], triples: Sequence[Sequence[float]]) -> Shares:
    return {name: (share, low, high) for name, (share, low, high) in zip(names, triples, strict=False)}


def _expected(parts: Parts, devices: Devices) -> dict[str, list[float]]:
    """Model -> expected faces per frame and label, of those that read any."""
    expected: dict[str, list[float]] = {}
    for (device, model), sums in parts.items():
        values = [_per_frame(hundredths / 100, devices[device]) for hundredths in sums.expected]
        before = expected.get(model)
        expected[model] = [a + b for a, b in zip(before, values, strict=True)] if before else values
    return {model: values for model, values in expected.items() if sum(values) > 0}


def _counted(counts: Sequence[float], groups: Mapping[str, Sequence[str]]) -> Shares | None:
    """Shares of raw counts, of which nobody knows how far they are from the truth."""
    total, by_label = sum(counts), dict(zip(EMOTIONS, counts, strict=True))
    if not total:
        return None
    return {name: (sum(by_label[label] for label in labels) / total, 0.0, 1.0) for name, labels in groups.items()}


def _per_frame(value: float, sums: Sums) -> float:
    """Withheld frames tell nothing, so they do not count."""
    open_frames = sums.frames - sums.withheld
    return value / open_frames if open_frames else 0.0
