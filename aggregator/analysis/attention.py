"""Changes that an instructor should know of: the mix leaves the lesson's own band and stays outside. No clock, no I/O.

A short change is no event, a lasting one is one event, and the mix after it is the new normal.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from msgspec import json

from aggregator.analysis.mix import Moment
from aggregator.config import AttentionConfig
from aggregator.store.windows import WINDOW_S
from contract.labels import EMOTIONS
from contract.message import SCHEMA, instant, utc
from contract.topics import Room


@dataclass(frozen=True, slots=True)
class Point:
    """The mix of one window of a room."""

    start: int
    """Seconds since 1970."""
    shares: tuple[float, ...]
    """In the order of EMOTIONS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change that lasted; one payload of a room's `events` topic."""

    t: datetime
    """When it had lasted long enough to be an event."""
    since: datetime
    """When the mix left the band."""
    changes: Mapping[str, tuple[float, float]]
    """Label -> (share before, share since), for every label that left its band; largest change first."""

    def to_json(self, room: Room) -> bytes:
        """The payload."""
        fields = {"schema": SCHEMA, "t": instant(self.t), "since": instant(self.since)}
        changes = {label: [round(before, 3), round(after, 3)] for label, (before, after) in self.changes.items()}
        return json.encode({**fields, "site": room.site, "room": room.room, "changes": changes})


def points_of(moments: Iterable[Moment]) -> Iterator[Point]:
    """Those in which expressions were read."""
    for start, mix in moments:
        shares = mix.shares
        if shares:
            yield Point(start, tuple(shares[label] for label in EMOTIONS))


def events(points: Iterable[Point], config: AttentionConfig) -> list[Event]:
    """The lasting changes of a lesson, oldest first; the same points always give the same events.

    Args:
        points: One lesson's windows, by time; windows without a mix are left out.
        config: `[attention]`.
    """
    found: list[Event] = []
    starts: list[int] = []
    rows: list[Sequence[float]] = []
    normal = _Normal(config)
    for point in points:
        starts.append(point.start)
        rows.append(point.shares)
        smooth = np.mean(rows[bisect_right(starts, point.start - config.smooth_s) :], axis=0)
        since = normal.left_at(point.start, smooth)
        if since is not None and point.start - since >= config.lasts_s:
            after = np.mean(rows[bisect_left(starts, since) :], axis=0)
            found.append(_event(point.start, since, normal, after))
            normal = _Normal(config)
            starts, rows = [], []
    return found


class _Normal:
    """The lesson's own band since the last event."""

    def __init__(self, config: AttentionConfig) -> None:
        self._config = config
        self._count = 0
        self.mean = np.zeros(len(EMOTIONS))
        self._squares = np.zeros(len(EMOTIONS))
        self.out = np.zeros(len(EMOTIONS), bool)
        self._since: int | None = None

    def left_at(self, start: int, smooth: np.ndarray) -> int | None:
        """When the mix left the band in which it is not now; None while it is inside, or the band is not known yet."""
        known = self._count * WINDOW_S >= self._config.settle_s
        out = np.abs(smooth - self.mean) > self._half() if known else np.zeros(len(EMOTIONS), bool)
        if not out.any():
            self._since = None
            self._learn(smooth)
        elif self._since is None:
            self._since = start
        self.out = out
        return self._since

    def _learn(self, smooth: np.ndarray) -> None:
        self._count += 1
        off = smooth - self.mean
        self.mean = self.mean + off / self._count
        self._squares = self._squares + off * (smooth - self.mean)

    def _half(self) -> np.ndarray:
        deviation = np.sqrt(self._squares / max(self._count - 1, 1))
        half: np.ndarray = np.maximum(self._config.least_change, self._config.deviations * deviation)
        return half


def _event(now: int, since: int, normal: _Normal, after: np.ndarray) -> Event:
    changes = {
        label: (float(before), float(then))
        for label, before, then, out in zip(EMOTIONS, normal.mean, after, normal.out, strict=True)
        if out
    }
    falling = sorted(changes.items(), key=lambda item: -abs(item[1][1] - item[1][0]))
    return Event(t=utc(now + WINDOW_S), since=utc(since), changes=dict(falling))
