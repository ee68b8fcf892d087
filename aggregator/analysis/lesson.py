"""A lesson, or any span of a room, looked at as a whole. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from aggregator.analysis.attention import Event, Point, events
from aggregator.analysis.mix import Mix, Row, mix_of
from aggregator.config import AttentionConfig
from contract.card import ModelCard
from contract.labels import EMOTIONS
from contract.topics import Room

MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class Minute:
    """One minute of a lesson."""

    start: int
    """Seconds since 1970."""
    mix: Mix


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a report tells."""

    room: Room
    start: int
    end: int
    """Seconds since 1970, as asked for."""
    whole: Mix | None
    """None without a frame."""
    minutes: tuple[Minute, ...]
    """Those with a frame."""
    events: tuple[Event, ...]
    models: Mapping[str, ModelCard | None]
    """By the hash that messages carry; None where the card is not here."""


def lesson(
    room: Room, start: int, end: int, rows: Sequence[Row], cards: Mapping[str, ModelCard], attention: AttentionConfig
) -> Lesson:
    """The lesson that a room's windows from `start` to `end`, seconds since 1970, add up to."""
    minutes = tuple(Minute(at, mix) for at, mix in _mixes(rows, cards, MINUTE_S))
    return Lesson(
        room=room,
        start=start,
        end=end,
        whole=mix_of(rows, cards),
        minutes=minutes,
        events=tuple(events(_points(rows, cards), attention)) if attention.enabled else (),
        models={model: cards.get(model) for model in sorted({key.model for key, _ in rows} - {""})},
    )


def _points(rows: Sequence[Row], cards: Mapping[str, ModelCard]) -> Iterator[Point]:
    for start, mix in _mixes(rows, cards, 1):
        shares = mix.shares
        if shares:
            yield Point(start, tuple(shares[label] for label in EMOTIONS))


def _mixes(rows: Sequence[Row], cards: Mapping[str, ModelCard], span_s: int) -> Iterator[tuple[int, Mix]]:
    """(start, mix) of every span of `span_s` seconds that has a frame."""
    spans: dict[int, list[Row]] = {}
    for row in rows:
        spans.setdefault(row[0].start // span_s * span_s, []).append(row)
    for start, group in sorted(spans.items()):
        mix = mix_of(group, cards)
        if mix:
            yield start, mix
