"""The store in PostgreSQL, for several aggregators at a time. The only importer of psycopg.

Each message's id is inserted once, whoever does it; rows are locked in one order, so there are no deadlocks.
There is no `stored` payload: the brokers' quorum queues made the message safe before its PUBACK (docs/adr/0007).
"""

import logging
import math
import random
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from aggregator.config import PostgresqlConfig
from aggregator.store import postgresql_schema as sql
from aggregator.store.types import (
    SELECT_DEVICES,
    SELECT_WINDOWS,
    UPSERT_READINGS,
    Arrival,
    Batch,
    Committed,
    DeviceStatus,
    ReadOnlyError,
    Store,
    StoreError,
    StoreUnavailableError,
    fold_all,
    reading_rows,
    statuses_of,
)
from aggregator.store.windows import DAY_S, Key, Sums, key_row, sum_row, windows_of
from contract.message import Health, State
from contract.topics import Device, Room
from service.tls import read_password

log = logging.getLogger(__name__)

_CONNECT_S = 5
_OPTIONS = (
    "-c statement_timeout=45s -c lock_timeout=20s -c idle_in_transaction_session_timeout=60s -c timezone=UTC -c jit=off"
)
"""What takes longer fails as unavailable: sooner than the unit's watchdog, 60 s, ends a worker that waits. To compile
what is asked each second costs more than it saves."""
_CLOCK_TOLD_S, _CLOCK_REFUSED_S = 2.0, 30.0
"""Between this machine's clock and the database's."""
_TRANSIENT = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""Lost connections, deadlocks, full disks, a server that only reads."""


class PostgresqlStore(Store):
    """The store in a database; close it with `with`. It connects again by itself."""

    def __init__(self, config: PostgresqlConfig, credentials: Path, *, writable: bool = True) -> None:
        """Connect; a writable one makes or migrates the tables.

        Raises:
            StoreUnavailableError: If it cannot be reached, or one that only reads finds no tables yet, or older ones.
            StoreError: If there are newer tables than this code knows, or if the clock of who writes is wrong.
            OSError: If a file of `credentials` is needed and cannot be read.
        """
        self._name = f"[postgresql] host {config.host}:{config.port}, database {config.database}"
        self._authority = credentials / "ca.crt"
        self._parameters = _parameters(config, credentials)
        self._writable = writable
        self._connection: psycopg.Connection[tuple] | None = None
        self._shards: set[int] = set()
        try:
            with self._connected() as db:
                self._check(db)
            if writable:
                self.check_clock()
        except BaseException:
            self._close()
            raise

    def __exit__(self, *exc: object) -> None:
        self._close()

    def commit(self, batch: Batch) -> Committed:
        """Put a batch into the store, whole or not at all; on return it is on the disk.

        Raises:
            StoreUnavailableError: If it cannot be written now.
        """
        with self._connected() as db, db.transaction():
            fresh = _new(db, batch.counts)
            windows, days = fold_all(fresh)
            if windows:
                rows = [(*key_row(key), _shard(key), days[key], *sum_row(windows[key])) for key in sorted(windows)]
                db.execute(sql.UPSERT_WINDOWS, _columns(rows))
            for kind, payloads in (("state", batch.states), ("health", batch.healths)):
                if payloads:
                    db.execute(sql.UPSERT_STATUS.format(kind), _columns(_status_rows(payloads)))
            with db.cursor() as cursor:
                cursor.executemany(_marked(UPSERT_READINGS), reading_rows(batch.healths))
        return Committed(len(fresh), len(batch.counts) - len(fresh), frozenset(), windows)

    def recent(self, since: int) -> list[tuple[Key, Sums]]:
        """The windows of all rooms with `since` <= Key.start."""
        where = "start >= ? AND day >= ? AND synced"
        return windows_of(self._rows(f"{SELECT_WINDOWS} {where}", since, since // DAY_S - 1))

    def changed(self, shards: Collection[int], since: int, within_s: float) -> list[tuple[Key, Sums]]:
        """Of rooms of `shards` the windows with `since` <= Key.start to which something was added `within_s` ago."""
        where = "start >= ? AND share = ANY(?) AND changed >= clock_timestamp() - make_interval(secs => ?) AND synced"
        return windows_of(self._rows(f"{SELECT_WINDOWS} {where}", since, list(shards), within_s))

    def states(self, shards: Collection[int] | None = None) -> dict[Device, DeviceStatus]:
        """The last status of every device, or of those in rooms of `shards`."""
        if shards is None:
            return super().states()
        return statuses_of(self._rows(f"{SELECT_DEVICES} WHERE share = ANY(?)", list(shards)))

    def lock_shards(self) -> frozenset[int]:
        """The shards that this worker has locked, after locking or unlocking some: about the same number for each.

        They are session locks: the database gives them to others when the connection ends.
        """
        with self._connected() as db:
            if not self._shards:  # from now on it is one of the workers; who only writes a note is none
                db.execute("SELECT pg_advisory_lock_shared(%s, %s)", (sql.LOCKS, sql.LOCK_WORKER))
            ((workers,),) = db.execute(sql.SELECT_WORKERS, (sql.LOCKS, sql.LOCK_WORKER)).fetchall()
            fair = math.ceil(sql.SHARDS / max(1, workers))
            for shard in sorted(self._shards)[fair:]:
                db.execute("SELECT pg_advisory_unlock(%s, %s)", (sql.LOCK_SHARDS, shard))
                self._shards.discard(shard)
            others = [shard for shard in range(sql.SHARDS) if shard not in self._shards]
            random.shuffle(others)
            while others and len(self._shards) < fair:
                shard = others.pop()
                ((locked,),) = db.execute("SELECT pg_try_advisory_lock(%s, %s)", (sql.LOCK_SHARDS, shard)).fetchall()
                if locked:
                    self._shards.add(shard)
        return frozenset(self._shards)

    def check_clock(self) -> None:
        """Compare this machine's clock with the database's, which all workers have in common.

        One that is days ahead would freeze what devices say for all, and reject good messages as too old.

        Raises:
            StoreError: If they differ too much.
            StoreUnavailableError: If the database cannot be asked now.
        """
        ((theirs,),) = self._rows("SELECT extract(epoch FROM clock_timestamp())::float8")
        ahead_s = time.time() - theirs
        problem = (
            f"{self._name}: this machine's clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'}"
        )
        if abs(ahead_s) > _CLOCK_REFUSED_S:
            raise StoreError(f"{problem} the database's; set the wrong one (`timedatectl` shows whether NTP does)")
        if abs(ahead_s) > _CLOCK_TOLD_S:
            log.warning("%s the database's; above %.0f s it is refused", problem, _CLOCK_REFUSED_S)

    def expire(self, now: float, retention_days: int) -> int:
        """Delete windows and devices after `retention_days`, messages after the horizon; about the windows deleted.

        Raises:
            StoreUnavailableError: If it cannot be written now.
        """
        with self._connected() as db, db.transaction():
            lock = db.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", (sql.LOCKS, sql.LOCK_EXPIRE)).fetchall()
            return sql.expire(db, now, retention_days) if lock == [(True,)] else 0  # another worker is at it

    def _check(self, db: "psycopg.Connection[tuple]") -> None:
        """Make or migrate the tables; refuse those that this code does not understand."""
        if self._writable:
            with db.transaction():
                db.execute("SELECT pg_advisory_xact_lock(%s, %s)", (sql.LOCKS, sql.LOCK_SCHEMA))
                db.execute("CREATE TABLE IF NOT EXISTS classpulse_schema (version integer NOT NULL)")
                version = self._version(db)
                for migration in sql.MIGRATIONS[version:]:
                    db.execute(migration)
                if version < len(sql.MIGRATIONS):
                    db.execute("DELETE FROM classpulse_schema")
                    db.execute("INSERT INTO classpulse_schema VALUES (%s)", (len(sql.MIGRATIONS),))
                    log.info("%s: tables of version %d, were of %d", self._name, len(sql.MIGRATIONS), version)
        elif db.execute("SELECT to_regclass('classpulse_schema')").fetchall() == [(None,)]:
            raise StoreUnavailableError(f"{self._name}: no tables; the daemon may be about to make them")
        elif self._version(db) < len(sql.MIGRATIONS):
            raise StoreUnavailableError(f"{self._name}: tables of an older version; the daemon may be about to migrate")

    def _version(self, db: "psycopg.Connection[tuple]") -> int:
        """The tables' version, if this code knows it."""
        version = int(db.execute("SELECT coalesce(max(version), 0) FROM classpulse_schema").fetchall()[0][0])
        if version > len(sql.MIGRATIONS):
            raise StoreError(
                f"{self._name}: tables of version {version}, but this aggregator knows only up to "
                f"{len(sql.MIGRATIONS)}; install the newer aggregator"
            )
        return version

    def _rows(self, statement: str, *values: object) -> list[tuple]:
        with self._connected() as db:
            return db.execute(_marked(statement), values).fetchall()

    def _write(self, *statements: tuple[str, Iterable[Sequence[object]]]) -> None:
        with self._connected() as db, db.transaction(), db.cursor() as cursor:
            for statement, rows in statements:
                cursor.executemany(_marked(statement), rows)

    @contextmanager
    def _connected(self) -> Iterator["psycopg.Connection[tuple]"]:
        """The connection, made if there is none; psycopg's errors as ours."""
        try:
            if self._connection is None:
                self._connection = psycopg.connect(autocommit=True, **self._parameters)  # type: ignore[arg-type]
            yield self._connection
        except psycopg.Error as error:
            if self._connection is None or self._connection.closed or isinstance(error, _TRANSIENT):
                self._close()
            transient = isinstance(error, _TRANSIENT)
            text = " ".join(str(error).split())
            if "certificate verify failed" in text or "does not match host name" in text:
                text += f"; its certificate must bear that host and be of {self._authority}"
            if isinstance(error, psycopg.errors.InsufficientPrivilege):
                raise ReadOnlyError(f"{self._name}: {text}") from error
            raise (StoreUnavailableError if transient else StoreError)(f"{self._name}: {text}") from error

    def _close(self) -> None:
        self._shards.clear()  # they ended with the session
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _parameters(config: PostgresqlConfig, credentials: Path) -> dict[str, object]:
    """Of libpq.

    Raises:
        OSError: If a file of `credentials` is there and cannot be read.
    """
    password = credentials / "postgresql-password"
    return {
        "host": config.host,
        "port": config.port,
        "dbname": config.database,
        "user": config.user,
        "application_name": "classpulse",
        "connect_timeout": _CONNECT_S,
        "tcp_user_timeout": 30_000,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 4,
        "target_session_attrs": "read-write" if "," in config.host else "any",
        "options": _OPTIONS,
        "sslmode": "verify-full" if config.tls else "disable",
        "sslrootcert": str(credentials / "ca.crt") if config.tls else None,
        "password": read_password(password) if password.exists() else None,
    }


