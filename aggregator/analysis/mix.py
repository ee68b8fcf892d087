"""The mix of a span of a room: from windows to shares of the labels. No clock, no I/O.

Everything is averaged per frame for each device before devices are added, or a fast camera would weigh more.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from aggregator.analysis.estimate import Estimate, posterior
from aggregator.store.windows import NOTHING, Key, Sums
from contract.card import ModelCard
from contract.labels import EMOTIONS, GROUPS

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
    for start, group in sorted(spans.items()):
        mix = mix_of(group, estimator)
        if mix:
            yield Moment(start, mix)


def mix_of(rows: Iterable[Row], estimator: Estimator) -> Mix | None:
    """The mix of these windows of one room; None without a frame."""
    parts: dict[tuple[str, str], Sums] = defaultdict(lambda: NOTHING)
    for key, sums in rows:
        parts[key.device, key.model] += sums
    devices: dict[str, Sums] = defaultdict(lambda: NOTHING)
    for (device, _), sums in parts.items():
        devices[device] += sums
    frames = sum(sums.frames for sums in devices.values())
    if not frames:
        return None
    faces = sum(_per_frame(sums.faces, sums) for sums in devices.values())
    unsure = sum(_per_frame(sums.unsure, sums) for sums in devices.values())
    counts = [sum(_per_frame(sums.counts[i], sums) for sums in devices.values()) for i in range(len(EMOTIONS))]
    read = any(model and sums.frames > sums.withheld for (_, model), sums in parts.items())
    labels, groups = _estimates(parts, devices, estimator)
    return Mix(
        frames=frames,
        withheld=sum(sums.withheld for sums in devices.values()) / frames,
        faces=faces,
        unsure=unsure / faces if faces else 0.0,
        counts=dict(zip(EMOTIONS, counts, strict=True)) if read else None,
        estimate=labels,
        groups=groups or _counted(counts, estimator.groups),
    )


def _estimates(
    parts: Mapping[tuple[str, str], Sums], devices: Mapping[str, Sums], estimator: Estimator
) -> tuple[Shares | None, Shares | None]:
    """Of labels and of groups: each model's, weighted by the faces that it read; None if the card of any is unknown."""
    expected: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(EMOTIONS))
    for (device, model), sums in parts.items():
        for i, hundredths in enumerate(sums.expected):
            expected[model][i] += _per_frame(hundredths / 100, devices[device])
    read = {model: values for model, values in expected.items() if sum(values) > 0}
    if not read or not read.keys() <= estimator.cards.keys():
        return None, None
    weights = [sum(values) / sum(map(sum, read.values())) for values in read.values()]
    known = [posterior(each, sum(each), estimator.cards[model].soft_confusion) for model, each in read.items()]
    members = tuple(tuple(map(EMOTIONS.index, labels)) for labels in estimator.groups.values())
    return (
        _weighted(EMOTIONS, weights, [each.estimate() for each in known]),
        _weighted(tuple(estimator.groups), weights, [each.estimate(members) for each in known]),
    )


def _weighted(names: Sequence[str], weights: Sequence[float], estimates: Sequence[Estimate]) -> Shares:
    triples = np.average([(each.mix, each.low, each.high) for each in estimates], axis=0, weights=weights)
    return dict(zip(names, zip(*triples.tolist(), strict=True), strict=True))


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
