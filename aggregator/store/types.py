"""What a store is, what it takes and what it gives. No client library here."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, Self, TypeVar, get_args

from msgspec import UNSET

from aggregator.store.windows import DAY_S, KEY_COLUMNS, SUM_COLUMNS, Key, Sums, add, fold, windows_of
from contract.message import CountsMessage, FaceKind, Health, MessageError, State
from contract.topics import Device, Room

Payload = TypeVar("Payload", State, Health)

SELECT_WINDOWS = f"SELECT {', '.join((*KEY_COLUMNS, *SUM_COLUMNS))} FROM windows WHERE"  # noqa: S608 - only constants
SELECT_DEVICES = "SELECT site, room, device, state, state_at, health, health_at FROM devices"
FACE_KINDS: tuple[FaceKind, ...] = get_args(FaceKind)
UPSERT_READINGS = f"""
INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (site, room, minute, device) DO UPDATE SET {", ".join(f"{kind} = excluded.{kind}" for kind in FACE_KINDS)}
"""  # noqa: S608 - only constants
_SAME_S = 120.0
"""A health that came later or again, or is of a clock that is not set, is of no known minute."""
_PARSED = 16384
"""Payloads of `state` and `health` that are kept parsed: a page reads all of them each second, and few have changed."""


class StoreError(Exception):
    """A store that cannot be used; the text names it and what is wrong."""


class StoreUnavailableError(StoreError):
    """It cannot be used now and nothing was written: a full disk, a lock. The same call may succeed later."""


class ReadOnlyError(StoreUnavailableError):
    """This process may only read it: somebody has to change that, but the daemon waits for them."""


class Arrival(NamedTuple):
    """One readable message of a device's `counts` topic."""

    device: Device
    message: CountsMessage
    received: float
    """Seconds since 1970, by the aggregator's clock."""
    newest: float
    """When its newest frame was taken, seconds since 1970, by the device's clock."""

    @classmethod
    def of(cls, device: Device, message: CountsMessage, received: float) -> Self:
        """The arrival of a message."""
        newest = max(frame.t for frame in message.frames)  # one format and zone: their order is that of the instants
        return cls(device, message, received, datetime.fromisoformat(newest).timestamp())


class MessageId(NamedTuple):
    """What identifies a counts message for ever: all but `received`."""

    device: Device
    boot: str
    seq: int
    received: float
    """As in Arrival."""


class Note(NamedTuple):
    """What people say of a lesson."""

    at: float
    """Seconds since 1970, by the page's clock."""
    kind: str
    """begin or end: a lesson's; name: of the lesson that runs then; mark: something that happens in it."""
    text: str
    author: str


class Rejected(NamedTuple):
    """One message of which nothing is stored."""

    position: int
    """Its place among the messages that were read together."""
    reason: str
    """One of MessageError's reasons, or topic, too_old or rate."""
    topic: str
    text: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction commits, and what was rejected on the way."""

    counts: list[Arrival] = field(default_factory=list)
    settled: list[MessageId] = field(default_factory=list)
    """Rejected for good: confirmed without being counted, or the device would send them again for ever."""
    states: dict[Device, tuple[State, float]] = field(default_factory=dict)
    """The newest of each device, and when it was received."""
    said: list[tuple[Device, State]] = field(default_factory=list)
    """All of them, as they came."""
    healths: dict[Device, tuple[Health, float]] = field(default_factory=dict)
    """The same."""
    rejected: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Committed:
    """What a batch came to."""

    fresh: int
    """Messages counted."""
    duplicates: int
    """Messages that the store already had."""
    devices: frozenset[Device]
    """Those whose `stored` may have changed."""
    windows: Mapping[Key, Sums]
    """What was added to the windows."""
    lost: Mapping[Device, int] = field(default_factory=dict)
    """Messages of which is known from now on that they will never come."""


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """The last `state` and `health` of a device; None where it has sent none."""

    state: State | None
    state_at: float
    """When it was received, seconds since 1970, by the aggregator's clock; 0 with None."""
    health: Health | None
    health_at: float
    """The same."""

    @classmethod
    def of(cls, state: str | None, state_at: float, health: str | None, health_at: float) -> Self:
        """From the payloads, as a store keeps them."""
        return cls(_parsed(State, state), state_at, _parsed(Health, health), health_at)


