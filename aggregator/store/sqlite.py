"""The store in one SQLite file. One transaction per batch; one thread writes, other connections may read meanwhile."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from aggregator.store import ranges
from aggregator.store.types import (
    UPSERT_READINGS,
    Arrival,
    Batch,
    Committed,
    ReadOnlyError,
    Store,
    StoreError,
    StoreUnavailableError,
    fold_all,
    reading_rows,
)
from aggregator.store.windows import DAY_S, KEY_COLUMNS, SUM_COLUMNS, Key, Sums, key_row, sum_row, windows_of
from contract.message import HORIZON_S
from contract.topics import Device

VERSION = 1
"""Of the tables; kept in the file as user_version."""
APPLICATION = 0x636C7073
"""Marks the file as ours, "clps"; kept in the file as application_id."""
_MAX_BOOTS = 256
"""In one `stored` payload: 5 KB. Of a device with more boots the last ones seen."""
_TRANSIENT = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
)

_CREATE = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE windows (
    site TEXT NOT NULL, room TEXT NOT NULL, start INTEGER NOT NULL, device TEXT NOT NULL, model TEXT NOT NULL,
    synced INTEGER NOT NULL, day INTEGER NOT NULL, {", ".join(f"{name} INTEGER NOT NULL" for name in SUM_COLUMNS)},
    PRIMARY KEY ({", ".join(KEY_COLUMNS)})
) WITHOUT ROWID;
CREATE INDEX windows_by_day ON windows (day);
CREATE TABLE boots (
    id INTEGER PRIMARY KEY,
    site TEXT NOT NULL, room TEXT NOT NULL, device TEXT NOT NULL, boot TEXT NOT NULL,
    floor INTEGER NOT NULL, seen INTEGER NOT NULL,
    UNIQUE (site, room, device, boot)
);
CREATE TABLE ranges (
    boot_id INTEGER NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL,
    PRIMARY KEY (boot_id, low)
) WITHOUT ROWID;
CREATE TABLE devices (
    site TEXT NOT NULL, room TEXT NOT NULL, device TEXT NOT NULL,
    state TEXT, state_at REAL NOT NULL DEFAULT 0, health TEXT, health_at REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (site, room, device)
) WITHOUT ROWID;
COMMIT;
"""
"""`windows.day` is the day since 1970 on which a row was first stored: retention goes by it, not by a device's clock.
`boots.floor` is the lowest seq that the device may still send; `boots.seen` when a message or health of the boot came.
`ranges` contains every seq that was counted or rejected for good."""
_CREATE_LATER = """
CREATE TABLE IF NOT EXISTS notes (
    site TEXT NOT NULL, room TEXT NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    author TEXT NOT NULL, PRIMARY KEY (site, room, at, kind, text, author)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lessons (
    site TEXT NOT NULL, room TEXT NOT NULL, start INTEGER NOT NULL, line TEXT NOT NULL, PRIMARY KEY (site, room, start)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS readings (
    site TEXT NOT NULL, room TEXT NOT NULL, minute INTEGER NOT NULL, device TEXT NOT NULL,
    found REAL NOT NULL, small REAL NOT NULL, unsure REAL NOT NULL, read REAL NOT NULL,
    PRIMARY KEY (site, room, minute, device)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS readings_by_minute ON readings (minute);
"""
"""Tables that files of before do not have. The version stays: an older aggregator, gone back to, leaves them alone."""
_UPSERT_WINDOW = f"""
INSERT INTO windows ({", ".join((*KEY_COLUMNS, "day", *SUM_COLUMNS))})
VALUES ({", ".join("?" * (len(KEY_COLUMNS) + 1 + len(SUM_COLUMNS)))})
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in SUM_COLUMNS)}
"""  # noqa: S608 - only constants
_SELECT_RECENT = f"""
SELECT {", ".join((*KEY_COLUMNS, *SUM_COLUMNS))} FROM (SELECT DISTINCT site, room FROM boots)
CROSS JOIN windows USING (site, room) WHERE start >= ? AND synced
"""  # noqa: S608 - the same
"""Room by room along the primary key: who wrote lately has a boot."""
_UPSERT_BOOT = """
INSERT INTO boots (site, room, device, boot, floor, seen) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET floor = max(floor, excluded.floor), seen = max(seen, excluded.seen) RETURNING id
"""
_SELECT_STORED = """
SELECT boot, coalesce((SELECT high FROM ranges WHERE boot_id = id AND low <= floor AND high >= floor), floor - 1)
FROM boots WHERE site = ? AND room = ? AND device = ? ORDER BY seen DESC, id DESC LIMIT ?
"""
_COUNT_BELOW = """
WITH known AS (SELECT id, max(floor, (SELECT min(low) FROM ranges WHERE boot_id = id)) AS first, ?1 AS floor FROM boots
    WHERE site = ?2 AND room = ?3 AND device = ?4 AND boot = ?5)
SELECT min(first), coalesce(sum(min(high + 1, floor) - max(low, first)), 0)
FROM known LEFT JOIN ranges ON boot_id = id AND high >= first AND low < floor
"""
_SELECT_LOST = """
SELECT site, room, device, sum(missing) AS lost FROM (
    SELECT site, room, device, floor - min(low) - sum(min(high + 1, floor) - low) AS missing
    FROM boots JOIN ranges ON boot_id = id AND low < floor GROUP BY id
) GROUP BY site, room, device HAVING lost > 0
"""
_UPSERT_STATUS = """
INSERT INTO devices (site, room, device, {0}, {0}_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    {0}_at = CASE WHEN {0} IS excluded.{0} THEN {0}_at ELSE excluded.{0}_at END, {0} = excluded.{0}
"""
"""For "state" or "health"; one that the broker retained and delivers again keeps its time."""


