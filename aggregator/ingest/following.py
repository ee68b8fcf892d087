"""How Live learns of the rooms: an aggregator that is alone sees every message, one of several reads its share back.

The caller brings the time, in seconds since 1970.
"""

import logging
from collections.abc import Collection, Mapping
from typing import Protocol

from aggregator.analysis.live import Live
from aggregator.analysis.summary import LONGEST_S
from aggregator.ingest.batch import Batch
from aggregator.store.schema_postgresql import share_of
from aggregator.store.types import Spoken, Store, StoreUnavailableError
from aggregator.store.windows import Key, Sums
from contract.message import State
from contract.topics import Device

log = logging.getLogger(__name__)

_FRESH_S = 120
"""Windows that began so long ago grow in normal running."""
_READ_S = 1.0
"""What has changed is read this often."""
_OVERLAP_S = 10.0
"""Read again each time: a transaction that began before the last reading may have ended after it."""
_WHOLE_S = 60.0
"""What was told late, lessons and states are read again this often."""


class Following(Protocol):
    """Keeps Live up to date."""

    def begin(self, now: float) -> None:
        """Once, before the first batch."""

    def note(self, batch: Batch, windows: Mapping[Key, Sums], now: float) -> None:
        """A batch was committed; `windows` is what it added."""

    def refresh(self, now: float) -> None:
        """Often."""


class Alone:
    """Every message passes here."""

    def __init__(self, store: Store, live: Live) -> None:
        self._store = store
        self._live = live

    def begin(self, now: float) -> None:
        """Go on with what the store holds."""
        self._live.restore(dict(self._store.recent(int(now) - LONGEST_S)), _states(self._store.states()), now)

    def note(self, batch: Batch, windows: Mapping[Key, Sums], now: float) -> None:
        """Add it."""
        self._live.note(batch, windows, now)

    def refresh(self, now: float) -> None:
        """Nothing: all is known."""


class Dealt(Protocol):
    """A store whose rooms are dealt to several aggregators."""

    def shares(self) -> frozenset[int]:
        """Which are ours for now."""

    def changed(self, shares: Collection[int], since: int, within_s: float) -> list[tuple[Key, Sums]]:
        """Of rooms of `shares` the windows with `since` <= Key.start to which something was added `within_s` ago."""

    def states(self, shares: Collection[int] | None = None) -> Mapping[Device, Spoken]:
        """What the devices of these rooms last said."""


class Shared:
    """Other aggregators commit too: the rooms of our shares are read from the store."""

    def __init__(self, store: Dealt, live: Live) -> None:
        self._store = store
        self._live = live
        self._ours: frozenset[int] = frozenset()
        self._read_at = float("-inf")
        self._whole_at = float("-inf")

    def begin(self, now: float) -> None:
        """Nothing: the shares are not ours yet."""

    def note(self, batch: Batch, windows: Mapping[Key, Sums], now: float) -> None:
        """Nothing: it is read with what the others commit."""

    def refresh(self, now: float) -> None:
        """Take the shares that are free and read what changed in ours; none are ours while the store is away."""
        if 0 <= now - self._read_at < _READ_S:
            return
        passed_s = now - self._read_at if self._read_at <= now else _WHOLE_S
        self._read_at = now
        try:
            ours = self._store.shares()
            new, self._ours = ours - self._ours, ours
            self._live.keep(lambda room: share_of(room) in ours)
            if new or not 0 <= now - self._whole_at < _WHOLE_S:
                self._read_whole(now)
            else:
                rows = self._store.changed(ours, int(now) - _FRESH_S, passed_s + _OVERLAP_S)
                self._live.learn(dict(rows), {}, now)
        except StoreUnavailableError as error:
            log.warning("no summaries while the store is away: %s", error)
            self._ours, self._whole_at = frozenset(), float("-inf")
            self._live.keep(lambda _: False)

    def _read_whole(self, now: float) -> None:
        rows = self._store.changed(self._ours, int(now) - LONGEST_S, LONGEST_S + _OVERLAP_S)
        self._live.learn(dict(rows), _states(self._store.states(self._ours)), now)
        self._whole_at = now


def _states(spoken: Mapping[Device, Spoken]) -> dict[Device, State]:
    return {device: said.state for device, said in spoken.items() if said.state}
