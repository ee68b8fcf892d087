"""What pages show, read from the store once for all of them. The caller brings the time, seconds since 1970."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from functools import cached_property, partial
from typing import NamedTuple, TypeVar

from msgspec import structs

from aggregator.analysis.attention import Event
from aggregator.analysis.lesson import GAP_S, Planned, Span, cuts, name_of
from aggregator.analysis.mix import Estimator, Moment
from aggregator.analysis.rooms import LONGEST_S, TIMELINE_S, Rooms, RoomState
from aggregator.config import AttentionConfig, LessonsConfig
from aggregator.store.types import DeviceStatus, Note, Store, StoreError
from aggregator.store.windows import WINDOW_S
from aggregator.web.audit import Entry
from aggregator.web.charts import Mark, group_colours, groups_table, labels_table, timeline
from aggregator.web.headline import Headline, event_sentence, headline, is_news, mix_text
from aggregator.web.language import PerLanguage, _
from aggregator.web.templates import render
from aggregator.web.text import StatusLine, clock, facts, faults, readable, room_status
from aggregator.web.timetable import Timetable
from aggregator.web.users import User
from contract.message import utc
from contract.topics import Device, Room

log = logging.getLogger(__name__)
T = TypeVar("T")
Cameras = Mapping[str, DeviceStatus]
"""A room's devices, by name."""

CLOCK_S = 120.0
"""A device whose health says a time that differs by more from when it came has a wrong clock."""
BY_MQTT = "ordered by MQTT"
"""The reason of a device that was paused by a message."""
PRESENT = ("ready", "degraded")
"""States of a device that takes frames."""
_RETRY_S = 10.0
"""A store that could not be read is left alone for so long: trying may take seconds, in which no page is served."""
_FRESH_S = 0.9
"""A view is read again from the store when it is older."""
_NEW_S = 40
"""The windows that are read each time, of all rooms at once."""
_LESSON_S = 10.0
"""All windows of a lesson are read again this often while somebody looks, for late frames change old windows."""
_UNSEEN_S = 300.0
"""And this often of a room whose page nobody has open."""
_STEPS_S, _MOST_STEPS = (10, 30, 60, 120), 120
"""A lesson is drawn in steps of so many seconds, as long as it has so many."""
_MOST_EVENTS = 6
_EXAMINE_S = 0.15
"""So much of each second is for events of rooms that nobody looks at, those first that were examined longest ago."""


class Lessons(NamedTuple):
    """What is known of a room's lessons beside its windows."""

    read: float
    """When, seconds since 1970."""
    planned: list[Planned]
    notes: list[Note]


UNREAD = Lessons(float("-inf"), [], [])
"""Of a room whose windows were not all read yet."""


