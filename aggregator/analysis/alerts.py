"""The events of running lessons, each told once. The caller brings the time."""

from collections.abc import Iterable, Mapping

from aggregator.analysis.attention import Event, Point, events
from aggregator.analysis.mix import Row, mix_of
from aggregator.config import AttentionConfig
from contract.card import ModelCard
from contract.labels import EMOTIONS
from contract.topics import Room

_NEWS_S = 120.0
"""An event that is older, found in frames that came late or after a restart, is no news: the page shows it."""

Known = tuple[tuple[Row, ...], Point | None]


class Alerts:
    """All rooms."""

    def __init__(self, config: AttentionConfig, cards: Mapping[str, ModelCard]) -> None:
        self._config = config
        self._cards = cards
        self._points: dict[Room, dict[int, Known]] = {}
        self._told: dict[Room, float] = {}

    def new(self, room: Room, lesson: Iterable[Row], now: float) -> list[Event]:
        """The events of the room's lesson so far that have not been told; `now` in seconds since 1970."""
        if not self._config.enabled:
            return []
        told = self._told.get(room, 0.0)
        # An event that frames which came late moved a little is still the same: a new one begins after the last.
        found = [
            event
            for event in events(self._mixes(room, lesson), self._config)
            if event.since.timestamp() > told and event.t.timestamp() > now - _NEWS_S
        ]
        if found:
            self._told[room] = found[-1].t.timestamp()
        return found

    def _mixes(self, room: Room, lesson: Iterable[Row]) -> list[Point]:
        """The mix of every window, by time; what has not changed since the last call is not worked out again."""
        windows: dict[int, list[Row]] = {}
        for row in lesson:
            windows.setdefault(row[0].start, []).append(row)
        before = self._points.get(room, {})
        now: dict[int, Known] = {}
        for start, rows in sorted(windows.items()):
            known = before.get(start)
            now[start] = known if known and known[0] == tuple(rows) else (tuple(rows), self._point(start, rows))
        self._points[room] = now
        return [point for _, point in now.values() if point]

    def _point(self, start: int, rows: list[Row]) -> Point | None:
        mix = mix_of(rows, self._cards)
        shares = mix.shares if mix else None
        return Point(start, tuple(shares[label] for label in EMOTIONS)) if shares else None
