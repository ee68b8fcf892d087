"""Messages to windows: sums of integers by event time, so neither order nor partition matters. No clock, no I/O."""

import operator
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

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
