"""Messages to windows: sums of integers by event time, so neither order nor partition matters. No clock, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from contract.labels import EMOTIONS
from contract.message import CountsMessage, FacesOnly, Frame, FrameCounts
from contract.topics import Device

WINDOW_S = 10
"""Width of a window in seconds; `Key.start` is a multiple of it."""
_ZEROS = (0,) * len(EMOTIONS)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names one window of one device."""

    site: str
    room: str
    device: str
    model: str
    """First eight hex digits of the model's SHA-256; "" with emotions switched off."""
    start: int
    """Seconds since 1970, by the device's clock."""
    synced: bool = True
    """Whether that clock could be believed; if not, the window is part of no lesson."""


@dataclass(frozen=True, slots=True)
class Sums:
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
            tuple(map(int.__add__, self.counts, other.counts)),
            tuple(map(int.__add__, self.expected, other.expected)),
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
        key = Key(
            device.site, device.room, device.device, message.model or "", window_start(frame.t), synced=message.synced
        )
        add(windows, key, of_frame(frame))
    return windows


def add(windows: dict[Key, Sums], key: Key, sums: Sums) -> None:
    """Add to one of `windows`, in place."""
    before = windows.get(key)
    windows[key] = sums if before is None else before + sums


def of_frame(frame: Frame) -> Sums:
    """The window of one frame."""
    if isinstance(frame, FrameCounts):
        return Sums(1, 0, frame.faces, frame.unsure, _whole(frame.counts), _hundredths(frame.expected))
    if isinstance(frame, FacesOnly):
        return Sums(1, 0, frame.faces, 0, _ZEROS, _ZEROS)
    return _WITHHELD


def _whole(counts: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(counts[label] for label in EMOTIONS)


def _hundredths(expected: Mapping[str, float]) -> tuple[int, ...]:
    return tuple(round(expected[label] * 100) for label in EMOTIONS)
