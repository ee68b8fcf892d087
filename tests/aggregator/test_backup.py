"""A backup, and what a restored one tells of itself."""

from datetime import UTC, datetime, timedelta

import pytest

from aggregator.commands.backup import backup
from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import Batch, StoreError
from tests.health import health_at

TODAY = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)


def test_a_backup_is_made_while_the_daemon_writes_and_tells_the_hole_after_its_return(
    store, keep, message, device, now, tmp_path
):
    """Restored, it has all windows of its moment; what came later is told as lost when the device speaks of it."""
    keep(*map(message, range(10)))
    made = backup(tmp_path / "store.sqlite", tmp_path / "backups", TODAY)
    keep(*map(message, range(10, 16)))
    said = health_at(now, outbox_first={"9f3a2c41": 16})

    with SqliteStore(made) as restored:
        windows = dict(restored.windows("school", "r1", 0, int(now) + 100))
        lost = restored.commit(Batch(healths={device: (said, now)})).lost

    assert made == tmp_path / "backups" / "store-2026-11-26.sqlite"
    assert sum(sums.frames for sums in windows.values()) == 10
    assert lost == {device: 6}


def test_the_newest_fourteen_backups_are_kept_whatever_the_clock_says(store, tmp_path):
    """A day of a clock that is a year ahead costs the oldest backup, not all of them."""
    folder = tmp_path / "backups"
    for day in range(20):
        backup(tmp_path / "store.sqlite", folder, TODAY + timedelta(days=day))
    backup(tmp_path / "store.sqlite", folder, TODAY + timedelta(days=400))
    backup(tmp_path / "store.sqlite", folder, TODAY + timedelta(days=400))

    days = [*range(7, 20), 400]
    assert sorted(path.name for path in folder.iterdir()) == [
        f"store-{TODAY + timedelta(days=day):%Y-%m-%d}.sqlite" for day in days
    ]


def test_an_interrupted_backup_is_no_backup(store, tmp_path):
    """Its file has another name, and the next attempt replaces it."""
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "unfinished").write_bytes(b"half a page")

    made = backup(tmp_path / "store.sqlite", folder, TODAY)

    assert list(folder.iterdir()) == [made]


def test_a_damaged_store_makes_no_backup(store, keep, message, counted, now, tmp_path):
    """The good backups of before are kept, and somebody hears of it."""
    keep(*(message(seq, counted(now + 10 * seq, 1)) for seq in range(500)))
    store.__exit__()
    path = tmp_path / "store.sqlite"
    content = bytearray(path.read_bytes())
    content[5 * 4096 : 9 * 4096] = bytes(4 * 4096)
    path.write_bytes(content)

    with pytest.raises(StoreError, match="damaged"):
        backup(path, tmp_path / "backups", TODAY)

    assert not list((tmp_path / "backups").glob("store-*"))


def test_a_store_that_is_missing_is_no_empty_backup(tmp_path):
    """A wrong path is said."""
    with pytest.raises(StoreError, match="missing"):
        backup(tmp_path / "missing.sqlite", tmp_path / "backups", TODAY)

    assert not list((tmp_path / "backups").iterdir())
