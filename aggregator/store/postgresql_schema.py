"""PostgreSQL's tables: numbered migrations, the statements used often, and a partition for each day.

Partitions are made ahead and dropped as a whole: deleting a big cluster's day row by row would take minutes, in which
its worker does nothing else. Imports no client library: the caller brings the connection and its transaction.
"""

from hashlib import blake2b
from typing import TYPE_CHECKING
from zlib import crc32

from aggregator.store.windows import DAY_S, KEY_COLUMNS, SUM_COLUMNS
from contract.message import HORIZON_S
from contract.topics import Device, Room

if TYPE_CHECKING:
    import psycopg

SHARDS = 64
"""Rooms are hashed into so many shards; one worker publishes a shard's summaries. The tables call it `share`."""
UNSYNCED = -1
"""`messages.day` where the device's clock was not synchronised."""
_AHEAD_DAYS = 2
"""Days that get their partitions before they begin."""
_FILL_PERCENT = {"messages": 100, "windows": 70}
"""Of a page, by insertions: a window is written some times more, beside itself if there is room."""
_COLUMNS = (*KEY_COLUMNS, "share", "day", *SUM_COLUMNS)
_TYPES = ("text", "text", "int8", "text", "text", "bool", "int2", "int4", *("int8" for _ in SUM_COLUMNS))

MIGRATIONS = (
    f"""
    CREATE TABLE windows (
        site text NOT NULL, room text NOT NULL, start bigint NOT NULL, device text NOT NULL, model text NOT NULL,
        synced boolean NOT NULL, share smallint NOT NULL, day integer NOT NULL,
        changed timestamptz NOT NULL DEFAULT clock_timestamp(),
        {", ".join(f"{name} bigint NOT NULL" for name in SUM_COLUMNS)},
        PRIMARY KEY ({", ".join(KEY_COLUMNS)})
    );
    CREATE INDEX windows_by_start ON windows (start);
    CREATE INDEX windows_by_day ON windows (day);
    CREATE TABLE messages (
        sender bytea NOT NULL, seq bigint NOT NULL, day integer NOT NULL, seen bigint NOT NULL,
        PRIMARY KEY (sender, seq, day)
    ) PARTITION BY LIST (day);
    CREATE TABLE messages_other PARTITION OF messages DEFAULT;
    CREATE TABLE devices (
        site text NOT NULL, room text NOT NULL, device text NOT NULL, share smallint NOT NULL,
        state text, state_at double precision NOT NULL DEFAULT 0,
        health text, health_at double precision NOT NULL DEFAULT 0,
        PRIMARY KEY (site, room, device)
    );
    """,
    f"""
    ALTER TABLE windows RENAME TO windows_other;
    ALTER INDEX windows_pkey RENAME TO windows_other_pkey;
    ALTER INDEX windows_by_start RENAME TO windows_other_by_start;
    DROP INDEX windows_by_day;
    CREATE TABLE windows (LIKE windows_other INCLUDING DEFAULTS, PRIMARY KEY ({", ".join(KEY_COLUMNS)}))
        PARTITION BY RANGE (start);
    ALTER TABLE windows ATTACH PARTITION windows_other DEFAULT;
    CREATE INDEX windows_by_start ON windows (start);
    CREATE INDEX windows_by_day ON windows USING brin (day);
    """,
    """
    CREATE TABLE notes (
        site text NOT NULL, room text NOT NULL, at double precision NOT NULL, kind text NOT NULL, text text NOT NULL,
        author text NOT NULL, PRIMARY KEY (site, room, at, kind, text, author)
    );
    CREATE TABLE lessons (
        site text NOT NULL, room text NOT NULL, start bigint NOT NULL, line text NOT NULL,
        PRIMARY KEY (site, room, start)
    );
    """,
    """
    CREATE TABLE readings (
        site text NOT NULL, room text NOT NULL, minute bigint NOT NULL, device text NOT NULL,
        found double precision NOT NULL, small double precision NOT NULL, unsure double precision NOT NULL,
        read double precision NOT NULL, PRIMARY KEY (site, room, minute, device)
    );
    CREATE INDEX readings_by_minute ON readings (minute);
    """,
)
"""Applied in order, each once; the database's version is how many were. `messages.sender` names a device's boot,
`day` is that of the message's newest frame or UNSYNCED: a property of the message itself, so that one sent again meets
its first copy. A day without a partition of its own is in messages_other until it gets one. `windows.day` is the one on
which a row was first stored: retention goes by it, while the partitions are days of `start`, a device's clock; what
these do not hold is in windows_other."""

LOCKS = 0x636C7073
"""First number of every advisory lock of ours but the shards', "clps"."""
LOCK_SCHEMA, LOCK_EXPIRE, LOCK_WORKER = 0, 1, 2
LOCK_SHARDS = LOCKS + 1
"""First number of the shards' locks; the second is the shard."""

INSERT_MESSAGES = """
INSERT INTO messages (sender, seq, day, seen)
SELECT * FROM unnest(%b::bytea[], %s::int8[], %s::int4[], %s::int8[]) ON CONFLICT DO NOTHING RETURNING sender, seq
"""
UPSERT_WINDOWS = f"""
INSERT INTO windows ({", ".join(_COLUMNS)})
SELECT * FROM unnest({", ".join(f"%s::{name}[]" for name in _TYPES)})
ON CONFLICT ({", ".join(KEY_COLUMNS)}) DO UPDATE SET changed = clock_timestamp(),
    {", ".join(f"{name} = windows.{name} + excluded.{name}" for name in SUM_COLUMNS)}
"""  # noqa: S608 - only constants
SELECT_WORKERS = """
SELECT count(DISTINCT pid) FROM pg_locks
WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
UPSERT_STATUS = """
INSERT INTO devices (site, room, device, share, {0}, {0}_at)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::int2[], %s::text[], %s::float8[])
ON CONFLICT (site, room, device) DO UPDATE SET
    {0}_at = CASE WHEN devices.{0} = excluded.{0} THEN devices.{0}_at ELSE excluded.{0}_at END, {0} = excluded.{0}
