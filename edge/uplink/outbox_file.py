"""The outbox's file: messages on disk, oldest first. The only importer of sqlite3. No clock; touched by one thread.

A full disk ends writing but not reading; a file that fails otherwise is closed; both are tried again. A damaged file
is set aside.
"""

import logging
import math
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from edge.uplink.memory import OVERHEAD_BYTES, Message, Name

log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_S = 5.0
"""A file that failed is tried again after this time, and is in order when it then did not fail for as long."""
_TELL_S = 3600.0
"""Giving up is logged so often at most: a full outbox gives up all the time."""
_LOG_PAGES = 100
"""Of 4 KiB: how long the log of writes grows before it goes into the file. On a full disk what is only in the log can
be neither moved nor deleted; a shorter one wears the card more."""
_CHUNK = 20
_BOOT_BITS = 40
_SEQ = 2**_BOOT_BITS - 1
_VERSION = 1
_CREATE = f"""
BEGIN;
CREATE TABLE boot (no INTEGER PRIMARY KEY AUTOINCREMENT, boot TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE message (
    id INTEGER PRIMARY KEY,  -- boot.no * 2^40 + seq: the order of acceptance, and no second index to write
    t REAL,                  -- newest frame, seconds since 1970; NULL if the clock was not synchronised
    crc INTEGER NOT NULL,    -- SQLite does not notice a payload that rotted
    payload BLOB NOT NULL
) STRICT;
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_SAVE = "INSERT OR IGNORE INTO message (id, t, crc, payload) VALUES (?, ?, ?, ?)"
_AFTER = "SELECT id, boot, t, crc, payload FROM message JOIN boot ON no = id >> ? WHERE id > ? ORDER BY id LIMIT ?"
_OF_BOOT = f"FROM message WHERE id BETWEEN no << {_BOOT_BITS} AND (no << {_BOOT_BITS}) + {_SEQ}"
_FIRST = f"SELECT boot, (SELECT min(id) & {_SEQ} {_OF_BOOT}) FROM boot"  # noqa: S608 - constants
_PRUNE = f"DELETE FROM boot WHERE NOT EXISTS (SELECT 1 {_OF_BOOT})"  # noqa: S608 - constants
_OLDEST = "id IN (SELECT id FROM message ORDER BY id LIMIT ?)"
_PROBE = "UPDATE boot SET boot = boot"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class _DamagedError(sqlite3.DatabaseError):
    """SQLite opened it, but it is none of ours, or not whole."""


class OutboxFile:
    """Messages of this boot and of earlier ones. No method raises for a file that fails: `trouble` tells."""

    def __init__(self, path: Path, boot: str, now: float) -> None:
        self.trouble = ""
        """Why the file cannot be written, or could not a few seconds ago; "" if it can."""
        self.dropped: Counter[str] = Counter()
        """Reason -> messages given up: size, age, corrupt."""
        self.rows = 0
        self.bytes = 0
        self._path = path
        self._boot = boot
        self._boot_no = 0
        self._db: sqlite3.Connection | None = None
        self._first: dict[str, int] = {}
        self._blocked = False
        """Nothing is written until the next attempt."""
        self._retry_s = now
        self._told: dict[str, tuple[float, int]] = {}
        self._open(now)

    def tick(self, now: float) -> None:
        """Try a file that failed again, when it is time; believe it when nothing failed until the next time."""
        if now < self._retry_s:
            return
        self._retry_s = now + RETRY_S
        if not self._blocked:
            self._recover()
        elif self._db is None:
            self._open(now)
        else:
            self._blocked = not self._try(_probe, now)

    def save(self, messages: list[Message], now: float) -> bool:
        """Whether all of them are on disk now, with what the drive promised."""
        rows = [((self._boot_no << _BOOT_BITS) + m.name.seq, m.t, zlib.crc32(m.payload), m.payload) for m in messages]
        if self._blocked or self._try(lambda db: db.executemany(_SAVE, rows), now) is None:
            return False
        self.rows += len(messages)
        self.bytes += sum(message.size for message in messages)
        self._first[self._boot] = min(self._first.get(self._boot, _SEQ), *(message.name.seq for message in messages))
        return True

    def after(self, name_id: int, now: float) -> tuple[list[Message], int]:
        """A few messages with ids above `name_id`, oldest first, and the last id; no messages at the end."""
        chunk = self._try(lambda db: db.execute(_AFTER, (_BOOT_BITS, name_id, _CHUNK)).fetchall(), now) or []
        messages = []
        for number, boot, t, crc, payload in chunk:
            if zlib.crc32(payload) == crc:
                messages.append(Message(Name(boot, number & _SEQ), payload, t, now))
            else:
                self._give_up("corrupt", "id = ?", (number,), now)
        return messages, chunk[-1][0] if chunk else name_id

    def delete(self, marks: Mapping[str, int], names: Iterable[Name], now: float) -> bool:
        """Delete each boot's messages up to its mark, and those named; whether that is done for good."""
        spans = [(boot, 0, last) for boot, last in marks.items()] + [(name.boot, name.seq, name.seq) for name in names]

        def act(db: sqlite3.Connection) -> bool:
            numbers = dict(db.execute("SELECT boot, no FROM boot").fetchall())
            for boot, low, high in spans:
                if boot in numbers:
                    base = numbers[boot] << _BOOT_BITS
                    self._forget(db, "id BETWEEN ? AND ?", (base + low, base + high))
            return True

        return not self._blocked and (self.rows == 0 or self._try(act, now) is not None)

    def bound(self, max_bytes: int, oldest_t: float | None, now: float) -> None:
        """Give up the oldest messages until `max_bytes` are left, and those with frames before `oldest_t`."""
        while self.bytes > max_bytes and self._give_up("size", _OLDEST, (_CHUNK,), now):
            pass
        if oldest_t is not None and self.rows:
            self._give_up("age", "t < ?", (oldest_t,), now)

    def first(self, now: float) -> dict[str, int]:
        """Boot -> its lowest seq; what it was last while the file cannot be read, since too low a mark does no harm."""
        self._try(self._read_first, now)
        return dict(self._first)

    def oldest_t(self, now: float) -> float | None:
        """The newest frame of the oldest message, seconds since 1970; None if there is none or its clock was wrong."""
        row = self._try(lambda db: db.execute("SELECT t FROM message ORDER BY id LIMIT 1").fetchone(), now)
        return None if row is None else row[0]

    def close(self) -> None:
        """Close it."""
        if self._db:
            self._db.close()
            self._db = None

    def _read_first(self, db: sqlite3.Connection) -> None:
        self._first = {boot: seq for boot, seq in db.execute(_FIRST).fetchall() if seq is not None}

    def _give_up(self, reason: str, which: str, parameters: tuple[float, ...], now: float) -> int:
        if self._blocked:
            return 0
        count = self._try(lambda db: self._forget(db, which, parameters), now) or 0
        if count:
            self.dropped[reason] += count
            self._tell(reason, now)
        return count

    def _tell(self, reason: str, now: float) -> None:
        told_s, told = self._told.get(reason, (-math.inf, 0))
        if now - told_s >= _TELL_S:
            log.warning("%d of the oldest messages given up: %s", self.dropped[reason] - told, reason)
            self._told[reason] = (now, self.dropped[reason])

    def _forget(self, db: sqlite3.Connection, which: str, parameters: tuple[float, ...]) -> int:
        statement = f"DELETE FROM message WHERE {which} RETURNING length(payload)"  # noqa: S608 - conditions of this file
        sizes = db.execute(statement, parameters).fetchall()
        self.rows -= len(sizes)
        self.bytes -= sum(size + OVERHEAD_BYTES for (size,) in sizes)
        return len(sizes)

    def _try(self, action: Callable[[sqlite3.Connection], T], now: float) -> T | None:
        """The action's result in one transaction, None where the file fails."""
        if self._db is None:
            return None
        before = self.rows, self.bytes
        try:
            with self._db:
                return action(self._db)
        except sqlite3.DatabaseError as error:
            self.rows, self.bytes = before  # the transaction is undone
            self._fail(error, now)
            return None

    def _fail(self, error: sqlite3.DatabaseError, now: float) -> None:
        code = sqlite3.SQLITE_CORRUPT if isinstance(error, _DamagedError) else error.sqlite_errorcode & 0xFF
        if code != sqlite3.SQLITE_FULL:
            self.close()
        if code in _DAMAGED and self._set_aside(str(error)):
            self._open(now)
            return
        if not self.trouble:
            log.error("%s: %s; messages stay in memory", self._path, error)
        self.trouble = str(error)
        self._blocked = True
        self._retry_s = now + RETRY_S

    def _recover(self) -> None:
        if self.trouble:
            log.info("%s can be written again", self._path)
        self.trouble = ""

    def _set_aside(self, reason: str) -> bool:
        aside = self._path.with_suffix(".damaged")
        try:
            for suffix in ("-shm", "-wal", ""):
                part = self._path.with_name(self._path.name + suffix)
                if part.exists():
                    part.replace(aside.with_name(aside.name + suffix))
        except OSError:
            return False
        log.error("%s: %s; set aside as %s, a new one is begun", self._path, reason, aside)
        self.dropped["corrupt"] += max(1, self.rows)
        self.rows = self.bytes = 0
        self._first = {}
        return True

    def _open(self, now: float) -> None:
        try:
            self._db = sqlite3.connect(self._path, timeout=1.0)
            self._prepare(self._db)
        except sqlite3.DatabaseError as error:
            self.close()
            self._fail(error, now)
            return
        self._blocked = False

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {_LOG_PAGES * 4096}")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise _DamagedError(f"its schema is version {version}, this code's is {_VERSION}")
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _DamagedError(verdict)
        if version == 0:
            db.executescript(_CREATE)
        with db:
            db.execute(_PRUNE)
            db.execute("INSERT OR IGNORE INTO boot (boot) VALUES (?)", (self._boot,))
        (self._boot_no,) = db.execute("SELECT no FROM boot WHERE boot = ?", (self._boot,)).fetchone()
        self._read_first(db)
        known = self.rows
        self.rows, self.bytes = db.execute(
            "SELECT count(*), coalesce(sum(length(payload) + ?), 0) FROM message", (OVERHEAD_BYTES,)
        ).fetchone()
        if known > self.rows:
            log.error("%s: %d messages are gone", self._path, known - self.rows)
            self.dropped["corrupt"] += known - self.rows


def _probe(db: sqlite3.Connection) -> bool:
    """Whether it can be written; what the log of writes holds goes into the file first, since that log fills disks."""
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute(_PROBE)
    return True
