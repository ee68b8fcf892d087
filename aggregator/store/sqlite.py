"""The store in one SQLite file: windows, which messages they hold, and what devices last said.

One transaction per batch. One thread writes; other connections may read at the same time.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from aggregator.ingest.batch import Arrival, Batch
from aggregator.store import ranges
from aggregator.store import schema_sqlite as sql
from aggregator.store.types import Committed, Spoken, StoreError, StoreUnavailableError
from aggregator.store.windows import Key, Sums, add, fold
from contract.labels import EMOTIONS
from contract.message import HORIZON_S
from contract.topics import Device

_DAY_S = 86400
_MOST_BOOTS = 256
"""In one `stored` payload: 5 KB. Of a device with more boots those come first that spoke last."""
_PASSING = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
)


class SqliteStore:
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def commit(self, batch: Batch) -> Committed:
        """Put a batch into the store, whole or not at all; on return it is on the disk.

        Raises:
            StoreUnavailableError: If it cannot be written now.
        """
        windows: dict[Key, Sums] = {}
        days: dict[Key, int] = {}
        fresh = 0
        with self._transaction():
            for arrival in self._unknown(batch.counts):
                fresh += 1
                for key, sums in fold(arrival.device, arrival.message).items():
                    add(windows, key, sums)
                    days[key] = int(arrival.received // _DAY_S)
            for name in batch.settled:
                self._learn(name.device, name.boot, [name.seq], name.received)
            self._db.executemany(sql.UPSERT_WINDOW, (_window_row(key, days[key], windows[key]) for key in windows))
            self._note_devices(batch)
        devices = {arrival.device for arrival in batch.counts} | {name.device for name in batch.settled}
        return Committed(fresh, len(batch.counts) - fresh, frozenset(devices | batch.healths.keys()), windows)

    def windows(self, site: str, room: str, start: int, end: int, *, unsynced: bool = False) -> list[tuple[Key, Sums]]:
        """A room's windows with `start` <= Key.start < `end`, by time; with `unsynced` of unset clocks too."""
        rows = self._rows(sql.SELECT_WINDOWS, site, room, start, end, 0 if unsynced else 1)
        return [_window(row) for row in rows]

    def recent(self, since: int) -> list[tuple[Key, Sums]]:
        """The windows of all rooms with `since` <= Key.start."""
        return [_window(row) for row in self._rows(sql.SELECT_RECENT, since)]

    def stored(self, device: Device) -> dict[str, int]:
        """Boot -> the highest seq with nothing below it that the device could still send; what `stored` tells it."""
        rows = self._rows(sql.SELECT_MARKS, device.site, device.room, device.device, _MOST_BOOTS)
        return {boot: mark for boot, mark in rows if mark >= 0}

    def states(self) -> dict[Device, Spoken]:
        """What every device last said."""
        rows = self._rows("SELECT site, room, device, state, state_at, health, health_at FROM devices")
        return {Device(*row[:3]): Spoken.of(*row[3:]) for row in rows}

    def devices(self) -> list[Device]:
        """Those of which messages are known; what `stored` could tell something."""
        return [Device(*row) for row in self._rows("SELECT DISTINCT site, room, device FROM boots")]

    def expire(self, now: float, retention_days: int) -> int:
        """Forget windows and devices after `retention_days`, messages' names after the horizon; the windows forgotten.

        Raises:
            StoreUnavailableError: If it cannot be written now.
        """
        limit = now - retention_days * _DAY_S
        with self._transaction():
            forgotten = self._db.execute("DELETE FROM windows WHERE day < ?", (int(limit // _DAY_S),)).rowcount
            self._db.execute("DELETE FROM devices WHERE max(state_at, health_at) < ?", (limit,))
            self._db.execute("DELETE FROM boots WHERE seen < ?", (now - HORIZON_S - _DAY_S,))
            self._db.execute("DELETE FROM ranges WHERE boot_id NOT IN (SELECT id FROM boots)")
        return forgotten

    def _unknown(self, arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        """Those that the store does not hold; from here on it does."""
        boots: dict[tuple[Device, str], dict[int, Arrival]] = {}
        for arrival in arrivals:
            boots.setdefault((arrival.device, arrival.message.boot), {}).setdefault(arrival.message.seq, arrival)
        for (device, boot), by_seq in boots.items():
            newest = max(arrival.received for arrival in by_seq.values())
            for seq in self._learn(device, boot, by_seq, newest):
                yield by_seq[seq]

    def _learn(self, device: Device, boot: str, seqs: Iterable[int], received: float) -> set[int]:
        """Write down that these seqs are dealt with; those that were not before."""
        boot_id = self._boot(device, boot, 0, received)
        held = self._db.execute(sql.SELECT_RANGES, (boot_id, max(seqs) + 1, min(seqs) - 1)).fetchall()
        merged, fresh = ranges.insert(held, seqs)
        gone = {low for low, _ in held} - {low for low, _ in merged}
        self._db.executemany("DELETE FROM ranges WHERE boot_id = ? AND low = ?", ((boot_id, low) for low in gone))
        changed = set(merged) - set(held)
        self._db.executemany("INSERT OR REPLACE INTO ranges VALUES (?, ?, ?)", ((boot_id, *each) for each in changed))
        return fresh

    def _boot(self, device: Device, boot: str, floor: int, received: float) -> int:
        row = (device.site, device.room, device.device, boot, floor, int(received))
        return int(self._db.execute(sql.UPSERT_BOOT, row).fetchone()[0])

    def _note_devices(self, batch: Batch) -> None:
        for device, (state, at) in batch.states.items():
            self._note(device, "state", state.to_json(), at)
        for device, (health, at) in batch.healths.items():
            self._note(device, "health", health.to_json(), at)
            for boot, floor in list(health.outbox_first.items())[:_MOST_BOOTS]:
                self._boot(device, boot, floor, at)

    def _note(self, device: Device, word: str, payload: bytes, at: float) -> None:
        row = (device.site, device.room, device.device, payload.decode(), at)
        self._db.execute(sql.upsert_device(word), row)

    def _rows(self, statement: str, *values: object) -> list[tuple]:
        with self._translated():
            return self._db.execute(statement, values).fetchall()

    def _check(self, *, writable: bool) -> None:
        """Make the tables in a new file; refuse a file that this code does not understand."""
        empty = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        if writable and empty:
            self._db.executescript(sql.CREATE)
        elif empty:
            raise StoreUnavailableError(f"{self._path}: an empty file; the daemon may be about to make the tables")
        elif application != sql.APPLICATION:
            raise StoreError(f"{self._path}: a SQLite file, but no store of classpulse")
        elif version > sql.VERSION:
            raise StoreError(
                f"{self._path}: a store of version {version}, but this aggregator knows only up to {sql.VERSION}; "
                "install the newer aggregator again"
            )
        if writable:
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
            passing = getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING
            raise (StoreUnavailableError if passing else StoreError)(f"{self._path}: {error}") from error
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error


def _window_row(key: Key, day: int, sums: Sums) -> tuple[object, ...]:
    named = (key.site, key.room, key.start, key.device, key.model, key.synced, day)
    return (*named, sums.frames, sums.withheld, sums.faces, sums.unsure, *sums.counts, *sums.expected)


def _window(row: tuple) -> tuple[Key, Sums]:
    site, room, start, device, model, synced, *numbers = row
    key = Key(site, room, device, model, start, synced=bool(synced))
    frames, withheld, faces, unsure, *labels = numbers
    counts, expected = labels[: len(EMOTIONS)], labels[len(EMOTIONS) :]
    return key, Sums(frames, withheld, faces, unsure, tuple(counts), tuple(expected))
