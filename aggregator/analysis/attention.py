"""Changes that an instructor should know of: the class is not as it was before in this lesson. No clock, no I/O.

For every moment at which the change could have begun, the mean of what came after is compared with the mean of what
came before (a generalised likelihood ratio test for one change of the mean). A short change is no event, a lasting one
is one event, and what it led to is what the next one is compared with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from msgspec import json

from aggregator.analysis.mix import Mixes
from aggregator.config import SIGNALS, AttentionConfig
from aggregator.store.windows import WINDOW_S
from contract.labels import EMOTIONS
from contract.message import SCHEMA, instant, utc
from contract.topics import Room

FACES, UNSURE = SIGNALS
"""Faces per frame, and the share of them that was too small or doubtful to read."""
_LOOKS_BACK = 600 // WINDOW_S
"""How many windows back the begin of a change is looked for: ten minutes."""
_KNOWN_S = 120.0
"""The lesson's own variance counts in full after so long."""
_EARLY, _EARLY_WINDOWS = 0.8, 15
"""Of `deviations` a change needs so much that begins in so many of a lesson's first windows: few moments have been
compared by then, so few can look like a change by chance; and nothing makes what came before it clearer."""
_LEAST_FACES, _LEAST_FACES_SHARE = 4.0, 0.25
"""A smaller change of the faces is none: so many, and such a share of those before."""
_FACES_VARIANCE = 0.25
"""Variance of the faces of a frame, per face: people look down and up again."""
_BLOCK = 64
"""Windows that are examined at once: more would need memory, fewer time."""
_LEAST_LABEL = 0.05
"""A smaller change of a label's share is not part of an event's payload."""


class Points(NamedTuple):
    """The windows of a lesson in which expressions were read, by time."""

    groups: Sequence[str]
    starts: np.ndarray
    """(n,) Seconds since 1970."""
    values: np.ndarray
    """(n, groups + 2 + labels): shares of the groups, faces per frame, share of unsure ones, shares of the labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change that lasted."""

    t: datetime
    """When it had lasted long enough to be an event."""
    since: datetime
    """When it began."""
    changes: Mapping[str, tuple[float, float]]
    """Group, FACES or UNSURE -> (before, since), of signals that changed: the clearest first, shares that fell last."""
    labels: Mapping[str, tuple[float, float]]
    """The same of labels, for those that changed; largest change first."""

    def to_json(self, room: Room) -> bytes:
        """The payload of a room's `events` topic, which knows labels only."""
        fields = {"schema": SCHEMA, "t": instant(self.t), "since": instant(self.since)}
        changes = {label: [round(before, 3), round(after, 3)] for label, (before, after) in self.labels.items()}
        return json.encode({**fields, "site": room.site, "room": room.room, "changes": changes})


def points_of(mixes: Mixes) -> Points:
    """Those in which expressions were read."""
    labels, groups = np.split(mixes.shares[:, :, 0], [len(EMOTIONS)], axis=1)
    faces, unsure = mixes.faces[:, :1], mixes.faces[:, 1:2]
    values = np.concatenate([groups, faces, unsure / np.maximum(faces, 1e-9), labels], axis=1)
    told = ~np.isnan(labels[:, 0])
    return Points(mixes.groups, mixes.starts[told], values[told])


def events(points: Points, config: AttentionConfig) -> list[Event]:
    """The lasting changes of a lesson, oldest first; more of the lesson does not change those before.

    Args:
        points: Of one lesson.
        config: `[attention]`.
    """
    return Detector(config).push(points)


