"""Messages to windows: sums of integers by event time, so neither order nor partition matters. No clock, no I/O."""

import operator
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
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
    labels = len(EMOTIONS)
    return [
        (
            Key(site, room, device, model, start, bool(synced)),
            Sums(frames, withheld, faces, unsure, tuple(each[:labels]), tuple(each[labels:])),
        )
        for site, room, start, device, model, synced, frames, withheld, faces, unsure, *each in rows
    ]


class PackedWindows:
    """The windows of one room, in 76 bytes each; as `Key` and `Sums` they take ten times as much."""

    def __init__(self, site: str, room: str) -> None:
        self._room = site, room
        self._parts: dict[tuple[str, str], tuple[array[int], array[int]]] = {}
        """By device and model: sorted starts, and _WIDTH sums for each."""

    def __iter__(self) -> Iterator[int]:
        """Each start once, sorted."""
        starts = [starts for starts, _ in self._parts.values()]
        return iter(starts[0]) if len(starts) == 1 else iter(sorted(set().union(*starts)))

    def __len__(self) -> int:
        """How many windows there are, of all devices."""
        return sum(len(starts) for starts, _ in self._parts.values())

    def __getitem__(self, start: int) -> dict[Key, Sums]:
        """The windows that begin then."""
        keys = (Key(*self._room, *part, start) for part in self._parts)
        return {key: sums for key in keys if (sums := self.get(key))}

    def get(self, key: Key) -> Sums | None:
        """One window; None if it is not known."""
        starts, sums = self._parts.get((key.device, key.model), ((), array("I")))
        index = bisect_left(starts, key.start)
        if index == len(starts) or starts[index] != key.start:
            return None
        return _sums_of(sums[index * _WIDTH : (index + 1) * _WIDTH].tolist())

    def put(self, key: Key, sums: Sums) -> None:
        """Set one window."""
        starts, packed = self._parts.setdefault((key.device, key.model), (array("I"), array("I")))
        index = bisect_left(starts, key.start)
        known = index < len(starts) and starts[index] == key.start
        if not known:
            starts.insert(index, key.start)
        row = array("I", [min(value, _MOST) for value in sum_row(sums)])
        packed[index * _WIDTH : (index + known) * _WIDTH] = row

    def forget(self, before: int) -> None:
        """Delete the windows that begin before a time."""
        for part, (starts, packed) in list(self._parts.items()):
            index = bisect_left(starts, before)
            del starts[:index], packed[: index * _WIDTH]
            if not starts:
                del self._parts[part]

    def total(self, first: int, last: int) -> list[tuple[Key, Sums]]:
        """The sum of each device's windows whose starts are in [first, last], under a key that begins at 0."""
        found = []
        for part, (starts, packed) in self._parts.items():
            begin, end = bisect_left(starts, first), bisect_left(starts, last + 1)
            if begin < end:
                rows = np.frombuffer(packed, np.uint32)[begin * _WIDTH : end * _WIDTH].reshape(-1, _WIDTH)
                found.append((Key(*self._room, *part, 0), _sums_of(rows.sum(axis=0, dtype=np.int64).tolist())))
        return found


def _sums_of(row: list[int]) -> Sums:
    labels = len(EMOTIONS)
    frames, withheld, faces, unsure, *each = row
    return Sums(frames, withheld, faces, unsure, tuple(each[:labels]), tuple(each[labels:]))
