"""What pages show, read from the store once for all of them. The caller brings the time, seconds since 1970."""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from aggregator.analysis.attention import Event
from aggregator.analysis.mix import Estimator
from aggregator.analysis.rooms import LONGEST_S, TIMELINE_S, Rooms, RoomState
from aggregator.config import AttentionConfig
from aggregator.store.types import DeviceStatus, Store, StoreError
from aggregator.store.windows import WINDOW_S
from aggregator.web.charts import group_colours, groups_table, labels_table, legend, timeline
from aggregator.web.headline import Headline, headline
from aggregator.web.text import room_status
from aggregator.web.users import User
from contract.topics import Device, Room

log = logging.getLogger(__name__)
T = TypeVar("T")

CLOCK_S = 120.0
"""A device whose health says a time that differs by more from when it came has a wrong clock."""
PRESENT = ("ready", "degraded")
"""States of a device that takes frames."""
_RETRY_S = 10.0
"""A store that could not be read is left alone for so long: trying may take seconds, in which no page is served."""
_FRESH_S = 0.9
"""A view is read again from the store when it is older."""
_LESSON_S = 10.0
"""All windows of a lesson are read again this often, for late frames change old windows."""


class RoomView:
    """A room as it was at `now`. What is drawn is drawn once for all pages."""

    def __init__(self, state: RoomState, groups: Iterable[str], clock_errors: Mapping[str, float], now: float) -> None:
        self._state = state
        self._now = now
        self._colours = group_colours(groups)
        self.clock_errors = clock_errors
        """Device -> by how many seconds its clock is ahead, behind if negative; only where that is above CLOCK_S."""
        self.summary = state.summary(now)
        self.status = room_status(self.summary, clock_errors)

    @cached_property
    def events(self) -> list[Event]:
        """Of the lesson, oldest first."""
        return list(self._state.events(self._now))

    @cached_property
    def groups(self) -> str:
        """The current mix of the groups as HTML."""
        return groups_table(self.summary.recent, self.summary.lesson, self._colours)

    @cached_property
    def labels(self) -> str:
        """The current mix of the seven labels as HTML."""
        return labels_table(self.summary.recent, self.summary.trend)

    @cached_property
    def timeline(self) -> str:
        """The last ten minutes as HTML; of windows that have ended, so that pages are sent it once in WINDOW_S."""
        end = int(self._now) // WINDOW_S * WINDOW_S
        moments = self._state.timeline(self._now)
        return timeline(moments, end - TIMELINE_S, end, WINDOW_S, self._colours, None) + legend(self._colours)

    def headline(self, seen: datetime | None) -> Headline:
        """What there is to say, to a user who has seen the events until then."""
        start = self.summary.lesson_start
        begin = datetime.fromisoformat(start).timestamp() if start else None
        return headline(self.summary.recent, self.events, begin=begin, now=self._now, seen=seen, zone=None)


class RoomReader:
    """Views of rooms; for one thread."""

    def __init__(self, store: Store, estimator: Estimator, attention: AttentionConfig) -> None:
        self._store = store
        self._groups = tuple(estimator.groups)
        self._rooms = Rooms(estimator, attention)
        self._seen: dict[tuple[str, Room], datetime] = {}
        self._views: dict[Room, tuple[float, RoomView]] = {}
        self._lessons: dict[Room, float] = {}
        self._statuses: tuple[float, dict[Device, DeviceStatus]] = (float("-inf"), {})
        self._failure: tuple[float, StoreError] | None = None

    def rooms(self, now: float) -> list[Room]:
        """Every room of which data was received and not yet deleted.

        Raises:
            StoreError: If the store cannot be read, as from all methods here.
        """
        return sorted({device.where for device in self._devices(now)})

    def view(self, room: Room, now: float) -> RoomView:
        """The room as it is at `now`, or was a moment before: the same object for all pages."""
        made, view = self._views.get(room, (float("-inf"), None))
        if view is None or not 0 <= now - made < _FRESH_S:
            view = self._try(lambda: self._read(room, now), now)
            self._views[room] = now, view
        return view

    def headline(self, view: RoomView, user: User) -> Headline:
        """What there is to say to this user."""
        return view.headline(self._seen.get((user.name, view.summary.where)))

    def mark_seen(self, view: RoomView, user: User) -> None:
        """The user knows of the events so far; until the page's process is restarted."""
        if view.events:
            self._seen[user.name, view.summary.where] = view.events[-1].t

    def _devices(self, now: float) -> dict[Device, DeviceStatus]:
        made, statuses = self._statuses
        if not 0 <= now - made < _FRESH_S:
            statuses = self._try(self._store.states, now)
            self._statuses = now, statuses
        return statuses

    def _read(self, room: Room, now: float) -> RoomView:
        whole = not 0 <= now - self._lessons.get(room, float("-inf")) < _LESSON_S
        since = int(now) - (LONGEST_S if whole else TIMELINE_S)
        rows = self._store.windows(room.site, room.room, since, int(now) + WINDOW_S)
        self._rooms.replace(dict(rows), {}, now)
        if whole:
            self._lessons[room] = now
        statuses = {device.device: status for device, status in self._devices(now).items() if device.where == room}
        state = self._rooms[room]
        state.devices = {name: status.state for name, status in statuses.items() if status.state}
        return RoomView(state, self._groups, _clock_errors(statuses), now)

    def _try(self, read: Callable[[], T], now: float) -> T:
        """What `read` gives; StoreError at once for a while after one."""
        if self._failure and 0 <= now - self._failure[0] < _RETRY_S:
            raise self._failure[1]
        try:
            found = read()
        except StoreError as error:
            if self._failure is None:
                log.warning("the store cannot be read: %s", error)
            self._failure = now, error
            raise
        if self._failure:
            log.info("the store can be read again")
            self._failure = None
        return found


def _clock_errors(statuses: Mapping[str, DeviceStatus]) -> dict[str, float]:
    """Of devices that are there: the last health of one that is gone may have lain at the broker for long."""
    ahead = {
        name: status.health.time.timestamp() - status.health_at
        for name, status in statuses.items()
        if status.health and status.state and status.state.state in PRESENT
    }
    return {name: seconds for name, seconds in ahead.items() if abs(seconds) > CLOCK_S}
