"""What is known of the rooms now: windows of a lesson's length, states, and summaries of them. No clock."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from aggregator.analysis.alerts import Alerts
from aggregator.analysis.attention import Event
from aggregator.analysis.summary import LONGEST_S, Summary, lesson_of, recent_of, summarize
from aggregator.store.types import Batch
from aggregator.store.windows import AHEAD_S, Key, Sums, add
from contract.card import ModelCard
from contract.message import State, utc
from contract.topics import Device, Room

_LESSON_S = 10.0
"""A long lesson's sums are added up anew this often; the last minute's at every summary."""
_LONG = 120
"""Windows."""
_QUIET = 5
"""A room in which nothing changed is summarised so many times more rarely: its frames grow older."""

Windows = Mapping[Key, Sums]


class Live:
    """All rooms; the caller brings the time, in seconds since 1970."""

    def __init__(self, every_s: float, cards: Mapping[str, ModelCard], alerts: Alerts) -> None:
        self._every_s = every_s
        self._cards = cards
        self._alerts = alerts
        self._grown: dict[Room, list[tuple[Key, Sums]]] = {}
        self._rows: dict[Room, dict[Key, Sums]] = defaultdict(dict)
        self._states: dict[Room, dict[str, State]] = defaultdict(dict)
        self._newest: dict[Room, float] = {}
        self._changed: set[Room] = set()
        self._told: dict[Room, float] = {}
        self._lessons: dict[Room, tuple[float, list[tuple[Key, Sums]]]] = {}

    def restore(self, windows: Windows, states: Mapping[Device, State], now: float) -> None:
        """Begin with what the store holds of the last LONGEST_S seconds."""
        self._add(windows, now)
        for device, state in states.items():
            self._states[device.where][device.device] = state
            self._changed.add(device.where)

    def note(self, batch: Batch, windows: Windows, now: float) -> None:
        """What a batch changed; `windows` is what it added."""
        self._add(windows, now)
        for device, (state, _) in batch.states.items():
            self._states[device.where][device.device] = state
            self._changed.add(device.where)
        newest: dict[Device, float] = {}
        for arrival in batch.counts:
            if arrival.message.synced and newest.get(arrival.device, 0.0) < arrival.newest < now + AHEAD_S:
                newest[arrival.device] = arrival.newest
        for device, at in newest.items():
            self._newest[device.where] = max(at, self._newest.get(device.where, at))

    def learn(self, windows: Windows, states: Mapping[Device, State], now: float) -> None:
        """What the store holds of these windows and states now, others' work included."""
        for key, sums in windows.items():
            rows = self._rows[Room(key.site, key.room)]
            if rows.get(key) != sums:
                rows.pop(key, None)
                self._add({key: sums}, now)
        for device, state in states.items():
            if self._states[device.where].get(device.device) != state:
                self._states[device.where][device.device] = state
                self._changed.add(device.where)

    def keep(self, ours: Callable[[Room], bool]) -> None:
        """Forget the rooms that are not ours any more."""
        for room in [room for room in {*self._rows, *self._states} if not ours(room)]:
            for of_rooms in (self._rows, self._states, self._newest, self._told, self._lessons, self._grown):
                of_rooms.pop(room, None)
            self._changed.discard(room)

    def due(self, now: float) -> Iterator[Summary]:
        """The summaries that it is time to publish, the longest overdue first; those not taken stay due."""
        for room in sorted({*self._rows, *self._states}, key=lambda room: self._told.get(room, 0.0)):
            span = self._every_s * (1 if room in self._changed else _QUIET)
            if not 0 <= now - self._told.get(room, float("-inf")) < span:  # a clock may be set back
                self._told[room] = now
                self._changed.discard(room)
                yield self.summary(room, now)

    def events(self, now: float) -> Iterator[list[tuple[Room, Event]]]:
        """For each room whose lesson grew, what there is to tell; those not taken stay, the longest waiting first."""
        while self._grown:
            room = next(iter(self._grown))
            yield [(room, event) for event in self._alerts.new(room, self._grown.pop(room), now)]

    def summary(self, room: Room, now: float) -> Summary:
        """One room's summary."""
        rows = self._rows[room]
        newest = self._newest.get(room)
        return summarize(
            room,
            recent=recent_of(rows.items(), now),
            lesson=self._lesson(room, now),
            states=self._states[room],
            newest=None if newest is None else utc(newest),
            now=utc(now),
            cards=self._cards,
        )

    def _lesson(self, room: Room, now: float) -> list[tuple[Key, Sums]]:
        """The lesson's windows, added up by device and model; at most _LESSON_S old."""
        made, lesson = self._lessons.get(room, (float("-inf"), []))
        rows = self._rows[room]
        if not 0 <= now - made < _LESSON_S or len(rows) < _LONG:
            for key in [key for key in rows if key.start < now - LONGEST_S]:
                del rows[key]
            self._grown[room] = whole = lesson_of(rows.items(), now)
            lesson = condensed(whole)
            self._lessons[room] = now, lesson
        return lesson

    def _add(self, windows: Windows, now: float) -> None:
        for key, sums in windows.items():
            room = Room(key.site, key.room)
            self._changed.add(room)
            if key.synced and now - LONGEST_S < key.start < now + AHEAD_S:
                add(self._rows[room], key, sums)
                self._newest[room] = max(float(key.start), self._newest.get(room, 0.0))


def condensed(rows: Iterable[tuple[Key, Sums]]) -> list[tuple[Key, Sums]]:
    """The same sums by device and model, each at its first window's start."""
    rows = list(rows)
    first = min((key.start for key, _ in rows), default=0)
    sums: dict[Key, Sums] = {}
    for key, each in rows:
        add(sums, Key(key.site, key.room, key.device, key.model, first), each)
    return list(sums.items())
