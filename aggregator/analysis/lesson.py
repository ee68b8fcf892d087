"""A lesson, or any span of a room, looked at as a whole. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aggregator.analysis.attention import Event, events, points_of
from aggregator.analysis.mix import Estimator, Mix, Moment, Row, mix_of, moments
from aggregator.config import AttentionConfig
from aggregator.store.windows import WINDOW_S
from contract.card import ModelCard
from contract.topics import Room

MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a report shows."""

    room: Room
    start: int
    end: int
    """Seconds since 1970, as asked for."""
    whole: Mix | None
    """None without a frame."""
    minutes: tuple[Moment, ...]
    """One for each minute with a frame."""
    events: tuple[Event, ...]
    groups: Mapping[str, Sequence[str]]
    """Group -> its labels."""
    models: Mapping[str, ModelCard | None]
    """By the hash that messages carry; None where the card is not here."""


def lesson(
    room: Room, start: int, end: int, rows: Sequence[Row], estimator: Estimator, attention: AttentionConfig
) -> Lesson:
    """The lesson that a room's windows from `start` to `end`, seconds since 1970, add up to."""
    windows = moments(rows, estimator, WINDOW_S)
    return Lesson(
        room=room,
        start=start,
        end=end,
        whole=mix_of(rows, estimator),
        minutes=tuple(moments(rows, estimator, MINUTE_S)),
        events=tuple(events(points_of(windows), attention)) if attention.enabled else (),
        groups=estimator.groups,
        models={model: estimator.cards.get(model) for model in sorted({key.model for key, _ in rows} - {""})},
    )