WHERE devices.{0}_at <= excluded.{0}_at
"""
"""For "state" or "health"; an older one does not replace a newer one, and the same one keeps its time."""


def expire(db: "psycopg.Connection[tuple]", now: float, retention_days: int) -> int:
    """Delete messages after the horizon, windows and devices after `retention_days`; about the windows deleted.

    Of each at most one day, the oldest: a clock that is wrong for an hour costs no more.
    """
    # Everybody queues behind who waits for a whole table: rather an hour later than behind somebody's long export.
    db.execute("SET LOCAL lock_timeout = '3s'")
    today, limit = int(now // DAY_S), int((now - retention_days * DAY_S) // DAY_S)
    first = int((now - HORIZON_S) // DAY_S) - 1  # every older message would be rejected; with a day to spare
    messages, windows = _days(db, "messages"), _days(db, "windows")
    # Today's windows have a place already: to move them would take long. Those of clocks ahead are few.
    missing = [("messages", day) for day in range(first, today + _AHEAD_DAYS + 1) if day not in messages]
    missing += [("windows", day) for day in range(today + 1, today + _AHEAD_DAYS + 1) if day not in windows]
    due = sorted(day for day in windows if day < limit)
    filled = [day for day in due if db.execute(f"SELECT FROM windows_{day} LIMIT 1").rowcount][:1]
    gone = [day for day in due if day <= filled[0]] if filled else due
    if missing or gone:
        # all of it: an insertion that had chosen the default partition would fail once the day has its own
        db.execute("LOCK TABLE messages, windows IN ACCESS EXCLUSIVE MODE")
    for table, day in missing:
        db.execute(_make_partition(table, day))
    for day in sorted(day for day in messages if day < first)[:1]:
        db.execute(f"DROP TABLE messages_{day}")
    deleted = sum(_drop_windows(db, day, limit) for day in gone)
    _delete_oldest(db, "messages_other", "seen", int(now - HORIZON_S - DAY_S), DAY_S)
    _delete_oldest(db, "devices", "greatest(state_at, health_at)", now - retention_days * DAY_S, DAY_S)
    for table, age in (("notes", "at"), ("lessons", "start"), ("readings", "minute")):
        _delete_oldest(db, table, age, now - retention_days * DAY_S, DAY_S)
    if not filled:  # else windows of two days would go at once
        deleted += _delete_oldest(db, "windows_other", "day", limit, 1)
    return deleted


def _delete_oldest(db: "psycopg.Connection[tuple]", table: str, age: str, limit: float, span: float) -> int:
    """Delete rows with `age` below `limit` and less than `span` above the oldest; their number."""
    oldest = f"SELECT min({age}) FROM {table}"  # noqa: S608 - constants
    delete = f"DELETE FROM {table} WHERE {age} < %s AND {age} < ({oldest}) + %s"  # noqa: S608 - constants
    return db.execute(delete, (limit, span)).rowcount


def shard_of(room: Room) -> int:
    """The shard that a room is in."""
    return crc32(f"{room.site}/{room.room}".encode()) % SHARDS


def sender(device: Device, boot: str) -> bytes:
    """`messages.sender` of a device's boot: twelve bytes in place of four texts and a table of them."""
    return blake2b(f"{device.identity}/{boot}".encode(), digest_size=12).digest()


def _days(db: "psycopg.Connection[tuple]", table: str) -> set[int]:
    """The days that have a partition."""
    rows = db.execute(
        "SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = %s::regclass", (table,)
    ).fetchall()
    endings = (name.rpartition("_")[2] for (name,) in rows)
    return {int(ending) for ending in endings if ending.isdigit()}


def _make_partition(table: str, day: int) -> str:
    """Gives a day a partition of its own, with what came before it had one. Lock the table first."""
    name, begin, end = f"{table}_{day}", day * DAY_S, (day + 1) * DAY_S
    rows, values = {
        "messages": (f"day = {day}", f"IN ({day})"),
        "windows": (f"start >= {begin} AND start < {end}", f"FROM ({begin}) TO ({end})"),
    }[table]
    return f"""
CREATE TABLE {name} (LIKE {table} INCLUDING ALL) WITH (fillfactor = {_FILL_PERCENT[table]});
WITH moved AS (DELETE FROM {table}_other WHERE {rows} RETURNING *) INSERT INTO {name} SELECT * FROM moved;
ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES {values};
"""  # noqa: S608 - `table` is one of two constants, `day` a number


def _drop_windows(db: "psycopg.Connection[tuple]", day: int, limit: int) -> int:
    """Delete a day's partition, but what was stored on the day `limit` or later. Lock the table first.

    Returns:
        About how many windows there were, as vacuum last counted.
    """
    name = f"windows_{day}"
    ((number,),) = db.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", (name,)).fetchall()
    db.execute(f"ALTER TABLE windows DETACH PARTITION {name}")
    db.execute(f"INSERT INTO windows SELECT * FROM {name} WHERE day >= {limit}")  # noqa: S608 - numbers
    db.execute(f"DROP TABLE {name}")
    return max(0, int(number))
