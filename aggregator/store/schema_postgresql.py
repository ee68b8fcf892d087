"""PostgreSQL's tables as numbered migrations, and the statements that are used often."""

from hashlib import blake2b
from zlib import crc32

from aggregator.store.schema_sqlite import SUMS
from contract.topics import Device, Room

SHARES = 64
"""Rooms are dealt into so many shares; a share's summaries are published by one worker."""
_KEY = ("site", "room", "start", "device", "model", "synced")
_COLUMNS = (*_KEY, "share", "day", *SUMS)
_TYPES = ("text", "text", "int8", "text", "text", "bool", "int2", "int4", *("int8" for _ in SUMS))

MIGRATIONS = (
    f"""
    CREATE TABLE windows (
        site text NOT NULL, room text NOT NULL, start bigint NOT NULL, device text NOT NULL, model text NOT NULL,
        synced boolean NOT NULL, share smallint NOT NULL, day integer NOT NULL,
        changed timestamptz NOT NULL DEFAULT clock_timestamp(), {", ".join(f"{name} bigint NOT NULL" for name in SUMS)},
        PRIMARY KEY ({", ".join(_KEY)})
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
    CREATE TABLE windows (LIKE windows_other INCLUDING DEFAULTS, PRIMARY KEY ({", ".join(_KEY)}))
        PARTITION BY RANGE (start);
    ALTER TABLE windows ATTACH PARTITION windows_other DEFAULT;
    CREATE INDEX windows_by_start ON windows (start);
    CREATE INDEX windows_by_day ON windows USING brin (day);
    """,
)
"""Applied in order, each once; the database's version is how many were. `messages.sender` names a device's boot,
`day` is that of the message's newest frame or UNSYNCED: a property of the message itself, so that one sent again meets
its first copy. A day without a partition of its own is in messages_other until it gets one. `windows.day` is the one on
which a row was first stored: retention goes by it, while the partitions are days of `start`, a device's clock; what
these do not hold is in windows_other."""
DAY_S = 86400
_FILL = {"messages": 100, "windows": 70}
"""Percent of a page that insertions fill: a window is written some times more, beside itself if there is room."""
UNSYNCED = -1
"""`messages.day` where the device's clock was not set."""

LOCKS = 0x636C7073
"""First number of every advisory lock of ours but the shares', "clps"."""
LOCK_SCHEMA, LOCK_EXPIRE, LOCK_WORKER = 0, 1, 2
LOCK_SHARES = LOCKS + 1
"""First number of the shares' locks; the second is the share."""

INSERT_MESSAGES = """
INSERT INTO messages (sender, seq, day, seen)
SELECT * FROM unnest(%b::bytea[], %s::int8[], %s::int4[], %s::int8[]) ON CONFLICT DO NOTHING RETURNING sender, seq
"""
UPSERT_WINDOWS = f"""
INSERT INTO windows ({", ".join(_COLUMNS)})
SELECT * FROM unnest({", ".join(f"%s::{name}[]" for name in _TYPES)})
ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET changed = clock_timestamp(),
    {", ".join(f"{name} = windows.{name} + excluded.{name}" for name in SUMS)}
"""  # noqa: S608 - only constants
SELECT_WINDOWS = f"""
SELECT {", ".join((*_KEY, *SUMS))} FROM windows
WHERE site = %s AND room = %s AND start >= %s AND start < %s AND (synced OR %s) ORDER BY start, device, model
"""  # noqa: S608 - only constants
SELECT_RECENT = f"""
SELECT {", ".join((*_KEY, *SUMS))} FROM windows WHERE start >= %s AND day >= %s AND synced
"""  # noqa: S608 - only constants
SELECT_CHANGED = f"""
SELECT {", ".join((*_KEY, *SUMS))} FROM windows
WHERE start >= %s AND share = ANY(%s) AND changed >= clock_timestamp() - make_interval(secs => %s) AND synced
"""  # noqa: S608 - only constants
SELECT_DEVICES = "SELECT site, room, device, state, state_at, health, health_at FROM devices"
SELECT_WORKERS = """
SELECT count(DISTINCT pid) FROM pg_locks
WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def upsert_devices(word: str) -> str:
    """Notes devices' `state` or `health`; an older one does not replace a newer one, and the same keeps its time."""
    return f"""
INSERT INTO devices (site, room, device, share, {word}, {word}_at)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::int2[], %s::text[], %s::float8[])
ON CONFLICT (site, room, device) DO UPDATE SET
    {word}_at = CASE WHEN devices.{word} = excluded.{word} THEN devices.{word}_at ELSE excluded.{word}_at END,
    {word} = excluded.{word}
WHERE devices.{word}_at <= excluded.{word}_at
"""  # noqa: S608 - `word` is one of two constants


def partition(table: str, day: int) -> str:
    """The name of a day's partition of `messages` or `windows`."""
    return f"{table}_{day}"


def make_partition(table: str, day: int) -> str:
    """Gives a day a partition of its own, with what came before it had one. Lock the table first."""
    name, begin, end = partition(table, day), day * DAY_S, (day + 1) * DAY_S
    held, values = {
        "messages": (f"day = {day}", f"IN ({day})"),
        "windows": (f"start >= {begin} AND start < {end}", f"FROM ({begin}) TO ({end})"),
    }[table]
    return f"""
CREATE TABLE {name} (LIKE {table} INCLUDING ALL) WITH (fillfactor = {_FILL[table]});
WITH moved AS (DELETE FROM {table}_other WHERE {held} RETURNING *) INSERT INTO {name} SELECT * FROM moved;
ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES {values};
"""  # noqa: S608 - `table` is one of two constants, `day` a number


def drop_windows(day: int, limit: int) -> str:
    """Forgets a day's partition of windows, but what was stored on the day `limit` or later. Lock the table first."""
    name = partition("windows", day)
    return f"""
ALTER TABLE windows DETACH PARTITION {name};
INSERT INTO windows SELECT * FROM {name} WHERE day >= {limit};
DROP TABLE {name};
"""  # noqa: S608 - numbers


def share_of(room: Room) -> int:
    """The share that a room is in."""
    return crc32(f"{room.site}/{room.room}".encode()) % SHARES


def sender(device: Device, boot: str) -> bytes:
    """`messages.sender` of a device's boot: twelve bytes in place of four texts and a table of them."""
    return blake2b(f"{device.identity}/{boot}".encode(), digest_size=12).digest()
