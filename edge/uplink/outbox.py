"""Messages until they are confirmed: in memory first, in an SQLite file when they must be. No clock, no socket.

What the aggregator confirms in time is never written to the SD card. One thread uses this; it is the only importer of
sqlite3.
"""

import logging
import math
import sqlite3
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from contract.message import CountsMessage, FrameCounts, MessageError
from edge.config import OutboxConfig

log = logging.getLogger(__name__)
T = TypeVar("T")

UNCONFIRMED_S = 0.7
"""Without confirmation for this long everything goes to disk: with the caller's tick and the disk's time, within a
second. A PUBACK is no confirmation where the aggregator confirms, twice a second: the broker's memory may end, too."""
MEMORY_BYTES = 8 * 2**20
"""The most that waits in memory while the file cannot be written: an hour of 5 frames/s."""
RETRY_S = 5.0
"""A file that failed is tried again after this time, and is in order when it then did not fail for as long."""
_OVERHEAD_BYTES = 64
"""What a message takes besides its payload, in memory or on disk, roughly."""
_AGE_CHECK_S = 60.0
_LOG_S = 3600.0
"""Messages given up are logged so often at most: a full outbox gives some up all the time."""
_WAL_PAGES = 100
"""Of 4 KiB: how long SQLite's write-ahead log grows before it goes into the file. On a full disk what is only in the
log can be neither moved nor deleted; a shorter one wears the card more."""
_SAVE, _GIVE_UP = 100, 20
"""Messages of one transaction."""
_SEQ_BITS = 40
_SEQ_MAX = 2**_SEQ_BITS - 1
_END = 2**62
"""Above every id."""
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
_NO = f"(SELECT no << {_SEQ_BITS} FROM boot WHERE boot = ?1)"  # noqa: S608 - constant
_SEQS = f"id BETWEEN {_NO} + ?2 AND {_NO} + ?3"
_OLDEST = "id IN (SELECT id FROM message ORDER BY id LIMIT ?)"
_INSERT = "INSERT OR IGNORE INTO message (id, t, crc, payload) VALUES (?, ?, ?, ?)"
_AFTER = "SELECT id, boot, t, crc, payload FROM message JOIN boot ON no = id >> ? WHERE id > ? ORDER BY id LIMIT 1"
_OF_BOOT = f"FROM message WHERE id BETWEEN no << {_SEQ_BITS} AND (no << {_SEQ_BITS}) + {_SEQ_MAX}"
_FIRST = f"SELECT boot, (SELECT min(id) & {_SEQ_MAX} {_OF_BOOT}) FROM boot"  # noqa: S608 - constants
_UNUSED_BOOTS = f"DELETE FROM boot WHERE NOT EXISTS (SELECT 1 {_OF_BOOT})"  # noqa: S608 - constants
_TOTALS = f"SELECT count(*), coalesce(sum(length(payload) + {_OVERHEAD_BYTES}), 0) FROM message"  # noqa: S608 - constant
_FROM = "SELECT id, t, crc, payload FROM message WHERE id >= ? ORDER BY id LIMIT 1"
_SALVAGED = "INSERT OR IGNORE INTO message SELECT (no << ?) + ?, ?, ?, ? FROM boot WHERE boot = ?"
_OLDEST_T = "SELECT t FROM message ORDER BY id LIMIT 1"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass(slots=True, eq=False)
class Message:
    """What is sent, each time the same bytes, and how far it has come; `boot` and `seq` name it for ever."""

    boot: str
    seq: int
    payload: bytes
    t: float | None
    """Its newest frame, seconds since 1970; None if the clock was not synchronised."""
    accepted_s: float
    sent_s: float | None = None
    replayed: bool = False
    """It comes from the file."""

    @property
    def size(self) -> int:
        """Bytes that it takes, roughly."""
        return len(self.payload) + _OVERHEAD_BYTES


