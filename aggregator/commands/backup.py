"""`classpulse-aggregator backup`: copy the SQLite store while the daemon writes to it."""

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path

from aggregator.config import AggregatorConfig
from aggregator.store.sqlite import SqliteStore
from service.config import ConfigError, load

_KEEP = 14
"""Backups of a folder; the oldest by name go. Not by age: a wrong clock must not cost all of them."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the command its arguments."""
    parser.add_argument("--to", type=Path, help="folder, better on another disk; default: backups, beside the store")


def run(arguments: argparse.Namespace) -> int:
    """Make today's backup; the exit status."""
    config = load(arguments.config, AggregatorConfig)
    if config.postgresql is not None:
        raise ConfigError(f"{arguments.config}: [postgresql] is backed up with pg_dump, see docs/scaling.md")
    folder = arguments.to or config.store.path.parent / "backups"
    made = backup(config.store.path, folder, datetime.now(UTC))
    print(f"{made}: {made.stat().st_size} bytes, checked")
    return os.EX_OK


def backup(store: Path, folder: Path, now: datetime) -> Path:
    """Copy a store into a file named for the day, check the copy, and delete all but the newest copies.

    Raises:
        StoreError: If the store cannot be read, or the copy is damaged.
        OSError: If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made, part = folder / f"store-{now:%Y-%m-%d}.sqlite", folder / "unfinished"
    part.unlink(missing_ok=True)
    with SqliteStore(store, writable=False) as source:
        source.copy_to(part)
    part.replace(made)
    for old in sorted(folder.glob("store-????-??-??.sqlite"))[:-_KEEP]:
        old.unlink()
    return made