@dataclass(eq=False)
class RoomView:
    """A room as it was at `now`. What is drawn is drawn once for all pages of a language."""

    _state: RoomState
    _lesson: Lessons
    _groups: Iterable[str]
    _cameras: Cameras
    _now: float
    _zone: tzinfo | None

    def __post_init__(self) -> None:
        """Note at once what changes with the room's state."""
        self._end = self._state.lesson_end(self._now)
        self._colours = group_colours(self._groups)
        self.clock_errors = _clock_errors(self._cameras)
        """Device -> by how many seconds its clock is ahead, behind if negative; only where that is above CLOCK_S."""
        self.summary = self._state.summary(self._now)

    @PerLanguage
    def status(self) -> StatusLine:
        """How the room is doing."""
        return room_status(self.summary, self.clock_errors)

    @PerLanguage
    def large(self) -> str:
        """How many of the faces found are large enough to read."""
        return readable(each.health for each in self._cameras.values() if each.health and _is_present(each))

    @cached_property
    def span(self) -> Span | None:
        """The lesson that runs, or the last one as long as none does."""
        starts, lesson = self._course[1], self._lesson
        if not starts or lesson is UNREAD:
            return None
        end = max(starts[-1] + WINDOW_S, self._end)
        return Span(starts[0], starts[-1] + WINDOW_S, name_of(starts[0], end, lesson.planned, lesson.notes))

    @cached_property
    def _course(self) -> tuple[int, list[int], list[Moment]]:
        """Its step, and what RoomState.course gives; of steps that have ended, or the last would be drawn as a dip."""
        first = self._state.lesson_begin(self._end)
        step = next(step for step in _STEPS_S if (self._end - first) / step <= _MOST_STEPS or step == _STEPS_S[-1])
        end = self._now // step * step if self._end == self._now else self._end
        return step, *self._state.course(end, step)

    @cached_property
    def events(self) -> list[Event]:
        """Of the lesson, oldest first."""
        return list(self._state.events(self._end))

    @cached_property
    def faces(self) -> dict[str, float]:
        """Device -> faces per frame in the last minute; of those that showed some frame."""
        return self._state.faces(self._now)

    @PerLanguage
    def figures(self) -> str:
        """What stands beside the chart, as HTML."""
        start = self.span.start if self.span else None
        return render("figures.html", facts=facts(self.summary, start, self._zone, self.large))

    @PerLanguage
    def told(self) -> str:
        """The newest events as HTML."""
        return render("events.html", events=self.events[: -_MOST_EVENTS - 1 : -1], zone=self._zone)

    @PerLanguage
    def groups(self) -> str:
        """The current mix of the groups as HTML."""
        return groups_table(self.summary.recent, self.summary.lesson, self._colours)

    @PerLanguage
    def labels(self) -> str:
        """The current mix of the seven labels as HTML."""
        return labels_table(self.summary.recent, self.summary.trend)

    @PerLanguage
    def timeline(self) -> str:
        """The last ten minutes as HTML; of windows that have ended, so that pages are sent it once in WINDOW_S."""
        end = int(self._now) // WINDOW_S * WINDOW_S
        return self._drawn(self._state.timeline(self._now), end - TIMELINE_S, end, WINDOW_S)

    @PerLanguage
    def course(self) -> str:
        """The whole lesson as HTML."""
        step, _, drawn = self._course
        if not self.span or not drawn:
            return self.timeline
        notes = (int(note.at) + 1 for note in self._lesson.notes if note.at < self.span.end + GAP_S)
        return self._drawn(drawn, self.span.start, max([self.span.end, *notes]), step)

    def _drawn(self, drawn: Sequence[Moment], begin: int, end: int, step: int) -> str:
        marks = marks_of(self.events, self._lesson.notes, self._zone)
        return timeline(drawn, begin, end, step, self._colours, self._zone, marks)

    def headline(self, seen: datetime | None) -> Headline:
        """What there is to say, to a user who has seen the events until then."""
        if self._lesson is UNREAD:  # soon after the start of the page
            recent = self.summary.recent
            return Headline(mix_text(recent) if recent else _("No data in the last minute."), None)
        start = self.summary.lesson_start
        begin = datetime.fromisoformat(start).timestamp() if start else None
        if self._end < self._now and self.span:
            ended = _("The lesson ended at {time}.")
            return Headline(ended.format(time=clock(utc(self._end), self._zone)), None)
        return headline(self.summary.recent, self.events, begin=begin, now=self._now, seen=seen, zone=self._zone)