class Detector:
    """The lesson since the last event."""

    def __init__(self, config: AttentionConfig) -> None:
        self._config = config
        self._first = 0
        """Number of the oldest window that is kept: a change is looked for so far back at most."""
        self._starts = np.zeros(0, int)
        self._sums: np.ndarray | None = None
        """Running sums of signals, labels, and squares of signals: of all windows of the lesson up to each kept one."""
        self._examined = 0
        self._told = False
        """Whether the lesson has had an event."""
        self._settle = max(int(config.settle_s // WINDOW_S), 1)

    def push(self, points: Points) -> list[Event]:
        """The events that these windows complete; many windows at once cost a small part of one by one."""
        found: list[Event] = []
        if len(points.starts):
            names = (*points.groups, *SIGNALS)
            values = np.concatenate([points.values, points.values[:, : len(names)] ** 2], axis=1)
            sums = values.cumsum(axis=0) + (0 if self._sums is None else self._sums[-1])
            self._sums = sums if self._sums is None else np.concatenate([self._sums, sums])
            self._starts = np.concatenate([self._starts, points.starts])
            while self._examined < self._first + len(self._starts):
                found += self._next(names)
            self._forget()
        return found

    def _forget(self) -> None:
        """Keep what the next window can be compared with: a day of a thousand rooms would take hundreds of MB."""
        more = len(self._starts) - _LOOKS_BACK - 1
        if more > 0 and self._sums is not None:
            self._first, self._starts, self._sums = (
                self._first + more,
                self._starts[more:].copy(),
                self._sums[more:].copy(),
            )

    def _next(self, names: Sequence[str]) -> list[Event]:
        """Examine a block of windows, or as many as the first event in it is completed by."""
        ends = np.arange(self._examined + 1, min(self._examined + _BLOCK, self._first + len(self._starts)) + 1)
        lengths = np.arange(1, min(_LOOKS_BACK, ends[-1] - self._settle) + 1)
        self._examined = int(ends[-1])
        ends = ends[self._may_differ(ends, lengths[lengths * WINDOW_S >= self._config.lasts_s], len(names))]
        if not len(ends):
            return []
        before, after, clearness = self._compare(ends, lengths, len(names))
        best = clearness.max(axis=2).argmax(axis=1)
        rows = np.arange(len(ends))
        clear = clearness[rows, best].max(axis=1) >= self._config.deviations
        hits = np.flatnonzero(clear & (lengths[best] * WINDOW_S >= self._config.lasts_s))
        if not len(hits):
            return []
        at = hits[0], best[hits[0]]
        return [self._event(int(ends[at[0]]), int(lengths[at[1]]), names, before[at], after[at], clearness[at])]

    def _may_differ(self, ends: np.ndarray, lengths: np.ndarray, signals: int) -> np.ndarray:
        """The ends at which a signal has changed enough for one of these lengths: few, and only those are compared."""
        changed = self._changed(*self._means(ends, lengths, slice(signals)))
        may: np.ndarray = (changed.any(axis=2) & (ends[:, None] - lengths >= self._settle)).any(axis=1)
        return may

    def _means(self, ends: np.ndarray, lengths: np.ndarray, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """Before and after each change that is possible, (ends, lengths, columns) each.

        Args:
            ends: Numbers of windows: the lesson until then.
            lengths: How many of those, the last, came after the change.
            columns: Of what is summed.
        """
        sums = np.asarray(self._sums)[:, columns]
        place = ends[:, None] - 1 - self._first  # of each end in `sums`
        first, known = sums[np.maximum(place - lengths, 0)], np.maximum(ends[:, None] - lengths, 1)
        return first / known[:, :, None], (sums[place] - first) / lengths[:, None]

    def _changed(self, was: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Whether each signal has changed enough to be worth telling."""
        change = np.abs(now - was)
        enough: np.ndarray = change >= self._config.least_change
        enough[:, :, -2] = change[:, :, -2] >= np.maximum(_LEAST_FACES, _LEAST_FACES_SHARE * was[:, :, -2])
        return enough

    def _compare(
        self, ends: np.ndarray, lengths: np.ndarray, signals: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means before and after, and how clearly each signal differs, in sigma: (ends, lengths, values) each.

        A signal that changed too little, or is on its way back, does not differ; nor does one of which too little is
        known before. Arguments as of `_means`, and how many values are watched.
        """
        before, after = self._means(ends, lengths, slice(None))
        was, now = before[:, :, :signals], after[:, :, :signals]
        known, length = np.maximum(ends[:, None] - lengths, 1)[:, :, None], lengths[:, None]
        faces, theory = np.maximum(was[:, :, -2:-1], 1.0), np.clip(was, 0.02, 0.98)
        theory = theory * (1 - theory) / faces  # of shares among so many people
        theory[:, :, -2:-1] = _FACES_VARIANCE * faces
        own = np.maximum(before[:, :, -signals:] - was**2, 0) * np.minimum(known * WINDOW_S / _KNOWN_S, 1)
        # Windows that are close together show the same expressions of the same people.
        alike = self._config.smooth_s / WINDOW_S
        looks = np.minimum(alike / length, 1) + np.minimum(alike / known, 1)
        clear = np.abs(now - was) / np.sqrt(np.maximum(theory, own) * looks)
        if not self._told:
            clear = np.where(known <= _EARLY_WINDOWS, clear / _EARLY, clear)
        newest = np.clip(ends - self._settle, 1, min(int(alike), _LOOKS_BACK))
        place, sums = ends - 1 - self._first, np.asarray(self._sums)[:, :signals]
        recent = (sums[place] - sums[np.maximum(place - newest, 0)]) / newest[:, None]
        still = np.abs(recent[:, None] - was) >= np.abs(now - was) / 2
        possible = (ends[:, None] - lengths >= self._settle)[:, :, None]
        return before, after, np.where(self._changed(was, now) & still & possible, clear, 0.0)

    def _event(
        self,
        end: int,
        length: int,
        names: Sequence[str],
        before: np.ndarray,
        after: np.ndarray,
        clearness: np.ndarray,
    ) -> Event:
        """Begin anew with what the change led to."""
        place, sums = end - length - self._first, np.asarray(self._sums)
        since, newest = int(self._starts[place]), int(self._starts[place + length - 1])
        self._first, self._starts, self._examined, self._told = 0, self._starts[place:], length, True
        self._sums = sums[place:] - sums[place - 1]
        pairs = list(zip(before.tolist(), after.tolist(), strict=True))
        # a share that falls only makes room for the one that rises, so it is told last
        falls = [i < len(names) - len(SIGNALS) and pairs[i][1] < pairs[i][0] for i in range(len(names))]
        order = sorted(range(len(names)), key=lambda i: (falls[i], -clearness[i]))
        labels = dict(zip(EMOTIONS, pairs[len(names) :], strict=False))
        return Event(
            t=utc(newest + WINDOW_S),
            since=utc(since),
            changes={names[i]: pairs[i] for i in order if clearness[i] > 0},
            labels=dict(
                sorted(
                    ((label, pair) for label, pair in labels.items() if abs(pair[1] - pair[0]) >= _LEAST_LABEL),
                    key=lambda item: -abs(item[1][1] - item[1][0]),
                )
            ),
        )
