"""What the page shows, read from the store: each room once, however many pages show it. The caller brings the time."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from aggregator.analysis.attention import Event, Point, events
from aggregator.analysis.live import condensed
from aggregator.analysis.mix import Row, mix_of
from aggregator.analysis.summary import LONGEST_S, Summary, lesson_of, recent_of, summarize
from aggregator.config import AttentionConfig
from aggregator.store.types import DeviceStatus, Store, StoreError
from aggregator.store.windows import WINDOW_S
from contract.card import ModelCard
from contract.labels import EMOTIONS
from contract.message import utc
from contract.topics import Device, Room

log = logging.getLogger(__name__)
T = TypeVar("T")

TIMELINE_S = 600
"""Span of the timeline."""
CLOCK_S = 120.0
"""A device whose word of itself differs by more from when it came has a wrong clock: its frames go astray."""
PRESENT = ("ready", "degraded")
"""States of a device that takes frames."""
_RETRY_S = 10.0
"""A store that could not be read is left alone for so long: trying may take seconds, in which no page is served."""
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
class Glance:
    """How a room is doing, for the page of all rooms."""

    summary: Summary
    clocks: Mapping[str, float]
    """Device -> by how many seconds its clock is ahead, behind if negative; only where that is more than CLOCK_S."""


@dataclass(frozen=True, slots=True)
class RoomView:
    """All that a room's own page shows."""

    glance: Glance
    timeline: tuple[Moment, ...]
    """Of windows that have ended, so that it changes once in WINDOW_S: it is most of what a page is sent."""
    events: tuple[Event, ...]
    """Of the lesson, newest first."""

    @property
    def summary(self) -> Summary:
        """The room's summary."""
        return self.glance.summary


class Feed:
    """Views of rooms from the store; for one thread."""

    def __init__(self, store: Store, cards: Mapping[str, ModelCard], attention: AttentionConfig) -> None:
        self._store = store
        self._cards = cards
        self._attention = attention
        self._glances: dict[Room, tuple[float, Glance, list[Row]]] = {}
        self._views: dict[Room, RoomView] = {}
        self._lessons: dict[Room, tuple[float, list[Row], list[Row]]] = {}
        self._events: dict[Room, tuple[float, tuple[Event, ...]]] = {}
        self._closed: dict[Room, dict[int, tuple[tuple[Row, ...], Moment]]] = {}
        self._grown: dict[Room, tuple[tuple[int, int], float]] = {}
        self._spoken: tuple[float, dict[Device, DeviceStatus]] = (float("-inf"), {})
        self._trouble: tuple[float, StoreError] | None = None

    def rooms(self, now: float) -> list[Room]:
        """Every room of which a device ever spoke and was not forgotten.

        Raises:
            StoreError: If the store cannot be read, as from all methods here.
        """
        return sorted({device.where for device in self.devices(now)})

    def devices(self, now: float) -> dict[Device, DeviceStatus]:
        """What every device last said."""
        made, spoken = self._spoken
        if not 0 <= now - made < _FRESH_S:
            spoken = self._read_or_refuse(self._store.states, now)
            self._spoken = now, spoken
        return spoken

    def glance(self, room: Room, now: float) -> Glance:
        """The room as it is at `now`, seconds since 1970, or was a moment before."""
        return self._glanced(room, now)[0]

    def view(self, room: Room, now: float) -> RoomView:
        """The same with all that its own page shows; the same object as long as the glance is."""
        glance, rows = self._glanced(room, now)
        view = self._views.get(room)
        if view is None or view.glance is not glance:
            closed = [row for row in rows if row[0].start + WINDOW_S <= now]
            view = RoomView(glance, tuple(self._moments(room, closed)), self._lasting(room))
            self._views[room] = view
        return view

    def _glanced(self, room: Room, now: float) -> tuple[Glance, list[Row]]:
        made, glance, rows = self._glances.get(room, (float("-inf"), None, []))
        if glance is None or not 0 <= now - made < _FRESH_S:
            glance, rows = self._read_or_refuse(lambda: self._read(room, now), now)
            self._glances[room] = now, glance, rows
        return glance, rows

    def _read_or_refuse(self, read: Callable[[], T], now: float) -> T:
        """What `read` gives; StoreError at once for a while after one."""
        if self._trouble and 0 <= now - self._trouble[0] < _RETRY_S:
            raise self._trouble[1]
        try:
            found = read()
        except StoreError as error:
            if self._trouble is None:
                log.warning("the store cannot be read: %s", error)
            self._trouble = now, error
            raise
        if self._trouble:
            log.info("the store can be read again")
            self._trouble = None
        return found

    def _read(self, room: Room, now: float) -> tuple[Glance, list[Row]]:
        rows = self._store.windows(room.site, room.room, int(now) - TIMELINE_S, int(now) + WINDOW_S)
        spoken = {device.device: said for device, said in self.devices(now).items() if device.where == room}
        newest = self._newest(room, rows, now)
        summary = summarize(
            room,
            recent=recent_of(rows, now),
            lesson=self._lesson(room, now),
            states={device: said.state for device, said in spoken.items() if said.state},
            newest=None if newest is None else utc(newest),
            now=utc(now),
            cards=self._cards,
        )
        return Glance(summary, _wrong_clocks(spoken)), rows

    def _newest(self, room: Room, rows: list[Row], now: float) -> float | None:
        """When the newest frame was taken: a window does not tell, but it grew since the last look, or it did not."""
        start = max((key.start for key, _ in rows if key.start <= now), default=None)
        if start is None:
            return None
        size = start, sum(sums.frames for key, sums in rows if key.start == start)
        known, at = self._grown.get(room, (None, 0.0))
        if known != size:
            at = min(now, start + WINDOW_S)
            self._grown[room] = size, at
        return at

    def _lesson(self, room: Room, now: float) -> list[Row]:
        """The lesson's windows, added up."""
        made, _, lesson = self._lessons.get(room, (float("-inf"), [], []))
        if not 0 <= now - made < _LESSON_S:
            rows = lesson_of(self._store.windows(room.site, room.room, int(now) - LONGEST_S, int(now) + WINDOW_S), now)
            lesson = condensed(rows)
            self._lessons[room] = now, rows, lesson
        return lesson

    def _lasting(self, room: Room) -> tuple[Event, ...]:
        """The lesson's events; only for rooms that somebody looks at, for each window of the lesson takes its time."""
        made, rows, _ = self._lessons[room]
        known = self._events.get(room)
        if known is None or known[0] != made:
            known = made, self._found(self._moments(room, rows)) if self._attention.enabled else ()
            self._events[room] = known
        return known[1]

    def _found(self, moments: list[Moment]) -> tuple[Event, ...]:
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


def _wrong_clocks(spoken: Mapping[str, DeviceStatus]) -> dict[str, float]:
    """Of devices that are there: the last word of one that is gone may have lain at the broker for long."""
    ahead = {
        name: said.health.time.timestamp() - said.health_at
        for name, said in spoken.items()
        if said.health and said.state and said.state.state in PRESENT
    }
    return {name: seconds for name, seconds in ahead.items() if abs(seconds) > CLOCK_S}
