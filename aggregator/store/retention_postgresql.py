"""What PostgreSQL forgets: messages and windows have a partition for each day, made ahead and dropped as a whole.

Deleting the rows of a big cluster's day would take minutes, in which its worker does nothing else, and leave as many
dead ones. Imports no client library: the caller brings the connection, and its transaction.
"""

from typing import TYPE_CHECKING

from aggregator.store import schema_postgresql as sql
from contract.message import HORIZON_S

if TYPE_CHECKING:
    import psycopg

_AHEAD_DAYS = 2
"""Days that get their partitions before they begin."""
_PATIENCE = "SET LOCAL lock_timeout = '3s'"
"""Everybody waits behind who waits for a whole table: rather an hour later than behind somebody's long export."""


def forget(db: "psycopg.Connection[tuple]", now: float, retention_days: int) -> int:
    """Forget messages after the horizon, windows and devices after `retention_days`; about the windows forgotten."""
    db.execute(_PATIENCE)
    today, limit = int(now // sql.DAY_S), int((now - retention_days * sql.DAY_S) // sql.DAY_S)
    first = int((now - HORIZON_S) // sql.DAY_S) - 1  # every older message would be refused; with a day to spare
    messages, windows = _days(db, "messages"), _days(db, "windows")
    # Today's windows lie somewhere already: to move them would take long. Those of clocks ahead are few.
    missing = [("messages", day) for day in range(first, today + _AHEAD_DAYS + 1) if day not in messages]
    missing += [("windows", day) for day in range(today + 1, today + _AHEAD_DAYS + 1) if day not in windows]
    gone = [day for day in windows if day < limit]
    if missing or gone:
        # all of it: an insertion that had chosen the default partition would fail once the day has its own
        db.execute("LOCK TABLE messages, windows IN ACCESS EXCLUSIVE MODE")
    for table, day in missing:
        db.execute(sql.make_partition(table, day))
    for day in (day for day in messages if day < first):
        db.execute(f"DROP TABLE {sql.partition('messages', day)}")
    forgotten = sum(_drop(db, day, limit) for day in gone)
    db.execute("DELETE FROM messages_other WHERE seen < %s", (int(now - HORIZON_S - sql.DAY_S),))
    db.execute("DELETE FROM devices WHERE greatest(state_at, health_at) < %s", (now - retention_days * sql.DAY_S,))
    return forgotten + db.execute("DELETE FROM windows_other WHERE day < %s", (limit,)).rowcount


def _days(db: "psycopg.Connection[tuple]", table: str) -> set[int]:
    """The days that have a partition."""
    rows = db.execute(
        "SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = %s::regclass", (table,)
    ).fetchall()
    endings = (name.rpartition("_")[2] for (name,) in rows)
    return {int(ending) for ending in endings if ending.isdigit()}


def _drop(db: "psycopg.Connection[tuple]", day: int, limit: int) -> int:
    """Forget a day of windows; about how many there were, as vacuum last counted."""
    name = sql.partition("windows", day)
    ((number,),) = db.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", (name,)).fetchall()
    db.execute(sql.drop_windows(day, limit))
    return max(0, int(number))