class Outbox:
    """The messages that wait to be confirmed. Every `now` is of the same monotonic clock, in seconds.

    No method raises for a file that fails: `error` tells. A full disk ends writing but not reading; a file that fails
    otherwise is closed; both are tried again. A damaged file is set aside.
    """

    def __init__(self, path: Path, config: OutboxConfig, boot: str, now: float) -> None:
        """Open the file; what earlier boots left in it waits from now on."""
        self.error = ""
        """Why the file cannot be written, or could not a few seconds ago; "" if it can."""
        self.dropped: Counter[str] = Counter()
        """Reason -> messages given up since the start: size, age, disk, corrupt."""
        self._boot = boot
        self._config = config
        self._memory: dict[int, Message] = {}
        """Seq -> message of this boot that is not in the file, in the order of acceptance."""
        self._next_seq = 0
        self._confirmed: dict[tuple[str, int], int] = {}
        """Boot and first seq -> last seq of what is to be deleted from the file."""
        self._replaying = True
        self._replayed_id = 0
        self._next_pass_s = math.inf
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._boot_no = self._rows = self._bytes = 0
        """Of the file: the number of this boot, and what it holds."""
        self._first: dict[str, int] = {}
        self._blocked = False
        """Nothing is written until the next attempt."""
        self._inode = 0
        self._retry_s = self._age_check_s = now
        self._logged: dict[str, tuple[float, int]] = {}
        """Reason -> when messages given up were logged last, and how many there had been."""
        self._open(now)

    def accept(self, frames: tuple[FrameCounts, ...], model: str | None, now: float, *, synced: bool) -> Message:
        """Name a message and freeze its bytes; from here on it is stored, or counted in `dropped`."""
        seq = self._next_seq
        payload = CountsMessage(
            boot=self._boot, seq=seq, model=model, clock="synced" if synced else "unsynced", frames=frames
        ).to_json()
        message = Message(self._boot, seq, payload, frames[-1].time.timestamp() if synced else None, now)
        self._memory[seq] = message
        self._next_seq += 1
        return message

    def next_live(self, now: float) -> Message | None:
        """The oldest message in memory that is to be sent; it counts as sent."""
        message = next((each for each in self._memory.values() if each.sent_s is None), None)
        if message:
            message.sent_s = now
        return message

    def next_saved(self, now: float) -> Message | None:
        """The next message from the file that is to be sent, oldest first; it counts as sent.

        A pass over the file begins with a connection and `resend_s` after the last one ended.
        """
        if now >= self._next_pass_s:
            self._begin_pass()
        while self._replaying:
            row = self._try(lambda db: db.execute(_AFTER, (_SEQ_BITS, self._replayed_id)).fetchone(), now)
            if row is None:
                self._replaying, self._next_pass_s = False, min(self._next_pass_s, now + self._config.resend_s)
                break
            self._replayed_id, boot, t, crc, payload = row
            if zlib.crc32(payload) == crc:
                return Message(boot, self._replayed_id & _SEQ_MAX, payload, t, now, replayed=True)
            self._give_up("corrupt", "id = ?", self._replayed_id, now)
        return None

    def acked(self, message: Message) -> None:
        """The broker sent its PUBACK."""
        if self._config.confirm == "puback":
            if self._memory.get(message.seq) is message:
                del self._memory[message.seq]
            else:
                self._confirmed[message.boot, message.seq] = message.seq

    def confirm(self, stored: Mapping[str, int]) -> None:
        """The aggregator has stored everything of each boot up to this seq.

        Raises:
            MessageError: If that is more than was ever accepted.
        """
        if self._config.confirm == "stored":
            last = stored.get(self._boot, -1)
            if last >= self._next_seq or max(stored.values(), default=0) > _SEQ_MAX:
                raise MessageError("field", f"{stored} is refused: this boot has accepted {self._next_seq} messages")
            self._memory = {seq: message for seq, message in self._memory.items() if seq > last}
            self._confirmed.update({(boot, 0): seq for boot, seq in stored.items()})

    def connected(self) -> None:
        """Everything unconfirmed is to be sent over a new connection."""
        self._send_again(math.inf)
        self._begin_pass()

    def tick(self, now: float, utc_s: float | None = None) -> None:
        """Save, delete, give up and send again what is due; to be called several times a second.

        Args:
            now: Monotonic seconds.
            utc_s: Seconds since 1970; None while the clock is not synchronised.
        """
        self._retry(now)
        self._look_for_file(now)
        self._delete_confirmed(now)
        waiting = list(self._memory.values())
        if waiting and now - waiting[0].accepted_s >= UNCONFIRMED_S:  # the youngest, too: one write a second
            self._save(waiting, now)
        self._send_again(now - self._config.resend_s)
        self._bound(now, utc_s)

    def close(self, now: float) -> None:
        """Put everything into the file and close it."""
        self._retry(math.inf)
        self._delete_confirmed(now)
        self._save(list(self._memory.values()), now)
        if self._memory:
            log.error("%d messages are lost with this process: %s", len(self._memory), self.error)
        self._close_file()

    @property
    def messages(self) -> int:
        """How many wait."""
        return self._rows + len(self._memory)

    @property
    def bytes(self) -> int:
        """What they take, roughly."""
        return self._bytes + self._memory_bytes()

    def stats(self, now: float, utc_s: float | None) -> dict[str, Any]:
        """Fields of contract.message.Health: what waits, and the age of the oldest message as far as it is known."""
        in_memory = next(iter(self._memory.values()), None)
        (oldest_t,) = self._try(lambda db: db.execute(_OLDEST_T).fetchone(), now) or (None,)
        on_disk_s = 0.0 if utc_s is None or oldest_t is None else utc_s - oldest_t
        oldest_s = max(0.0, on_disk_s, now - in_memory.accepted_s if in_memory else 0.0)
        return {
            "outbox_messages": self.messages,
            "outbox_bytes": self.bytes,
            "outbox_oldest_s": round(oldest_s, 1),
            "outbox_dropped": dict(self.dropped),
            "outbox_first": self.first(now),
        }

    def first(self, now: float) -> dict[str, int]:
        """Boot -> the lowest seq that waits; of this boot always, the next seq if none waits.

        While the file cannot be read it is what it was last, since too low a seq does no harm.
        """
        self._try(self._read_first, now)
        seq = next(iter(self._memory), self._next_seq)
        return {**self._first, self._boot: min(seq, self._first.get(self._boot, seq))}

    # -- what is due

    def _memory_bytes(self) -> int:
        return sum(message.size for message in self._memory.values())

    def _begin_pass(self) -> None:
        self._replayed_id, self._replaying, self._next_pass_s = 0, True, math.inf

    def _send_again(self, sent_before_s: float) -> None:
        """Let what was sent before then be sent again from memory."""
        for message in self._memory.values():
            if message.sent_s is not None and message.sent_s <= sent_before_s:
                message.sent_s = None

    def _save(self, messages: list[Message], now: float) -> None:
        """Move messages from memory to disk, as far as the drive keeps its promise."""
        for start in range(0, len(messages), _SAVE):  # a disk that is nearly full takes some of them
            piece = messages[start : start + _SAVE]
            base = self._boot_no << _SEQ_BITS
            rows = [(base + m.seq, m.t, zlib.crc32(m.payload), m.payload) for m in piece]
            if self._blocked or self._try(lambda db: db.executemany(_INSERT, rows), now) is None:  # noqa: B023 - called at once
                return
            self._rows += len(piece)
            self._bytes += sum(message.size for message in piece)
            self._first[self._boot] = min(self._first.get(self._boot, _SEQ_MAX), piece[0].seq)
            for message in piece:
                del self._memory[message.seq]
            # what was never sent does not wait for the next pass
            self._replaying |= any(message.sent_s is None for message in piece)

    def _delete_confirmed(self, now: float) -> None:
        def act(db: sqlite3.Connection) -> list[int]:
            return [self._delete(db, _SEQS, boot, first, last) for (boot, first), last in self._confirmed.items()]

        if self._confirmed and not self._blocked and (self._rows == 0 or self._try(act, now) is not None):
            self._confirmed.clear()

    def _bound(self, now: float, utc_s: float | None) -> None:
        """Give up what is too much for memory or disk, and what is too old."""
        excess = self._memory_bytes() - MEMORY_BYTES
        for message in list(self._memory.values()):
            if excess <= 0 and now - message.accepted_s <= self._config.max_age_s:
                break
            self.dropped["disk" if excess > 0 else "age"] += 1
            excess -= self._memory.pop(message.seq).size
        if now >= self._age_check_s or self._bytes > self._config.max_bytes:
            self._age_check_s = now + _AGE_CHECK_S
            while self._bytes > self._config.max_bytes and self._give_up("size", _OLDEST, _GIVE_UP, now):
                pass
            if utc_s is not None and self._rows and not self._blocked:
                # what was accepted before the clock was right is as old as the first time that it is known
                self._try(lambda db: db.execute("UPDATE message SET t = ? WHERE t IS NULL", (utc_s,)), now)
                self._give_up("age", "t < ?", utc_s - self._config.max_age_s, now)

    def _give_up(self, reason: str, where: str, limit: float, now: float) -> int:
        """Delete what fits a condition; how many messages that were."""
        count = 0 if self._blocked else self._try(lambda db: self._delete(db, where, limit), now) or 0
        if count:
            self.dropped[reason] += count
            logged_s, logged = self._logged.get(reason, (-math.inf, 0))
            if now - logged_s >= _LOG_S:
                log.warning("%d of the oldest messages given up: %s", self.dropped[reason] - logged, reason)
                self._logged[reason] = (now, self.dropped[reason])
        return count

    # -- the file

    def _delete(self, db: sqlite3.Connection, where: str, *parameters: str | float) -> int:
        statement = f"DELETE FROM message WHERE {where} RETURNING length(payload)"  # noqa: S608 - conditions of this file
        sizes = db.execute(statement, parameters).fetchall()
        self._rows -= len(sizes)
        self._bytes -= sum(size + _OVERHEAD_BYTES for (size,) in sizes)
        return len(sizes)

    def _read_first(self, db: sqlite3.Connection) -> None:
        self._first = {boot: seq for boot, seq in db.execute(_FIRST).fetchall() if seq is not None}

    def _try(self, action: Callable[[sqlite3.Connection], T], now: float) -> T | None:
        """The action's result in one transaction, None where the file fails."""
        if self._db is None:
            return None
        before = self._rows, self._bytes
        try:
            with self._db:
                return action(self._db)
        except sqlite3.DatabaseError as error:
            self._rows, self._bytes = before  # the transaction is undone
            self._fail(error, now)
            return None

    def _retry(self, now: float) -> None:
        """Try a file that failed again, when it is time; believe it when nothing failed until the next time."""
        if now < self._retry_s or not self.error:
            return
        self._retry_s = now + RETRY_S
        if not self._blocked:
            log.info("%s can be written again", self._path)
            self.error = ""
        elif self._db is None:
            self._open(now)
        else:
            self._blocked = not self._try(_probe, now)

    def _look_for_file(self, now: float) -> None:
        """Begin a new file where this one was removed or replaced; what was written to it would be gone."""
        if self._db is None or _inode(self._path) == self._inode:
            return
        log.error("%s: removed or replaced while in use; what it held is written into a new one", self._path)
        aside = self._path.with_suffix(".damaged")
        with suppress(OSError, sqlite3.Error):  # the removed file can still be read
            aside.unlink(missing_ok=True)
            with closing(sqlite3.connect(aside)) as copy:
                self._db.backup(copy)
        self._close_file()
        for end in ("-wal", "-shm"):  # of the removed file, and no part of the one that took its place
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)
        self._open(now, aside)

    def _fail(self, error: sqlite3.DatabaseError, now: float) -> None:
        # an error of our own has no code: the file opens, but is not an outbox
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code != sqlite3.SQLITE_FULL:
            self._close_file()
        if code in _DAMAGED and (aside := self._set_aside(str(error))):
            self._open(now, aside)
            return
        if not self.error:
            log.error("%s: %s; messages stay in memory", self._path, error)
        self.error, self._blocked, self._retry_s = str(error), True, now + RETRY_S

    def _set_aside(self, reason: str) -> Path | None:
        aside = self._path.with_suffix(".damaged")
        try:
            for part in sorted(self._path.parent.glob(f"{self._path.name}*"), reverse=True):  # its log before the file
                part.replace(part.with_name(part.name.replace(self._path.name, aside.name, 1)))
        except OSError:
            return None
        log.error("%s: %s; set aside as %s, a new one is begun", self._path, reason, aside)
        self._first = {}
        return aside

    def _close_file(self) -> None:
        if self._db:
            self._db.close()
            self._db = None

    def _open(self, now: float, aside: Path | None = None) -> None:
        """Open the file or make it; take over what can be read of one that was set `aside`."""
        try:
            self._db = sqlite3.connect(self._path, timeout=1.0)
            self._prepare(self._db, aside)
            self._blocked, self._inode = False, _inode(self._path)
            self._begin_pass()
        except sqlite3.DatabaseError as error:
            self._close_file()
            self._fail(error, now)

    def _prepare(self, db: sqlite3.Connection, aside: Path | None) -> None:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {_WAL_PAGES * 4096}")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"its schema is version {version}, this code's is {_VERSION}")
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        if version == 0:
            db.executescript(_CREATE)
        lost = _salvage(aside, db) if aside else 0
        with db:
            db.execute(_UNUSED_BOOTS)
            db.execute("INSERT OR IGNORE INTO boot (boot) VALUES (?)", (self._boot,))
        (self._boot_no,) = db.execute("SELECT no FROM boot WHERE boot = ?", (self._boot,)).fetchone()
        self._read_first(db)
        known = self._rows
        self._rows, self._bytes = db.execute(_TOTALS).fetchone()
        if lost := max(lost, known - self._rows):
            log.error("%s: %d messages are gone, %d are left", self._path, lost, self._rows)
            self.dropped["corrupt"] += lost


