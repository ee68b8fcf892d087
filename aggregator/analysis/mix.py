"""The mix of a span of a room: from windows to shares of the labels. No clock, no I/O.

Everything is averaged per frame for each device before devices are added, or a fast camera would weigh more.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec import Struct

from aggregator.analysis.estimate import estimate
from aggregator.store.windows import NOTHING, Key, Sums
from contract.card import ModelCard
from contract.labels import EMOTIONS

Row = tuple[Key, Sums]


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
    estimate: Mapping[str, tuple[float, float, float]] | None
    """Label -> (share, low, high), a 90 % interval; None where no emotion was read or the model's card is unknown."""

    def __post_init__(self) -> None:
        for labels in (self.counts, self.estimate):
            if labels is not None and labels.keys() != set(EMOTIONS):
                raise ValueError(f"labels are {', '.join(labels)}, not {', '.join(EMOTIONS)}")

    @property
    def shares(self) -> dict[str, float] | None:
        """The estimate's shares, else those of the counts, else None."""
        if self.estimate:
            return {label: triple[0] for label, triple in self.estimate.items()}
        total = sum(self.counts.values()) if self.counts else 0
        return {label: count / total for label, count in (self.counts or {}).items()} if total else None


class Moment(NamedTuple):
    """The mix of one span of a room."""

    start: int
    """Seconds since 1970."""
    mix: Mix


def moments(rows: Iterable[Row], cards: Mapping[str, ModelCard], span_s: int) -> Iterator[Moment]:
    """The mix of every span of `span_s` seconds that has a frame, by time."""
    spans: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        spans[row[0].start // span_s * span_s].append(row)
    for start, group in sorted(spans.items()):
        mix = mix_of(group, cards)
        if mix:
            yield Moment(start, mix)


def mix_of(rows: Iterable[Row], cards: Mapping[str, ModelCard]) -> Mix | None:
    """The mix of these windows of one room; None without a frame."""
    groups: dict[tuple[str, str], Sums] = defaultdict(lambda: NOTHING)
    for key, sums in rows:
        groups[key.device, key.model] += sums
    devices: dict[str, Sums] = defaultdict(lambda: NOTHING)
    for (device, _), sums in groups.items():
        devices[device] += sums
    frames = sum(sums.frames for sums in devices.values())
    if not frames:
        return None
    faces = sum(_per_frame(sums.faces, sums) for sums in devices.values())
    unsure = sum(_per_frame(sums.unsure, sums) for sums in devices.values())
    counts = [sum(_per_frame(sums.counts[i], sums) for sums in devices.values()) for i in range(len(EMOTIONS))]
    read = any(model and sums.frames > sums.withheld for (_, model), sums in groups.items())
    return Mix(
        frames=frames,
        withheld=sum(sums.withheld for sums in devices.values()) / frames,
        faces=faces,
        unsure=unsure / faces if faces else 0.0,
        counts=dict(zip(EMOTIONS, counts, strict=True)) if read else None,
        estimate=_estimate(groups, devices, cards),
    )


def _estimate(
    groups: Mapping[tuple[str, str], Sums], devices: Mapping[str, Sums], cards: Mapping[str, ModelCard]
) -> dict[str, tuple[float, float, float]] | None:
    """The models' estimates, weighted by the faces that each read; None if the card of any is unknown."""
    expected: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(EMOTIONS))
    for (device, model), sums in groups.items():
        for i, hundredths in enumerate(sums.expected):
            expected[model][i] += _per_frame(hundredths / 100, devices[device])
    read = {model: values for model, values in expected.items() if sum(values) > 0}
    if not read or not read.keys() <= cards.keys():
        return None
    total = sum(map(sum, read.values()))
    triples = [(0.0, 0.0, 0.0)] * len(EMOTIONS)
    for model, values in read.items():
        faces = sum(values)
        found = estimate(values, faces, cards[model].soft_confusion)
        for i, triple in enumerate(zip(found.mix, found.low, found.high, strict=True)):
            share, low, high = (before + faces / total * part for before, part in zip(triples[i], triple, strict=True))
            triples[i] = share, low, high
    return dict(zip(EMOTIONS, triples, strict=True))


def _per_frame(value: float, sums: Sums) -> float:
    """Withheld frames tell nothing, so they do not count."""
    open_frames = sums.frames - sums.withheld
    return value / open_frames if open_frames else 0.0
