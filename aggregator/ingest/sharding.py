"""The rooms of one aggregator of several: those of the shards that it locked, read back from the store.

The caller brings the time, in seconds since 1970.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aggregator.analysis.rooms import LONGEST_S, Rooms
from aggregator.store.postgresql_schema import shard_of
from aggregator.store.types import DeviceStatus, StoreUnavailableError
from contract.message import State
from contract.topics import Device

if TYPE_CHECKING:
    from aggregator.store.postgresql import PostgresqlStore

log = logging.getLogger(__name__)

_GROWING_S = 120
"""Windows that began so long ago grow in normal running."""
_READ_S = 1.0
"""What has changed is read this often."""
_OVERLAP_S = 10.0
"""Read again each time: a transaction that began before the last reading may have ended after it."""
_READ_ALL_S = 60.0
"""Late frames, lessons and states are read again this often."""


class Sharding:
    """Keeps `rooms` up to date where others commit, too."""

    def __init__(self, store: "PostgresqlStore", rooms: Rooms) -> None:
        self._store = store
        self._rooms = rooms
        self._ours: frozenset[int] = frozenset()
        self._read_at = float("-inf")
        self._read_all_at = float("-inf")

    def refresh(self, now: float) -> None:
        """Lock the shards that are free and read what changed in ours; none are ours while the store is away.

        Raises:
            StoreError: If this machine's clock is wrong.
        """
        if 0 <= now - self._read_at < _READ_S:
            return
        passed_s = now - self._read_at if self._read_at <= now else _READ_ALL_S
        self._read_at = now
        try:
            ours = self._store.lock_shards()
            new, self._ours = ours - self._ours, ours
            self._rooms.keep(lambda room: shard_of(room) in ours)
            if new or not 0 <= now - self._read_all_at < _READ_ALL_S:  # a clock that jumps is compared at once, too
                self._store.check_clock()
                rows = self._store.changed(ours, int(now) - LONGEST_S, LONGEST_S + _OVERLAP_S)
                self._rooms.replace(rows, states_of(self._store.states(ours)), now)
                self._read_all_at = now
            else:
                rows = self._store.changed(ours, int(now) - _GROWING_S, passed_s + _OVERLAP_S)
                self._rooms.replace(rows, {}, now)
        except StoreUnavailableError as error:
            log.warning("no summaries while the store is unavailable: %s", error)
            self._ours, self._read_all_at = frozenset(), float("-inf")
            self._rooms.keep(lambda _: False)


def states_of(devices: Mapping[Device, DeviceStatus]) -> dict[Device, State]:
    """The states of those that have sent one."""
    return {device: status.state for device, status in devices.items() if status.state}