class SqliteStore(Store):
    """The store in `path`; close it with `with`."""

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        """Open the file; a writable one is made if it is missing.

        Raises:
            StoreError: If it is missing, no store, or of a newer version than this code.
        """
        self._path = path
        mode = "rwc" if writable else "ro"
        with self._translated():
            if writable:
                path.parent.mkdir(parents=True, exist_ok=True)
            uri = f"{path.absolute().as_uri()}?mode={mode}"
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)
            try:
                self._check(writable=writable)
            except BaseException:
                self._db.close()
                raise

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def commit(self, batch: Batch) -> Committed:
        """Put a batch into the store, whole or not at all; on return it is on the disk.

        Raises:
            StoreUnavailableError: If it cannot be written now.
        """
        try:
            return self._commit(batch)
        except StoreUnavailableError as error:
            if getattr(error.__cause__, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
                raise
            self._rows("PRAGMA wal_checkpoint(TRUNCATE)")  # the log of writes may be what fills the disk
            return self._commit(batch)

    def _commit(self, batch: Batch) -> Committed:
        with self._transaction():
            fresh = list(self._new(batch.counts))
            windows, days = fold_all(fresh)
            for settled in batch.settled:
                self._record(settled.device, settled.boot, [settled.seq], settled.received)
            rows = ((*key_row(key), days[key], *sum_row(sums)) for key, sums in windows.items())
            self._db.executemany(_UPSERT_WINDOW, rows)
            lost = self._commit_status(batch)
        devices = {arrival.device for arrival in batch.counts} | {settled.device for settled in batch.settled}
        return Committed(
            len(fresh), len(batch.counts) - len(fresh), frozenset(devices | batch.healths.keys()), windows, lost
        )

    def recent(self, since: int) -> list[tuple[Key, Sums]]:
        """The windows of all rooms with `since` <= Key.start."""
        return windows_of(self._rows(_SELECT_RECENT, since))

    def stored(self, device: Device) -> dict[str, int]:
        """Boot -> the highest seq with nothing missing below it; the payload of the device's `stored` topic."""
        rows = self._rows(_SELECT_STORED, device.site, device.room, device.device, _MAX_BOOTS)
        return {boot: seq for boot, seq in rows if seq >= 0}

    def devices(self) -> list[Device]:
        """Those that have a `stored` payload."""
        return [Device(*row) for row in self._rows("SELECT DISTINCT site, room, device FROM boots")]

    def lost(self) -> dict[Device, int]:
        """Device -> messages that will never come, of the boots of the last days that are remembered."""
        return {Device(*row[:3]): row[3] for row in self._rows(_SELECT_LOST)}

    def _select(self, columns: str, table: str, where: str, *values: object) -> list[tuple]:
        """Nothing as long as no newer daemon has opened the file."""
        if not self._rows("SELECT 1 FROM sqlite_schema WHERE name = ?", table):
            return []
        return super()._select(columns, table, where, *values)

    def _write(self, *statements: tuple[str, Iterable[Sequence[object]]]) -> None:
        with self._transaction():
            for statement, rows in statements:
                self._db.executemany(statement, rows)

    def expire(self, now: float, retention_days: int) -> int:
        """Delete windows and devices after `retention_days`, message ids after the horizon; the windows deleted.

        Of each at most one day, the oldest: a clock that is wrong for an hour costs no more.

        Raises:
            StoreUnavailableError: If it cannot be written now.
        """
        limit = now - retention_days * DAY_S
        with self._transaction():
            deleted = self._delete_oldest("windows", "day", int(limit // DAY_S), 1)
            self._delete_oldest("devices", "max(state_at, health_at)", limit, DAY_S)
            for table, age in (("notes", "at"), ("lessons", "start"), ("readings", "minute")):
                self._delete_oldest(table, age, limit, DAY_S)
            self._delete_oldest("boots", "seen", now - HORIZON_S - DAY_S, DAY_S)
            self._db.execute("DELETE FROM ranges WHERE boot_id NOT IN (SELECT id FROM boots)")
        return deleted

    def _delete_oldest(self, table: str, age: str, limit: float, span: float) -> int:
        """Delete rows with `age` below `limit` and less than `span` above the oldest; their number."""
        oldest = f"SELECT min(age) FROM (SELECT {age} AS age FROM {table})"  # noqa: S608 - constants
        delete = f"DELETE FROM {table} WHERE {age} < ? AND {age} < ({oldest}) + ?"  # noqa: S608 - constants
        return self._db.execute(delete, (limit, span)).rowcount

    def copy_to(self, path: Path) -> None:
        """Copy the whole store, as it is at one moment, into a new file, and check that.

        Raises:
            StoreError: If it cannot be read, or the copy is damaged.
        """
        with self._translated(), closing(sqlite3.connect(path)) as copy:
            self._db.backup(copy)
            verdict = copy.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != [("ok",)]:
            raise StoreError(f"{path}: the copy is damaged: {verdict}")

    def _new(self, arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        """Those that the store does not have; from here on it has."""
        boots: dict[tuple[Device, str], dict[int, Arrival]] = {}
        for arrival in arrivals:
            boots.setdefault((arrival.device, arrival.message.boot), {}).setdefault(arrival.message.seq, arrival)
        for (device, boot), by_seq in boots.items():
            newest = max(arrival.received for arrival in by_seq.values())
            for seq in self._record(device, boot, by_seq, newest):
                yield by_seq[seq]

    def _record(self, device: Device, boot: str, seqs: Iterable[int], received: float) -> set[int]:
        """Add to the ranges; those seqs that were not in them."""
        boot_id = self._boot_id(device, boot, 0, received)
        near = "SELECT low, high FROM ranges WHERE boot_id = ? AND low <= ? AND high >= ? ORDER BY low"
        before = self._db.execute(near, (boot_id, max(seqs) + 1, min(seqs) - 1)).fetchall()
        after, fresh = ranges.insert(before, seqs)
        gone = {low for low, _ in before} - {low for low, _ in after}
        self._db.executemany("DELETE FROM ranges WHERE boot_id = ? AND low = ?", ((boot_id, low) for low in gone))
        changed = set(after) - set(before)
        self._db.executemany("INSERT OR REPLACE INTO ranges VALUES (?, ?, ?)", ((boot_id, *each) for each in changed))
        return fresh

    def _boot_id(self, device: Device, boot: str, floor: int, received: float) -> int:
        row = (device.site, device.room, device.device, boot, floor, int(received))
        return int(self._db.execute(_UPSERT_BOOT, row).fetchone()[0])

    def _commit_status(self, batch: Batch) -> dict[Device, int]:
        """Write states and healths; for each device the messages that its health gave up and that never came."""
        for kind, payloads in (("state", batch.states), ("health", batch.healths)):
            rows = (
                (device.site, device.room, device.device, payload.to_json().decode(), at)
                for device, (payload, at) in payloads.items()
            )
            self._db.executemany(_UPSERT_STATUS.format(kind), rows)
        self._db.executemany(UPSERT_READINGS, reading_rows(batch.healths))
        lost: Counter[Device] = Counter()
        for device, (health, at) in batch.healths.items():
            for boot, floor in list(health.outbox_first.items())[:_MAX_BOOTS]:
                lost[device] += self._missing(device, boot, floor)
                self._boot_id(device, boot, floor, at)
        return dict(+lost)

    def _missing(self, device: Device, boot: str, floor: int) -> int:
        """How many seqs below `floor` will never come, but for those that were given up before.

        What lies below the first one known is not missing: another store may have it.
        """
        row = (floor, device.site, device.room, device.device, boot)
        ((first, present),) = self._db.execute(_COUNT_BELOW, row).fetchall()
        return 0 if first is None else max(0, floor - first - present)

    def _rows(self, statement: str, *values: object) -> list[tuple]:
        with self._translated():
            return self._db.execute(statement, values).fetchall()

    def _check(self, *, writable: bool) -> None:
        """Make the tables in a new file; refuse a file that this code does not understand."""
        empty = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        if writable and empty:
            self._db.executescript(_CREATE)
        elif empty:
            raise StoreUnavailableError(f"{self._path}: an empty file; the daemon may be about to make the tables")
        elif application != APPLICATION:
            raise StoreError(f"{self._path}: a SQLite file, but no store of classpulse")
        elif version > VERSION:
            raise StoreError(
                f"{self._path}: a store of version {version}, but this aggregator knows only up to {VERSION}; "
                "install the newer aggregator again"
            )
        if writable:
            self._db.executescript(_CREATE_LATER)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut: it is acknowledged after it

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_READONLY:
                raise ReadOnlyError(
                    f"{self._path}: this user cannot write it, or not the folder that it is in"
                ) from error
            transient = code in _TRANSIENT
            raise (StoreUnavailableError if transient else StoreError)(f"{self._path}: {error}") from error
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error
