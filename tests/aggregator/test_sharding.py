"""Rules of what an aggregator of several knows of its rooms."""

import pytest
from msgspec.structs import replace

from aggregator.analysis.mix import Estimator
from aggregator.analysis.rooms import Rooms
from aggregator.config import AttentionConfig
from aggregator.ingest.sharding import Sharding
from aggregator.store.postgresql_schema import SHARDS, shard_of
from aggregator.store.types import StoreUnavailableError
from aggregator.store.windows import NOTHING, Key
from contract.topics import Room

ROOMS = [Room("school", f"r{number}") for number in range(20)]


class Database:
    """Windows and shards as PostgreSQL would have them."""

    def __init__(self) -> None:
        self.ours = frozenset(range(SHARDS))
        self.rows: dict[Key, object] = {}
        self.away = False
        self.asked: list[int] = []

    def lock_shards(self):
        """Those of `ours`."""
        if self.away:
            raise StoreUnavailableError("database: away")
        return self.ours

    def check_clock(self):
        """It is this machine's."""

    def changed(self, shards, since, within_s):
        """All windows of these rooms."""
        self.asked.append(since)
        return [
            (key, sums)
            for key, sums in self.rows.items()
            if key.start >= since and shard_of(Room(key.site, key.room)) in shards
        ]

    def states(self, shards=None):
        """Nobody spoke."""
        return {}


@pytest.fixture
def rooms() -> Rooms:
    """Rooms without cards."""
    return Rooms(Estimator({}), AttentionConfig(enabled=False))


@pytest.fixture
def database(now) -> Database:
    """One window in each room."""
    made = Database()
    start = int(now) // 10 * 10
    made.rows = {Key(room.site, room.room, "cam", "", start): replace(NOTHING, frames=1, faces=7) for room in ROOMS}
    return made


def told(rooms: Rooms, now: float) -> dict[Room, int]:
    """Frames in the summaries that are due."""
    return {summary.where: summary.recent.frames for summary in rooms.due(now, 2.0) if summary.recent}


def test_only_rooms_of_our_shards_are_told_of(rooms, database, now):
    """The other rooms are another worker's."""
    database.ours = frozenset(range(SHARDS // 2))

    Sharding(database, rooms).refresh(now)

    assert set(told(rooms, now)) == {room for room in ROOMS if shard_of(room) < SHARDS // 2}
    assert 0 < len([room for room in ROOMS if shard_of(room) < SHARDS // 2]) < len(ROOMS)


def test_what_others_commit_replaces_what_was_known(rooms, database, now):
    """A window that is read again is not added to itself."""
    sharding = Sharding(database, rooms)
    sharding.refresh(now)
    sharding.refresh(now + 2)
    database.rows = {key: replace(sums, frames=3) for key, sums in database.rows.items()}

    sharding.refresh(now + 4)

    assert set(told(rooms, now + 4).values()) == {3}


def test_a_shard_that_is_given_up_is_told_of_no_more(rooms, database, now):
    """Another worker tells of its rooms from then on."""
    sharding = Sharding(database, rooms)
    sharding.refresh(now)
    database.ours = frozenset()

    sharding.refresh(now + 10)

    assert told(rooms, now + 10) == {}


def test_nothing_is_told_while_the_database_is_away_and_all_afterwards(rooms, database, now):
    """Session locks may be another worker's by then; afterwards whole lessons are read again."""
    sharding = Sharding(database, rooms)
    sharding.refresh(now)
    database.away = True
    sharding.refresh(now + 10)
    assert told(rooms, now + 10) == {}
    database.away = False

    sharding.refresh(now + 20)

    assert set(told(rooms, now + 20)) == set(ROOMS)
    assert database.asked[-1] < now - 1000