def _marked(statement: str) -> str:
    """With psycopg's marks for values."""
    return statement.replace("?", "%s")


def _new(db: "psycopg.Connection[tuple]", arrivals: Iterable[Arrival]) -> list[Arrival]:
    """Those that the store does not have; from here on it has."""
    by_id: dict[tuple[bytes, int], Arrival] = {}
    for arrival in arrivals:
        by_id.setdefault((sql.sender(arrival.device, arrival.message.boot), arrival.message.seq), arrival)
    rows = [(*each, _day(by_id[each]), int(by_id[each].received)) for each in sorted(by_id)]
    if not rows:
        return []
    inserted = db.execute(sql.INSERT_MESSAGES, _columns(rows))
    if inserted.rowcount == len(rows):
        return list(by_id.values())
    return [by_id[bytes(sender), seq] for sender, seq in inserted.fetchall()]


def _day(arrival: Arrival) -> int:
    return int(arrival.newest // DAY_S) if arrival.message.synced else sql.UNSYNCED


def _status_rows(payloads: Mapping[Device, tuple[State | Health, float]]) -> list[tuple]:
    return [
        (device.site, device.room, device.device, sql.shard_of(device.where), payload.to_json().decode(), at)
        for device, (payload, at) in sorted(payloads.items())
    ]


def _shard(key: Key) -> int:
    return sql.shard_of(Room(key.site, key.room))


def _columns(rows: Sequence[tuple]) -> list[list[object]]:
    """Each column as an array: one statement inserts all rows."""
    return [list(column) for column in zip(*rows, strict=True)]
