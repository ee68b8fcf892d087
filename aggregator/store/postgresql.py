"""The store in PostgreSQL, for several aggregators at a time. The only importer of psycopg.

Each message's name is inserted once, whoever does it; rows are locked in one order, so nobody waits in a circle.
`stored` tells nothing here: the brokers' quorum queues made the message safe before its PUBACK (docs/adr/0007).
"""

import logging
import math
import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psycopg

from aggregator.config import PostgresqlConfig
from aggregator.ingest.batch import Arrival, Batch
from aggregator.store import schema_postgresql as sql
from aggregator.store.retention_postgresql import forget
from aggregator.store.types import Committed, Spoken, StoreError, StoreUnavailableError
from aggregator.store.windows import Key, Sums, add, fold
from contract.labels import EMOTIONS
from contract.topics import Device

log = logging.getLogger(__name__)

_CONNECT_S = 5
_OPTIONS = (
    "-c statement_timeout=45s -c lock_timeout=20s -c idle_in_transaction_session_timeout=60s -c timezone=UTC -c jit=off"
)
"""What takes longer fails as unavailable: sooner than the unit's watchdog, 60 s, ends a worker that waits. To compile
what is asked each second costs more than it saves."""
_PASSING = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""Lost connections, deadlocks, full disks, a server that only reads."""


class PostgresqlStore:
    """The store in a database; close it with `with`. It connects again by itself."""

    def __init__(self, config: PostgresqlConfig, credentials: Path, *, writable: bool = True) -> None:
        """Connect; a writable one makes or migrates the tables.

        Raises:
            StoreUnavailableError: If it cannot be reached, or one that only reads finds no tables yet, or older ones.
            StoreError: If there are newer tables than this code knows.
            OSError: If a file of `credentials` is needed and cannot be read.
        """
        self._name = f"[postgresql] host {config.host}:{config.port}, database {config.database}"
        self._authority = credentials / "ca.crt"
        self._parameters = parameters(config, credentials)
        self._writable = writable
        self._connection: psycopg.Connection[tuple] | None = None
        self._shares: set[int] = set()
        try:
            with self._connected() as db:
                self._check(db)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def commit(self, batch: Batch) -> Committed:
        """Put a batch into the store, whole or not at all; on return it is on the disk.

        Raises:
            StoreUnavailableError: If it cannot be written now.
        """
        windows: dict[Key, Sums] = {}
        days: dict[Key, int] = {}
        fresh = 0
        with self._connected() as db, db.transaction():
            for arrival in _unknown(db, batch.counts):
                fresh += 1
                for key, sums in fold(arrival.device, arrival.message).items():
                    add(windows, key, sums)
                    days[key] = int(arrival.received // sql.DAY_S)
            _run(db, sql.UPSERT_WINDOWS, [_window_row(key, days[key], windows[key]) for key in sorted(windows)])
            states = ((device, state.to_json(), at) for device, (state, at) in sorted(batch.states.items()))
            _run(db, sql.upsert_devices("state"), [_device_row(*each) for each in states])
            healths = ((device, health.to_json(), at) for device, (health, at) in sorted(batch.healths.items()))
            _run(db, sql.upsert_devices("health"), [_device_row(*each) for each in healths])
        return Committed(fresh, len(batch.counts) - fresh, frozenset(), windows)

    def windows(self, site: str, room: str, start: int, end: int, *, unsynced: bool = False) -> list[tuple[Key, Sums]]:
        """A room's windows with `start` <= Key.start < `end`, by time; with `unsynced` of unset clocks too."""
        return [_window(row) for row in self._rows(sql.SELECT_WINDOWS, site, room, start, end, unsynced)]

    def recent(self, since: int) -> list[tuple[Key, Sums]]:
        """The windows of all rooms with `since` <= Key.start."""
        return [_window(row) for row in self._rows(sql.SELECT_RECENT, since, since // sql.DAY_S - 1)]

    def changed(self, shares: Collection[int], since: int, within_s: float) -> list[tuple[Key, Sums]]:
        """Of rooms of `shares` the windows with `since` <= Key.start to which something was added `within_s` ago."""
        return [_window(row) for row in self._rows(sql.SELECT_CHANGED, since, list(shares), within_s)]

    def stored(self, _device: Device) -> dict[str, int]:
        """Nothing: a device of a cluster takes the broker's PUBACK for it."""
        return {}

    def devices(self) -> list[Device]:
        """Those which `stored` could tell something: none."""
        return []

    def states(self, shares: Collection[int] | None = None) -> dict[Device, Spoken]:
        """What every device last said, or those of the rooms of `shares`."""
        if shares is None:
            rows = self._rows(sql.SELECT_DEVICES)
        else:
            rows = self._rows(f"{sql.SELECT_DEVICES} WHERE share = ANY(%s)", list(shares))
        return {Device(*row[:3]): Spoken.of(*row[3:]) for row in rows}

    def shares(self) -> frozenset[int]:
        """The shares that are this worker's for now, after taking or giving some up: about the same for each worker.

        They are session locks: the database hands them to others when the connection ends.
        """
        with self._connected() as db:
            ((workers,),) = db.execute(sql.SELECT_WORKERS, (sql.LOCKS, sql.LOCK_WORKER)).fetchall()
            fair = math.ceil(sql.SHARES / max(1, workers))
            for share in sorted(self._shares)[fair:]:
                db.execute("SELECT pg_advisory_unlock(%s, %s)", (sql.LOCK_SHARES, share))
                self._shares.discard(share)
            others = [share for share in range(sql.SHARES) if share not in self._shares]
            random.shuffle(others)
            while others and len(self._shares) < fair:
                share = others.pop()
                ((taken,),) = db.execute("SELECT pg_try_advisory_lock(%s, %s)", (sql.LOCK_SHARES, share)).fetchall()
                if taken:
                    self._shares.add(share)
        return frozenset(self._shares)

    def expire(self, now: float, retention_days: int) -> int:
        """Forget windows and devices after `retention_days`, messages after the horizon; about the windows forgotten.

        Raises:
            StoreUnavailableError: If it cannot be written now.
        """
        with self._connected() as db, db.transaction():
            lock = db.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", (sql.LOCKS, sql.LOCK_EXPIRE)).fetchall()
            return forget(db, now, retention_days) if lock == [(True,)] else 0  # another worker is at it

    def _check(self, db: "psycopg.Connection[tuple]") -> None:
        """Make or migrate the tables; refuse those that this code does not understand."""
        if self._writable:
            with db.transaction():
                db.execute("SELECT pg_advisory_xact_lock(%s, %s)", (sql.LOCKS, sql.LOCK_SCHEMA))
                db.execute("CREATE TABLE IF NOT EXISTS classpulse_schema (version integer NOT NULL)")
                version = self._known(db)
                for migration in sql.MIGRATIONS[version:]:
                    db.execute(migration)
                if version < len(sql.MIGRATIONS):
                    db.execute("DELETE FROM classpulse_schema")
                    db.execute("INSERT INTO classpulse_schema VALUES (%s)", (len(sql.MIGRATIONS),))
                    log.info("%s: tables of version %d, were of %d", self._name, len(sql.MIGRATIONS), version)
        elif db.execute("SELECT to_regclass('classpulse_schema')").fetchall() == [(None,)]:
            raise StoreUnavailableError(f"{self._name}: no tables; the daemon may be about to make them")
        elif self._known(db) < len(sql.MIGRATIONS):
            raise StoreUnavailableError(f"{self._name}: tables of an older version; the daemon may be about to migrate")

    def _known(self, db: "psycopg.Connection[tuple]") -> int:
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
            return db.execute(statement, values).fetchall()

    @contextmanager
    def _connected(self) -> Iterator["psycopg.Connection[tuple]"]:
        """The connection, made if there is none; psycopg's errors as ours."""
        try:
            if self._connection is None:
                self._connection = psycopg.connect(autocommit=True, **self._parameters)  # type: ignore[arg-type]
                if self._writable:
                    self._connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", (sql.LOCKS, sql.LOCK_WORKER))
            yield self._connection
        except psycopg.Error as error:
            if self._connection is None or self._connection.closed or isinstance(error, _PASSING):
                self._close()
            passing = isinstance(error, _PASSING)
            text = " ".join(str(error).split())
            if "certificate verify failed" in text or "does not match host name" in text:
                text += f"; its certificate must bear that host and be of {self._authority}"
            raise (StoreUnavailableError if passing else StoreError)(f"{self._name}: {text}") from error

    def _close(self) -> None:
        self._shares.clear()  # they ended with the session
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def parameters(config: PostgresqlConfig, credentials: Path) -> dict[str, object]:
    """Of libpq.

    Raises:
        OSError: If a file of `credentials` is there and cannot be read.
    """
    password = credentials / "postgresql-password"
    found: dict[str, object] = {
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
    }
    if config.tls:
        found["sslrootcert"] = str(credentials / "ca.crt")
    if password.exists():
        found["password"] = password.read_text().strip()
    return found


def _unknown(db: "psycopg.Connection[tuple]", arrivals: Iterable[Arrival]) -> list[Arrival]:
    """Those that the store does not hold; from here on it does."""
    named: dict[tuple[bytes, int], Arrival] = {}
    for arrival in arrivals:
        named.setdefault((sql.sender(arrival.device, arrival.message.boot), arrival.message.seq), arrival)
    if not named:
        return []
    names = sorted(named)
    values = (
        [name[0] for name in names],
        [name[1] for name in names],
        [_day(named[name]) for name in names],
        [int(named[name].received) for name in names],
    )
    inserted = db.execute(sql.INSERT_MESSAGES, values)
    if inserted.rowcount == len(names):
        return list(named.values())
    return [named[bytes(sender), seq] for sender, seq in inserted.fetchall()]


def _day(arrival: Arrival) -> int:
    return int(arrival.newest // sql.DAY_S) if arrival.message.synced else sql.UNSYNCED


def _run(db: "psycopg.Connection[tuple]", statement: str, rows: Sequence[tuple]) -> None:
    """One statement for all rows, each column as an array."""
    if rows:
        db.execute(statement, [list(column) for column in zip(*rows, strict=True)])


def _window_row(key: Key, day: int, sums: Sums) -> tuple:
    share = sql.share_of(Device(key.site, key.room, key.device).where)
    named = (key.site, key.room, key.start, key.device, key.model, key.synced, share, day)
    return (*named, sums.frames, sums.withheld, sums.faces, sums.unsure, *sums.counts, *sums.expected)


def _device_row(device: Device, payload: bytes, at: float) -> tuple:
    return device.site, device.room, device.device, sql.share_of(device.where), payload.decode(), at


def _window(row: tuple) -> tuple[Key, Sums]:
    site, room, start, device, model, synced, frames, withheld, faces, unsure, *labels = row
    counts, expected = labels[: len(EMOTIONS)], labels[len(EMOTIONS) :]
    key = Key(site, room, device, model, start, synced=synced)
    return key, Sums(frames, withheld, faces, unsure, tuple(counts), tuple(expected))
