"""Messages to windows: sums of integers by event time, so neither order nor partition matters. No clock, no I/O."""

import operator
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from contract.labels import EMOTIONS
from contract.message import CountsMessage, FrameCounts
from contract.topics import Device

WINDOW_S = 10
"""Width of a window in seconds; `Key.start` is a multiple of it."""
DAY_S = 86400
AHEAD_S = 3600.0
"""A frame from further in the future is stored as it is, but its device's clock is wrong."""
KEY_COLUMNS = ("site", "room", "start", "device", "model", "synced")
SUM_COLUMNS = ("frames", "withheld", "faces", "unsure", *EMOTIONS, *(f"expected_{label}" for label in EMOTIONS))
"""The columns of a window in every store: `Key`'s and `Sums`' fields in these orders, `expected` in hundredths."""
_in_order = operator.itemgetter(*EMOTIONS)
_ZEROS = (0,) * len(EMOTIONS)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WIDTH = len(SUM_COLUMNS)
_MOST = 2**32 - 1
"""A sum of a room's state that is greater stays there; no camera comes near it in ten seconds."""


class Key(NamedTuple):
    """Identifies one window of one device."""

    site: str
    room: str
    device: str
    model: str
    """First eight hex digits of the model's SHA-256; "" with emotions switched off."""
    start: int
    """Seconds since 1970, by the device's clock."""
    synced: bool = True
    """Whether that clock was synchronised; if not, the window is part of no lesson."""


class Sums(Struct, frozen=True):
    """What the frames of a window add up to."""

    frames: int
    """All of them, withheld ones included."""
    withheld: int
    faces: int
    unsure: int
    counts: tuple[int, ...]
    """One per label of EMOTIONS."""
    expected: tuple[int, ...]
    """One per label of EMOTIONS, in hundredths of a face."""

    def __add__(self, other: "Sums") -> "Sums":
        """The window of both."""
        return Sums(
            self.frames + other.frames,
            self.withheld + other.withheld,
            self.faces + other.faces,
            self.unsure + other.unsure,
            tuple(map(operator.add, self.counts, other.counts)),
            tuple(map(operator.add, self.expected, other.expected)),
        )


NOTHING = Sums(0, 0, 0, 0, _ZEROS, _ZEROS)
"""The window without frames."""
_WITHHELD = Sums(1, 1, 0, 0, _ZEROS, _ZEROS)


def window_start(t: datetime) -> int:
    """Start of the window that `t` lies in, seconds since 1970."""
    since = t - _EPOCH
    return (since.days * 86400 + since.seconds) // WINDOW_S * WINDOW_S


def fold(device: Device, message: CountsMessage) -> dict[Key, Sums]:
    """The windows of one message's frames."""
    windows: dict[Key, Sums] = {}
    for frame in message.frames:
        start = window_start(frame.time)
        key = Key(device.site, device.room, device.device, message.model or "", start, message.synced)
        add(windows, key, of_frame(frame))
    return windows


def add(windows: dict[Key, Sums], key: Key, sums: Sums) -> None:
    """Add to one of `windows`, in place."""
    before = windows.get(key)
    windows[key] = sums if before is None else before + sums


def of_frame(frame: FrameCounts) -> Sums:
    """The window of one frame."""
    if not isinstance(frame.faces, int):
        return _WITHHELD
    if not isinstance(frame.counts, dict) or not isinstance(frame.expected, dict):
        return Sums(1, 0, frame.faces, 0, _ZEROS, _ZEROS)
    hundredths = tuple([round(value * 100) for value in _in_order(frame.expected)])
    return Sums(1, 0, frame.faces, frame.unsure or 0, _in_order(frame.counts), hundredths)


def key_row(key: Key) -> tuple[str | int, ...]:
    """The values of KEY_COLUMNS."""
    return key.site, key.room, key.start, key.device, key.model, key.synced


def sum_row(sums: Sums) -> tuple[int, ...]:
    """The values of SUM_COLUMNS."""
    return sums.frames, sums.withheld, sums.faces, sums.unsure, *sums.counts, *sums.expected


