"""What a store is: windows, which messages they hold, and what devices last said. SQLite's or PostgreSQL's."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, Self

from aggregator.config import AggregatorConfig
from aggregator.ingest.batch import Batch
from aggregator.store.windows import Key, Sums
from contract.message import Health, MessageError, State
from contract.topics import Device
from service.config import ConfigError

_WORDS = 16384
"""Words of devices that are kept as read: a page asks for all of them every second, and few have changed."""


class StoreError(Exception):
    """A store that cannot be used; the text names it and what is wrong."""


class StoreUnavailableError(StoreError):
    """It cannot be written now and nothing was: a full disk, a lock. The same batch may be committed later."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a batch came to."""

    fresh: int
    """Messages counted."""
    duplicates: int
    """Messages that the store already held."""
    devices: frozenset[Device]
    """Those whose `stored` may have changed."""
    windows: Mapping[Key, Sums]
    """What was added to the windows."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a device last said; None where it never did."""

    state: State | None
    state_at: float
    """When it came, seconds since 1970, by the aggregator's clock; 0 with None."""
    health: Health | None
    health_at: float
    """The same."""

    @classmethod
    def of(cls, state: str | None, state_at: float, health: str | None, health_at: float) -> "Spoken":
        """From the payloads, as a store keeps them."""
        return cls(_state(state), state_at, _health(health), health_at)


class Store(Protocol):
    """A store; open it with `with`. Every method may raise StoreUnavailableError."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...

    def commit(self, batch: Batch) -> Committed:
        """Put a batch into the store, whole or not at all; on return it is on the disk."""

    def windows(self, site: str, room: str, start: int, end: int, *, unsynced: bool = False) -> list[tuple[Key, Sums]]:
        """A room's windows with `start` <= Key.start < `end`, by time; with `unsynced` of unset clocks too."""

    def recent(self, since: int) -> list[tuple[Key, Sums]]:
        """The windows of all rooms with `since` <= Key.start."""

    def stored(self, device: Device) -> dict[str, int]:
        """Boot -> the highest seq with nothing below it that the device could still send; what `stored` tells it."""

    def states(self) -> dict[Device, Spoken]:
        """What every device last said."""

    def devices(self) -> list[Device]:
        """Those which `stored` could tell something."""

    def expire(self, now: float, retention_days: int) -> int:
        """Forget windows and devices after `retention_days`, messages after the horizon; the windows forgotten."""


def open_store(config: AggregatorConfig, *, writable: bool = True) -> Store:
    """The store that the configuration names: PostgreSQL's with `[postgresql]`, SQLite's without.

    Raises:
        StoreError: If it cannot be used.
        ConfigError: If its client library is not installed.
        OSError: If a credential cannot be read.
    """
    if config.postgresql is None:
        from aggregator.store.sqlite import SqliteStore  # noqa: PLC0415 - each store loads its own engine only

        return SqliteStore(config.store.path, writable=writable)
    try:
        from aggregator.store.postgresql import PostgresqlStore  # noqa: PLC0415 - an extra, see below
    except ImportError as error:
        raise ConfigError(f"[postgresql] needs pip install 'classpulse[aggregator,cluster]': {error}") from error
    return PostgresqlStore(config.postgresql, config.credentials, writable=writable)


@lru_cache(maxsize=_WORDS)
def _state(text: str | None) -> State | None:
    try:
        return State.from_json(text.encode()) if text else None
    except MessageError:  # written by another version of this code
        return None


@lru_cache(maxsize=_WORDS)
def _health(text: str | None) -> Health | None:
    try:
        return Health.from_json(text.encode()) if text else None
    except MessageError:  # as above
        return None
