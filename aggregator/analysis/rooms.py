"""What is known of the rooms now: their windows, the states of their devices, and what follows. No clock, no I/O.

The daemon and the page keep the same state. A daemon adds what each batch brought; the page, and a daemon that is one
of several, reads windows again from the store.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby

import numpy as np

from aggregator.analysis.attention import Detector, Event, points_of
from aggregator.analysis.lesson import GAP_S, Cut
from aggregator.analysis.mix import Estimator, Mix, Moment, mix_of, mixes, moments
from aggregator.analysis.summary import DeviceState, Summary
from aggregator.config import AttentionConfig
from aggregator.store.windows import AHEAD_S, NOTHING, WINDOW_S, Key, PackedWindows, Sums, Table
from contract.labels import EMOTIONS
from contract.message import State, instant, utc
from contract.topics import Device, Room

RECENT_S = 60
"""Span of the current mix in seconds."""
TIMELINE_S = 600
"""Span of the timeline."""
LONGEST_S = 6 * 3600
"""How far back the start of a lesson is looked for; older windows are forgotten."""
_LESSON_S = 10.0
"""The sums of a long lesson are added up again this often; those of the last minute at every summary."""
_LONG = 120
"""Windows."""
_UNCHANGED = 5
"""A room in which nothing changed is summarised so many times less often: only the age of its frames changes."""
_LATE_S = 5.0
"""A window is examined for events so long after its end: most late frames have come by then."""
_NEWS_S = 120.0
"""An event that is older, found in frames that came late or after a restart, is not published: the page shows it."""

Windows = Mapping[Key, Sums]


class RoomState:
    """One room; the caller brings the time, in seconds since 1970."""

    def __init__(self, room: Room, estimator: Estimator, attention: AttentionConfig) -> None:
        self.room = room
        self.devices: dict[str, State] = {}
        """What each device last said."""
        self.newest: float | None = None
        """When the newest frame was taken, as far as is known."""
        self._cuts: list[Cut] = []
        self._estimator = estimator
        self._attention = attention
        self._windows = PackedWindows()
        self._timeline: tuple[int, list[Moment]] = (0, [])
        """When it ends."""
        self._lesson: tuple[float, np.ndarray, Mix | None] = (float("-inf"), np.zeros(0, np.uint32), None)
        """When it was looked for, the starts of its windows, and the mix of all of them."""
        self._detector, self._events = Detector(attention), list[Event]()
        self._examined: tuple[int, int] | None = None
        """Where the lesson began whose events these are, and the last window that was examined."""

    def cut(self, cuts: list[Cut]) -> None:
        """Lessons begin and end there, by time, as a timetable or people say; told whenever all windows were read."""
        self._cuts, self._lesson = cuts, (float("-inf"), *self._lesson[1:])

    def add(self, key: Key, sums: Sums, now: float) -> None:
        """Add to a window what a batch brought."""
        if self._keep(key, (self._windows.get(key) or NOTHING) + sums, now):
            self.newest = max(float(key.start), self.newest or 0.0)

    def replace(self, key: Key, sums: Sums, now: float) -> bool:
        """Take a window as the store holds it; whether that differs from what was known."""
        changed = self._keep(key, sums, now)
        # A window does not say when its last frame was taken; but it has grown since it was read last.
        if changed and key.start <= now:
            self.newest = max(min(now, key.start + WINDOW_S), self.newest or 0.0)
        return changed

    def _keep(self, key: Key, sums: Sums, now: float) -> bool:
        """Windows of a clock that cannot be trusted are part of no lesson; whether this one changed what is known."""
        if not (key.synced and now - LONGEST_S < key.start < now + AHEAD_S and self._windows.put(key, sums)):
            return False
        if key.start < self._timeline[0]:
            self._timeline = 0, []
        if self._examined and key.start <= self._examined[1]:
            self._examined = None
        return True

    def summary(self, now: float) -> Summary:
        """The mix of the last minute and of the lesson, the trend, and the devices."""
        t, newest = utc(now), None if self.newest is None else utc(self.newest)
        recent, (starts, lesson) = mix_of(self._recent(now), self._estimator), self._lesson_at(now)
        shares, before = recent and recent.shares, lesson and lesson.shares
        return Summary(
            t=instant(t),
            site=self.room.site,
            room=self.room.room,
            newest=instant(newest) if newest else None,
            age_s=(t - newest).total_seconds() if newest else None,
            recent=recent,
            lesson=lesson,
            lesson_start=instant(utc(int(starts[0]))) if len(starts) else None,
            trend={label: shares[label] - before[label] for label in EMOTIONS} if shares and before else None,
            devices={name: DeviceState(state.state, state.reason) for name, state in sorted(self.devices.items())},
        )

    def _recent(self, now: float) -> Table:
        return self._windows.table(int(now - RECENT_S) + 1, int(now))

    def timeline(self, now: float) -> list[Moment]:
        """The windows of the last TIMELINE_S seconds that have ended."""
        end = int(now) // WINDOW_S * WINDOW_S
        if end != self._timeline[0]:
            windows = self._windows.table(end - TIMELINE_S, end - WINDOW_S)
            self._timeline = end, moments(windows, self._estimator, WINDOW_S)
        return self._timeline[1]

    def faces(self, now: float) -> dict[str, float]:
        """Device -> faces per frame in the last minute, of those that had a frame that was not withheld."""
        table, sums = self._recent(now), dict[str, np.ndarray]()
        for part, row in zip(table.part, table.sums, strict=True):
            device, _ = table.parts[part]
            sums[device] = sums.get(device, 0) + row
        return {
            device: float(faces / (frames - withheld))
            for device, (frames, withheld, faces, *_) in sums.items()
            if frames > withheld
        }

    def lesson_end(self, now: float) -> float:
        """`now` while a lesson runs, else when the last one ended: what is shown until the next one begins."""
        starts = self._windows.starts()
        past = starts[starts <= now]
        newest = float(past[-1]) + WINDOW_S if len(past) else now
        end = now if now - newest <= GAP_S else newest
        cut = next((cut for cut in reversed(self._cuts) if cut.at <= end), None)
        return cut.at if cut and cut.ends and end - cut.at < GAP_S else end

    def lesson_begin(self, end: float) -> float:
        """When the lesson that ran at `end` began; `end` without one."""
        starts = self._lesson_starts(end)
        return float(starts[0]) if len(starts) else end

    def course(self, end: float, step_s: int) -> tuple[list[int], list[Moment]]:
        """Of the lesson that ran at `end`: the starts of its windows, and the mix of each `step_s` seconds of it."""
        starts = self._lesson_starts(end)
        starts = starts[starts <= end - WINDOW_S]
        return starts.tolist(), moments(self._between(starts), self._estimator, step_s)

    def events(self, now: float) -> list[Event]:
        """The lasting changes of the lesson so far, oldest first."""
        starts, _ = self._lesson_at(now)
        ended = starts[starts <= now - WINDOW_S - _LATE_S]
        if not (self._attention.enabled and len(ended)):
            return []
        begin, last = self._examined or (0, 0)
        # the begin of a lesson that is longer than LONGEST_S is forgotten bit by bit
        forgotten = begin <= now - LONGEST_S and ended[0] == self._windows.starts()[0]
        if ended[0] > last or (ended[0] != begin and not forgotten):  # another lesson
            self._detector, self._events, last = Detector(self._attention), [], 0
        new = ended[ended > last]
        if len(new):
            found = self._detector.push(points_of(mixes(self._between(new), self._estimator, WINDOW_S)))
            self._events = [event for event in self._events if event.t.timestamp() > ended[0]] + found
        self._examined = int(ended[0]), max(last, int(ended[-1]))
        return self._events

    def _lesson_at(self, now: float) -> tuple[np.ndarray, Mix | None]:
        """The starts of its windows, and the mix of all of them; looked for at most _LESSON_S ago."""
        if not 0 <= now - self._lesson[0] < _LESSON_S or len(self._windows) < _LONG:
            self._windows.forget(int(now - LONGEST_S))
            starts = self._lesson_starts(now)
            self._lesson = now, starts, mix_of(self._between(starts), self._estimator)
        return self._lesson[1:]

    def _lesson_starts(self, now: float) -> np.ndarray:
        """The windows of the lesson that runs: back to the first gap of GAP_S or cut; none if that is now."""
        cut = next((cut.at for cut in reversed(self._cuts) if cut.at < now), float("-inf"))
        starts = self._windows.starts()
        starts = starts[(starts >= cut) & (starts <= now)]
        gaps = np.flatnonzero(np.diff(starts, append=now) > GAP_S + WINDOW_S)
        return starts[gaps[-1] + 1 :] if len(gaps) else starts

    def _between(self, starts: np.ndarray) -> Table:
        """The windows of a lesson, of which these are all starts."""
        return self._windows.table(int(starts[0]), int(starts[-1])) if len(starts) else self._windows.table(1, 0)


class Rooms:
    """All rooms, and which of their summaries and events are to be published."""

    def __init__(self, estimator: Estimator, attention: AttentionConfig) -> None:
        self.estimator = estimator
        self._attention = attention
        self.unread: set[Room] = set()
        """Not summarised, for their windows are still to be read from the store, in place of what came meanwhile."""
        self._states: dict[Room, RoomState] = {}
        self._changed: set[Room] = set()
        self._published: dict[Room, float] = {}
        self._unwatched: dict[Room, None] = {}
        self._last_event: dict[Room, float] = {}

    def __getitem__(self, room: Room) -> RoomState:
        """The room's state, a new one if nothing is known of it."""
        state = self._states.get(room)
        if state is None:
            state = self._states[room] = RoomState(room, self.estimator, self._attention)
        return state

    def expect(self, devices: Iterable[Device], states: Mapping[Device, State]) -> None:
        """Rooms of which the store knows more: the windows of their devices; `states` are what these said last."""
        self.unread.update(device.where for device in devices)
        self._set_states(states)

    def add(
        self, windows: Windows, newest: Iterable[tuple[Device, float]], states: Mapping[Device, State], now: float
    ) -> None:
        """What a batch brought: sums to be added, when devices took frames, what they said."""
        for key, sums in windows.items():
            self[Room(key.site, key.room)].add(key, sums, now)
            self._changed.add(Room(key.site, key.room))
        for device, at in newest:
            if at < now + AHEAD_S:
                self[device.where].newest = max(at, self[device.where].newest or at)
        self._set_states(states)

    def replace(self, rows: Iterable[tuple[Key, Sums]], states: Mapping[Device, State], now: float) -> None:
        """What the store holds of these windows and devices now, others' work included; best room by room."""
        for where, windows in groupby(rows, key=lambda row: row[0][:2]):
            room = Room(*where)
            changed = [self[room].replace(key, sums, now) for key, sums in windows]
            if any(changed):
                self._changed.add(room)
        self._set_states(states)

    def _set_states(self, states: Mapping[Device, State]) -> None:
        for device, state in states.items():
            known = self[device.where].devices
            if known.get(device.device) != state:
                known[device.device] = state
                self._changed.add(device.where)

    def keep(self, ours: Callable[[Room], bool]) -> None:
        """Forget the rooms that are not ours any more."""
        for room in [room for room in self._states if not ours(room)]:
            for by_room in (self._states, self._published, self._unwatched):
                by_room.pop(room, None)
            self._changed.discard(room)

    def due(self, now: float, every_s: float) -> Iterator[Summary]:
        """The summaries to be published, the longest overdue first; those not taken stay due.

        Args:
            now: The aggregator's time.
            every_s: A room that changed is summarised this often at most.
        """
        read = [room for room in self._states if room not in self.unread]
        for room in sorted(read, key=lambda room: self._published.get(room, 0.0)):
            span = every_s * (1 if room in self._changed else _UNCHANGED)
            if not 0 <= now - self._published.get(room, float("-inf")) < span:  # a clock may be set back
                self._published[room] = now
                self._changed.discard(room)
                self._unwatched[room] = None
                yield self._states[room].summary(now)

    def events(self, now: float) -> Iterator[list[tuple[Room, Event]]]:
        """For each room that was summarised, its events that were not published yet; those not taken stay."""
        while self._unwatched:
            room = next(iter(self._unwatched))
            del self._unwatched[room]
            yield [(room, event) for event in self._new(room, now)]

    def _new(self, room: Room, now: float) -> list[Event]:
        """An event that late frames moved a little is still the same one: a new one begins after the last."""
        last = self._last_event.get(room, 0.0)
        found = [
            event
            for event in self._states[room].events(now)
            if event.labels and event.since.timestamp() > last and event.t.timestamp() > now - _NEWS_S
        ]
        if found:
            self._last_event[room] = found[-1].t.timestamp()
        return found
