"""Windows as Parquet for a data team: `classpulse-aggregator export`. Only here pyarrow is imported."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from aggregator.analysis.mix import Row
from aggregator.commands.report import add_span, room_of, time_of
from aggregator.config import add_store, read_config
from aggregator.store.factory import open_store
from aggregator.store.types import Store
from aggregator.store.windows import sum_row
from contract.labels import EMOTIONS
from contract.topics import Room

_CHUNK_S = 24 * 3600
"""A day of a room is in memory at a time."""
SCHEMA = pa.schema(
    [
        ("site", pa.string()),
        ("room", pa.string()),
        ("device", pa.string()),
        ("model", pa.string()),
        ("start", pa.timestamp("s", tz="UTC")),
        ("synced", pa.bool_()),
        *((name, pa.int64()) for name in ("frames", "withheld", "faces", "unsure")),
        *((f"count_{label}", pa.int64()) for label in EMOTIONS),
        *((f"expected_{label}", pa.float64()) for label in EMOTIONS),
    ]
)
"""A row per window: `Key` and the sums over its frames, `expected` in faces."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the command its arguments."""
    add_span(parser)
    add_store(parser)
    parser.add_argument("--room", metavar="SITE/ROOM", help="default: all rooms")
    parser.add_argument("--out", type=Path, required=True, help="the file, such as windows.parquet")


def run(arguments: argparse.Namespace) -> int:
    """Write the file; the exit code."""
    start, end = time_of(arguments.start), time_of(arguments.end)
    only = room_of(arguments.room) if arguments.room else None
    config = read_config(arguments)
    with (
        open_store(config, writable=False) as store,
        parquet.ParquetWriter(arguments.out, SCHEMA, compression="zstd") as file,
    ):
        rooms = [only] if only else sorted({device.where for device in store.states()})
        written = sum(_write(file, rows) for room in rooms for rows in _days(store, room, start, end))
    print(f"{arguments.out}: {written} windows of {len(rooms)} rooms")
    return 0


def _days(store: Store, room: Room, start: int, end: int) -> Iterator[list[Row]]:
    for day in range(start, end, _CHUNK_S):
        yield store.windows(room.site, room.room, day, min(day + _CHUNK_S, end), unsynced=True)


def _write(file: parquet.ParquetWriter, rows: list[Row]) -> int:
    if rows:
        cents = len(EMOTIONS)
        whole = [(*key, *sum_row(sums)[:-cents], *(each / 100 for each in sums.expected)) for key, sums in rows]
        columns = (list(column) for column in zip(*whole, strict=True))
        file.write_table(pa.table(dict(zip(SCHEMA.names, columns, strict=True)), SCHEMA))
    return len(rows)
