"""How Rooms is kept up to date: a single aggregator sees every message, one of several reads its shards back.

The caller brings the time, in seconds since 1970.
"""

import logging
from collections.abc import Collection, Mapping
from typing import Protocol

from aggregator.analysis.rooms import LONGEST_S, Rooms
from aggregator.store.postgresql_schema import shard_of
from aggregator.store.types import Batch, DeviceStatus, Store, StoreUnavailableError
from aggregator.store.windows import Key, Sums
from contract.message import State
from contract.topics import Device

log = logging.getLogger(__name__)

_GROWING_S = 120
"""Windows that began so long ago grow in normal running."""
_READ_S = 1.0
"""What has changed is read this often."""
_OVERLAP_S = 10.0
"""Read again each time: a transaction that began before the last reading may have ended after it."""
_READ_ALL_S = 60.0
"""Late frames, lessons and states are read again this often."""


class SingleUpdater:
    """Keeps Rooms up to date where every message passes here."""

    def __init__(self, store: Store, rooms: Rooms) -> None:
        self._store = store
        self._rooms = rooms

    def begin(self, now: float) -> None:
        """Go on with what is in the store."""
        self._rooms.replace(dict(self._store.recent(int(now) - LONGEST_S)), _states(self._store.states()), now)

    def add(self, batch: Batch, windows: Mapping[Key, Sums], now: float) -> None:
        """A batch was committed; `windows` is what it added."""
        newest = ((arrival.device, arrival.newest) for arrival in batch.counts if arrival.message.synced)
        self._rooms.add(windows, newest, {device: state for device, (state, _) in batch.states.items()}, now)

    def refresh(self, now: float) -> None:
        """Nothing: all is known."""


class ShardedStore(Protocol):
    """A store whose rooms are divided among several aggregators."""

    def lock_shards(self) -> frozenset[int]:
        """Those that are ours for now."""

    def changed(self, shards: Collection[int], since: int, within_s: float) -> list[tuple[Key, Sums]]:
        """Of rooms of `shards` the windows with `since` <= Key.start to which something was added `within_s` ago."""

    def states(self, shards: Collection[int] | None = None) -> Mapping[Device, DeviceStatus]:
        """The last status of the devices of these rooms."""


class ShardUpdater:
    """Keeps Rooms up to date where others commit, too: the rooms of our shards are read from the store."""

    def __init__(self, store: ShardedStore, rooms: Rooms) -> None:
        self._store = store
        self._rooms = rooms
        self._ours: frozenset[int] = frozenset()
        self._read_at = float("-inf")
        self._read_all_at = float("-inf")

    def begin(self, now: float) -> None:
        """Nothing: no shard is ours yet."""

    def add(self, batch: Batch, windows: Mapping[Key, Sums], now: float) -> None:
        """Nothing: it is read with what the others commit."""

    def refresh(self, now: float) -> None:
        """Lock the shards that are free and read what changed in ours; none are ours while the store is away."""
        if 0 <= now - self._read_at < _READ_S:
            return
        passed_s = now - self._read_at if self._read_at <= now else _READ_ALL_S
        self._read_at = now
        try:
            ours = self._store.lock_shards()
            new, self._ours = ours - self._ours, ours
            self._rooms.keep(lambda room: shard_of(room) in ours)
            if new or not 0 <= now - self._read_all_at < _READ_ALL_S:
                rows = self._store.changed(ours, int(now) - LONGEST_S, LONGEST_S + _OVERLAP_S)
                self._rooms.replace(dict(rows), _states(self._store.states(ours)), now)
                self._read_all_at = now
            else:
                rows = self._store.changed(ours, int(now) - _GROWING_S, passed_s + _OVERLAP_S)
                self._rooms.replace(dict(rows), {}, now)
        except StoreUnavailableError as error:
            log.warning("no summaries while the store is unavailable: %s", error)
            self._ours, self._read_all_at = frozenset(), float("-inf")
            self._rooms.keep(lambda _: False)


def _states(devices: Mapping[Device, DeviceStatus]) -> dict[Device, State]:
    return {device: status.state for device, status in devices.items() if status.state}