def _salvage(aside: Path, db: sqlite3.Connection) -> int:
    """Copy what can be read of a file into `db`, message by message; how many cannot be read, as far as it is known."""
    lost = at = found = total = 0
    with closing(sqlite3.connect(aside)) as source:
        with suppress(sqlite3.DatabaseError):
            (total,) = source.execute("SELECT count(*) FROM message").fetchone()
        while at < _END and (row := _read(source, at)) != ():
            if row is None:
                behind = _behind_damage(source, at)
                # how far an earlier boot went is not known
                lost += behind - at if behind - at <= _SEQ_MAX else max(1, behind & _SEQ_MAX)
                at = behind
                continue
            at, found = row[0] + 1, found + 1
            name = msgspec.json.decode(row[3])  # of any schema
            db.execute("INSERT OR IGNORE INTO boot (boot) VALUES (?)", (name["boot"],))
            db.execute(_SALVAGED, (_SEQ_BITS, name["seq"], *row[1:], name["boot"]))
            if found % _SAVE == 0:
                db.commit()
    db.commit()
    return max(lost, total - found)


def _read(db: sqlite3.Connection, at: int) -> tuple[Any, ...] | None:
    """The first message with at least this id; () if there is none, None if it cannot be read."""
    try:
        row: tuple[Any, ...] = db.execute(_FROM, (at,)).fetchone() or ()
    except sqlite3.DatabaseError:
        return None
    good = not row or (row[0] >= at and isinstance(row[3], bytes) and zlib.crc32(row[3]) == row[2])
    return row if good else None


def _behind_damage(db: sqlite3.Connection, at: int) -> int:
    """The first id behind `at` where something can be read again, by doubled steps that are then halved."""
    step = 1
    while step < _END and _read(db, at + step) is None:
        step *= 2
    return at + bisect_left(range(step), True, lo=step // 2 + 1, key=lambda more: _read(db, at + more) is not None)


def _inode(path: Path) -> int:
    """0 if there is no such file."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _probe(db: sqlite3.Connection) -> bool:
    """Whether it can be written; the write-ahead log goes into the file first, since that log fills disks."""
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute("UPDATE boot SET boot = boot")
    return True
