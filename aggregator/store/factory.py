"""Opens the store that the configuration names."""

from aggregator.config import AggregatorConfig
from aggregator.store.types import Store
from service.config import ConfigError


def open_store(config: AggregatorConfig, *, writable: bool = True) -> Store:
    """PostgreSQL's store with `[postgresql]`, SQLite's without.

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
