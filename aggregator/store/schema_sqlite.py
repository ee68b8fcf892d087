"""The store's tables, and the statements that are written once and used often."""

from contract.labels import EMOTIONS

VERSION = 1
"""Of the tables; kept in the file as user_version."""
APPLICATION = 0x636C7073
"""Marks the file as ours, "clps"; kept in the file as application_id."""

SUMS = ("frames", "withheld", "faces", "unsure", *EMOTIONS, *(f"expected_{label}" for label in EMOTIONS))
"""The columns of a window's sums, in the order of aggregator.window.Sums; expected in hundredths."""
_KEY = ("site", "room", "start", "device", "model", "synced")

CREATE = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE windows (
    site TEXT NOT NULL, room TEXT NOT NULL, start INTEGER NOT NULL, device TEXT NOT NULL, model TEXT NOT NULL,
    synced INTEGER NOT NULL, day INTEGER NOT NULL, {", ".join(f"{name} INTEGER NOT NULL" for name in SUMS)},
    PRIMARY KEY ({", ".join(_KEY)})
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
`boots.floor` is the lowest seq that the device may still send; `boots.seen` when it last spoke of the boot.
`ranges` holds every seq that was counted or refused for good."""

UPSERT_WINDOW = f"""
INSERT INTO windows ({", ".join(_KEY)}, day, {", ".join(SUMS)}) VALUES ({", ".join("?" * (len(_KEY) + 1 + len(SUMS)))})
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)}
"""  # noqa: S608 - only constants
SELECT_WINDOWS = f"""
SELECT {", ".join(_KEY)}, {", ".join(SUMS)} FROM windows
WHERE site = ? AND room = ? AND start >= ? AND start < ? AND synced >= ? ORDER BY start, device, model
"""  # noqa: S608 - only constants
SELECT_RECENT = f"""
SELECT {", ".join((*_KEY, *SUMS))} FROM windows WHERE start >= ?1 AND day >= ?1 / 86400 - 1 AND synced
"""  # noqa: S608 - only constants
UPSERT_BOOT = """
INSERT INTO boots (site, room, device, boot, floor, seen) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET floor = max(floor, excluded.floor), seen = max(seen, excluded.seen) RETURNING id
"""
SELECT_RANGES = "SELECT low, high FROM ranges WHERE boot_id = ? AND low <= ? AND high >= ? ORDER BY low"
SELECT_MARKS = """
SELECT boot, coalesce((SELECT high FROM ranges WHERE boot_id = id AND low <= floor AND high >= floor), floor - 1)
FROM boots WHERE site = ? AND room = ? AND device = ? ORDER BY seen DESC, id DESC LIMIT ?
"""


def upsert_device(word: str) -> str:
    """Notes a device's `state` or `health`; one that the broker retained and gives again keeps its time."""
    return f"""
INSERT INTO devices (site, room, device, {word}, {word}_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    {word}_at = CASE WHEN {word} IS excluded.{word} THEN {word}_at ELSE excluded.{word}_at END, {word} = excluded.{word}
"""  # noqa: S608 - `word` is one of two constants