def windows_of(rows: Iterable[tuple]) -> list[tuple[Key, Sums]]:
    """Rows of KEY_COLUMNS and SUM_COLUMNS as windows."""
    return [
        (Key(site, room, device, model, start, bool(synced)), _sums_of(sums))
        for site, room, start, device, model, synced, *sums in rows
    ]


class Table(NamedTuple):
    """Windows of one room as arrays: a row for each."""

    parts: Sequence[tuple[str, str]]
    """Device and model."""
    part: np.ndarray
    """(n,) Which of them."""
    starts: np.ndarray
    """(n,) Seconds since 1970."""
    sums: np.ndarray
    """(n, len(SUM_COLUMNS)) int64"""


def table_of(rows: Iterable[tuple[Key, Sums]]) -> Table:
    """These windows."""
    rows, parts = list(rows), dict[tuple[str, str], int]()
    part = [parts.setdefault((key.device, key.model), len(parts)) for key, _ in rows]
    sums = np.array([sum_row(sums) for _, sums in rows], np.int64).reshape(-1, _WIDTH)
    return Table(list(parts), np.array(part, int), np.array([key.start for key, _ in rows], np.int64), sums)


class PackedWindows:
    """The windows of one room, in 76 bytes each; as `Key` and `Sums` they take ten times as much."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], tuple[array[int], array[int]]] = {}
        """By device and model: sorted starts, and _WIDTH sums for each."""

    def __len__(self) -> int:
        """How many windows there are, of all devices."""
        return sum(len(starts) for starts, _ in self._parts.values())

    def starts(self) -> np.ndarray:
        """Each start once, sorted."""
        # copies: an array that is looked into cannot grow
        each = [np.array(starts, np.uint32) for starts, _ in self._parts.values()]
        return each[0] if len(each) == 1 else np.unique(np.concatenate([np.zeros(0, np.uint32), *each]))

    def get(self, key: Key) -> Sums | None:
        """One window; None if it is not known."""
        _, packed, index, known = self._place(key)
        return _sums_of(packed[index * _WIDTH : (index + 1) * _WIDTH].tolist()) if known else None

    def put(self, key: Key, sums: Sums) -> bool:
        """Set one window; whether that changed it."""
        starts, packed, index, known = self._place(key)
        try:
            row = array("I", sum_row(sums))
        except OverflowError:
            row = array("I", [min(value, _MOST) for value in sum_row(sums)])
        if known and packed[index * _WIDTH : (index + 1) * _WIDTH] == row:
            return False
        if not known:
            starts.insert(index, key.start)
        packed[index * _WIDTH : (index + known) * _WIDTH] = row
        return True

    def _place(self, key: Key) -> "tuple[array[int], array[int], int, bool]":
        """The arrays of its part, where in them it belongs, and whether it is there."""
        starts, packed = self._parts.setdefault((key.device, key.model), (array("I"), array("I")))
        index = bisect_left(starts, key.start)
        return starts, packed, index, index < len(starts) and starts[index] == key.start

    def forget(self, before: int) -> None:
        """Delete the windows that begin before a time."""
        for part, (starts, packed) in list(self._parts.items()):
            index = bisect_left(starts, before)
            del starts[:index], packed[: index * _WIDTH]
            if not starts:
                del self._parts[part]

    def table(self, first: int, last: int) -> Table:
        """The windows whose starts are in [first, last]."""
        found = []
        for number, (starts, packed) in enumerate(self._parts.values()):
            begin, end = bisect_left(starts, first), bisect_left(starts, last + 1)
            sums = np.array(packed[begin * _WIDTH : end * _WIDTH], np.int64).reshape(-1, _WIDTH)
            found.append((np.full(end - begin, number), np.array(starts[begin:end], np.int64), sums))
        return Table(list(self._parts), *map(np.concatenate, zip(*found, strict=True))) if found else table_of(())


def _sums_of(row: list[int]) -> Sums:
    labels = len(EMOTIONS)
    frames, withheld, faces, unsure, *each = row
    return Sums(frames, withheld, faces, unsure, tuple(each[:labels]), tuple(each[labels:]))