def fold_all(arrivals: Iterable[Arrival]) -> tuple[dict[Key, Sums], dict[Key, int]]:
    """The windows of all messages, and for each window the day since 1970 on which its last message was received."""
    windows: dict[Key, Sums] = {}
    days: dict[Key, int] = {}
    for arrival in arrivals:
        for key, sums in fold(arrival.device, arrival.message).items():
            add(windows, key, sums)
            days[key] = int(arrival.received // DAY_S)
    return windows, days


class Store(ABC):
    """A store; open it with `with`. Every method may raise StoreUnavailableError.

    Statements that both engines understand stand here, with a ? for each value.
    """

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *exc: object) -> None: ...

    @abstractmethod
    def commit(self, batch: Batch) -> Committed:
        """Put a batch into the store, whole or not at all; on return it is on the disk."""

    @abstractmethod
    def recent(self, since: int) -> list[tuple[Key, Sums]]:
        """The windows of all rooms with `since` <= Key.start."""

    @abstractmethod
    def expire(self, now: float, retention_days: int) -> int:
        """Delete windows and devices after `retention_days`, message ids after the horizon; the windows deleted.

        Of each at most one day, the oldest: a clock that is wrong for an hour costs no more.
        """

    @abstractmethod
    def _rows(self, statement: str, *values: object) -> list[tuple]:
        """What a SELECT finds."""

    @abstractmethod
    def _write(self, *statements: tuple[str, Iterable[Sequence[object]]]) -> None:
        """Each statement for each of its rows, in one transaction; on return that is on the disk."""

    def _select(self, columns: str, table: str, where: str, *values: object) -> list[tuple]:
        """Rows of a table that stores of before do not have."""
        return self._rows(f"SELECT {columns} FROM {table} WHERE {where}", *values)  # noqa: S608 - constants

    def windows(self, site: str, room: str, start: int, end: int, *, unsynced: bool = False) -> list[tuple[Key, Sums]]:
        """A room's windows with `start` <= Key.start < `end`, by time; with `unsynced` of unset clocks too."""
        where = "site = ? AND room = ? AND start >= ? AND start < ? AND (synced OR ?) ORDER BY start, device, model"
        return windows_of(self._rows(f"{SELECT_WINDOWS} {where}", site, room, start, end, unsynced))

    def stored(self, device: Device) -> dict[str, int]:  # noqa: ARG002 - see below
        """Boot -> the highest seq with nothing missing below it; the payload of the device's `stored` topic.

        Nothing in a cluster: its devices delete a message at the broker's PUBACK.
        """
        return {}

    def devices(self) -> list[Device]:
        """Those that have a `stored` payload."""
        return []

    def lost(self) -> dict[Device, int]:
        """Device -> messages that will never come, of boots that are remembered; a cluster's brokers lose none."""
        return {}

    def states(self) -> dict[Device, DeviceStatus]:
        """The last status of every device."""
        return statuses_of(self._rows(SELECT_DEVICES))

    def notes(self, room: Room, start: float, end: float) -> list[Note]:
        """Those of a room with `start` <= at < `end`, by time."""
        where = "site = ? AND room = ? AND at >= ? AND at < ? ORDER BY at"
        found = self._select("at, kind, text, author", "notes", where, room.site, room.room, start, end)
        return [Note(*row) for row in found]

    def add_note(self, room: Room, note: Note) -> None:
        """Keep a note; on return it is on the disk."""
        insert = "INSERT INTO notes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        self._write((insert, [(room.site, room.room, *note)]))

    def lessons(self, room: Room) -> list[str]:
        """What `keep_lessons` was given of a room, by start."""
        rows = self._select("line", "lessons", "site = ? AND room = ? ORDER BY start", room.site, room.room)
        return [line for (line,) in rows]

    def readings(self, room: Room, start: float, end: float) -> dict[FaceKind, float]:
        """Faces per frame by how they could be read, of all devices, as their healths told in that time; else nothing.

        Mean of the last health of each minute; frames with too few faces are left out.
        """
        columns = ", ".join(f"avg({kind})" for kind in FACE_KINDS)
        where = "site = ? AND room = ? AND minute >= ? AND minute < ? GROUP BY device"
        rows = self._select(columns, "readings", where, room.site, room.room, int(start // 60) * 60, end)
        return {kind: sum(column) for kind, *column in zip(FACE_KINDS, *rows, strict=True)} if rows else {}

    def keep_lessons(self, room: Room, since: int, lessons: Mapping[int, str]) -> None:
        """Keep these lines of a room's list, by start in seconds since 1970, in place of all from `since` on."""
        delete = "DELETE FROM lessons WHERE site = ? AND room = ? AND start >= ?"
        insert = "INSERT INTO lessons VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
        rows = [(room.site, room.room, start, line) for start, line in sorted(lessons.items())]
        self._write((delete, [(room.site, room.room, since)]), (insert, rows))


def reading_rows(healths: Mapping[Device, tuple[Health, float]]) -> list[tuple]:
    """What `readings` gets from healths: one row a minute for each device, in one order for all who write."""
    rows = []
    for device, (health, received) in healths.items():
        at = datetime.fromisoformat(health.t).timestamp()
        if health.faces is not UNSET and abs(received - at) < _SAME_S:
            figures = (health.faces[kind] for kind in FACE_KINDS)
            rows.append((device.site, device.room, int(at // 60) * 60, device.device, *figures))
    return sorted(rows)


def statuses_of(rows: Iterable[tuple]) -> dict[Device, DeviceStatus]:
    """What SELECT_DEVICES finds."""
    return {Device(*row[:3]): DeviceStatus.of(*row[3:]) for row in rows}


@lru_cache(maxsize=_PARSED)
def _parsed(kind: type[Payload], text: str | None) -> Payload | None:
    try:
        return kind.from_json(text.encode()) if text else None
    except MessageError:  # written by another version of this code
        return None