class RoomReader:
    """Views of rooms; for one thread."""

    def __init__(
        self,
        store: Store,
        estimator: Estimator,
        attention: AttentionConfig,
        paused_by: Callable[[Device], Entry | None] = lambda _: None,
        timetable: Timetable | None = None,
    ) -> None:
        """`paused_by`: the order at the page that paused a device; times are of the timetable's zone."""
        self.timetable = timetable or Timetable(LessonsConfig(), None)
        self._store = store
        self._paused_by = paused_by
        self._groups = tuple(estimator.groups)
        self._rooms = Rooms(estimator, attention)
        self._seen: dict[tuple[str, Room], datetime] = {}
        self._views: dict[Room, RoomView] = {}
        self._listings: dict[User, list[Room]] = {}
        self._lessons: dict[Room, Lessons] = {}
        self._examined: dict[Room, Event | None] = {}
        self._refreshed = float("-inf")
        self._cameras: dict[Room, dict[str, DeviceStatus]] = {}
        self._lost: tuple[float, dict[Device, int]] = (float("-inf"), {})
        self._failure: tuple[float, StoreError] | None = None

    def rooms(self, now: float) -> list[Room]:
        """Every room of which data was received and not yet deleted.

        Raises:
            StoreError: If the store cannot be read, as from all methods here.
        """
        self._refresh(now)
        return list(self._cameras)

    def listing(self, user: User, now: float) -> list[Room]:
        """The rooms that the user may see: first those with news, then those with a fault."""
        self._refresh(now)
        if user not in self._listings:
            order = [room for room in self._cameras if user.may_see(room)]
            order.sort(key=lambda room: (not self.has_news(room, user, now), not self._faults(room), room))
            self._listings[user] = order
        return self._listings[user]

    def has_news(self, room: Room, user: User, now: float) -> bool:
        """Whether there is an event that the user has not seen."""
        event = self._examined.get(room)
        return event is not None and is_news(event, now, self._seen.get((user.name, room)))

    def view(self, room: Room, now: float, *, whole: bool = True) -> RoomView:
        """The room as it is at `now`, or was a moment before: the same object for all pages.

        Args:
            room: Which.
            now: Seconds since 1970.
            whole: With all of its lesson; without, with what is known of it.
        """
        self._refresh(now)
        if whole and self._outdated(room, now, _LESSON_S):
            self._try(partial(self._read, room, now), now)
        if room not in self._views:
            cameras, lesson = self._cameras.get(room, {}), self._lessons.get(room, UNREAD)
            self._views[room] = RoomView(self._rooms[room], lesson, self._groups, cameras, now, self.timetable.zone)
        return self._views[room]

    def headline(self, view: RoomView, user: User) -> Headline:
        """What there is to say to this user."""
        return view.headline(self._seen.get((user.name, view.summary.where)))

    def mark_seen(self, view: RoomView, user: User) -> None:
        """The user knows of the events so far; until the page's process is restarted."""
        if view.events:
            self._seen[user.name, view.summary.where] = view.events[-1].t
            self._listings.pop(user, None)

    def devices(self, now: float) -> dict[Device, DeviceStatus]:
        """The last status of every device."""
        self._refresh(now)
        return {
            Device(room.site, room.room, name): status
            for room, cameras in self._cameras.items()
            for name, status in cameras.items()
        }

    def lost(self, now: float) -> dict[Device, int]:
        """Device -> messages that will never come."""
        made, lost = self._lost
        if not 0 <= now - made < _LESSON_S:
            lost = self._try(self._store.lost, now)
            self._lost = now, lost
        return lost

    def _named(self, device: Device, status: DeviceStatus) -> DeviceStatus:
        """With the person who paused it, of whom the device knows only that the order came by MQTT."""
        state = status.state
        if state is None or state.state != "paused" or state.reason != BY_MQTT:
            return status
        order = self._paused_by(device)
        return replace(status, state=structs.replace(state, reason=f"ordered by {order.user}")) if order else status

    def _refresh(self, now: float) -> None:
        """Read what is new in all rooms, once for all pages, and look for events."""
        if 0 <= now - self._refreshed < _FRESH_S:
            return
        since = int(now) - _NEW_S
        statuses, rows = self._try(lambda: (self._store.states(), self._store.recent(since)), now)
        self._cameras = {room: {} for room in sorted({device.where for device in statuses})}
        for device, status in statuses.items():
            self._cameras[device.where][device.device] = self._named(device, status)
        for room, cameras in self._cameras.items():
            self._rooms[room].devices = {name: each.state for name, each in cameras.items() if each.state}
        self._rooms.keep(lambda room: room in self._cameras)
        self._rooms.replace(rows, {}, now)
        self._refreshed = now
        self._views.clear()
        self._listings.clear()
        self._examine(now)

    def _examine(self, now: float) -> None:
        end = time.monotonic() + _EXAMINE_S
        for room in [room for room in self._cameras if room not in self._examined] + list(self._examined):
            if time.monotonic() > end:
                break
            if self._outdated(room, now, _UNSEEN_S):
                self._try(partial(self._read, room, now), now)
            state = self._rooms[room]
            events = state.events(now) if state.lesson_end(now) == now else []
            self._examined.pop(room, None)
            if room in self._cameras:
                self._examined[room] = events[-1] if events else None

    def _read(self, room: Room, now: float) -> None:
        since = int(now) - LONGEST_S
        rows = self._store.windows(room.site, room.room, since, int(now) + WINDOW_S)
        self._rooms.replace(rows, {}, now)
        planned, notes = self.timetable.planned(room, since, now), self._store.notes(room, since, now + WINDOW_S)
        self._rooms[room].cut([cut for cut in cuts(planned, notes) if cut.at <= now])
        self._lessons[room] = Lessons(now, planned, notes)
        self._views.pop(room, None)

    def _outdated(self, room: Room, now: float, after_s: float) -> bool:
        return not 0 <= now - self._lessons.get(room, UNREAD).read < after_s

    def forget(self, room: Room) -> None:
        """Read the room's lesson again for the next view: somebody has noted something."""
        self._lessons.pop(room, None)

    def _faults(self, room: Room) -> bool:
        return bool(faults(self._rooms[room].devices, _clock_errors(self._cameras[room])))

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


def _clock_errors(statuses: Cameras) -> dict[str, float]:
    """Only those above CLOCK_S; the last health of a device that is gone may have lain at the broker for long."""
    ahead = {name: clock_ahead(status) for name, status in statuses.items()}
    return {name: seconds for name, seconds in ahead.items() if seconds is not None and abs(seconds) > CLOCK_S}


def clock_ahead(status: DeviceStatus) -> float | None:
    """By how many seconds a device's clock is ahead; None if it is not there, or did not say."""
    if status.health is None or not _is_present(status):
        return None
    return status.health.time.timestamp() - status.health_at


def _is_present(status: DeviceStatus) -> bool:
    return status.state is not None and status.state.state in PRESENT


def marks_of(events: Iterable[Event], notes: Iterable[Note], zone: tzinfo | None) -> Iterator[Mark]:
    """What is drawn on a timeline: events at their begin, and what people said."""
    yield from (Mark(event.since.timestamp(), "event", event_sentence(event, zone)) for event in events)
    words = {"begin": _("a lesson begins"), "end": _("the lesson ends")}
    for note in notes:
        yield Mark(note.at, "mark", words.get(note.kind, note.text), note.author)
