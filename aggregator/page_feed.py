"""What the page shows, read from the store: each room once, however many pages show it. The caller brings the time."""

from collections.abc import Mapping
from dataclasses import dataclass

from aggregator.attention import Event, Point, events
from aggregator.config import AttentionConfig
from aggregator.live import condensed
from aggregator.mix import Row, mix_of
from aggregator.store import Spoken, Store
from aggregator.summary import LONGEST_S, Summary, lesson_of, recent_of, summarize
from aggregator.window import WINDOW_S
from contract.card import ModelCard
from contract.labels import EMOTIONS
from contract.payload import utc
from contract.topics import Device, Room

TIMELINE_S = 600
"""Span of the timeline."""
_FRESH_S = 0.9
"""A view is read again from the store when it is older."""
_LESSON_S = 10.0
"""The lesson's windows when they are."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One window of the timeline."""

    start: int
    """Seconds since 1970."""
    faces: float
    shares: Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class RoomView:
    """All that a room's page shows."""

    summary: Summary
    timeline: tuple[Moment, ...]
    """Of windows that have ended, so that it changes once in WINDOW_S: it is most of what a page is sent."""
    events: tuple[Event, ...]
    """Of the lesson, newest first."""


class Feed:
    """Views of rooms from the store; for one thread."""

    def __init__(self, store: Store, cards: Mapping[str, ModelCard], attention: AttentionConfig) -> None:
        self._store = store
        self._cards = cards
        self._attention = attention
        self._views: dict[Room, tuple[float, RoomView]] = {}
        self._lessons: dict[Room, tuple[float, list[Row], tuple[Event, ...]]] = {}
        self._closed: dict[Room, dict[int, tuple[tuple[Row, ...], Moment]]] = {}
        self._spoken: tuple[float, dict[Device, Spoken]] = (float("-inf"), {})

    def rooms(self, now: float) -> list[Room]:
        """Every room of which a device ever spoke and was not forgotten."""
        return sorted({device.where for device in self.devices(now)})

    def devices(self, now: float) -> dict[Device, Spoken]:
        """What every device last said."""
        made, spoken = self._spoken
        if not 0 <= now - made < _FRESH_S:
            spoken = self._store.states()
            self._spoken = now, spoken
        return spoken

    def view(self, room: Room, now: float) -> RoomView:
        """The room as it is at `now`, seconds since 1970, or was a moment before."""
        made, view = self._views.get(room, (float("-inf"), None))
        if view is None or not 0 <= now - made < _FRESH_S:
            view = self._read(room, now)
            self._views[room] = now, view
        return view

    def _read(self, room: Room, now: float) -> RoomView:
        rows = self._store.windows(room.site, room.room, int(now) - TIMELINE_S, int(now) + WINDOW_S)
        lesson, found = self._lesson(room, now)
        spoken = {device.device: said for device, said in self.devices(now).items() if device.where == room}
        newest = max((key.start for key, sums in rows if key.start <= now), default=None)
        summary = summarize(
            room,
            recent=recent_of(rows, now),
            lesson=lesson,
            states={device: said.state for device, said in spoken.items() if said.state},
            newest=None if newest is None else utc(min(now, newest + WINDOW_S)),
            now=utc(now),
            cards=self._cards,
        )
        closed = [row for row in rows if row[0].start + WINDOW_S <= now]
        return RoomView(summary, tuple(self._moments(room, closed)), found)

    def _lesson(self, room: Room, now: float) -> tuple[list[Row], tuple[Event, ...]]:
        made, lesson, found = self._lessons.get(room, (float("-inf"), [], ()))
        if not 0 <= now - made < _LESSON_S:
            rows = lesson_of(self._store.windows(room.site, room.room, int(now) - LONGEST_S, int(now) + WINDOW_S), now)
            found = self._events(self._moments(room, rows)) if self._attention.enabled else ()
            lesson = condensed(rows)
            self._lessons[room] = now, lesson, found
        return lesson, found

    def _events(self, moments: list[Moment]) -> tuple[Event, ...]:
        points = [
            Point(moment.start, tuple(moment.shares[label] for label in EMOTIONS))
            for moment in moments
            if moment.shares
        ]
        return tuple(reversed(events(points, self._attention)))

    def _moments(self, room: Room, rows: list[Row]) -> list[Moment]:
        """The mix of every window; what has not changed since the last call is not worked out again."""
        known = self._closed.setdefault(room, {})
        by_start: dict[int, list[Row]] = {}
        for row in rows:
            by_start.setdefault(row[0].start, []).append(row)
        moments: list[Moment] = []
        for start, group in sorted(by_start.items()):
            before = known.get(start)
            if before is None or before[0] != tuple(group):
                mix = mix_of(group, self._cards)
                before = tuple(group), Moment(start, mix.faces if mix else 0.0, mix.shares if mix else None)
                known[start] = before
            moments.append(before[1])
        for start in [start for start in known if start < min(by_start, default=0) - LONGEST_S]:
            del known[start]
        return moments
