"""Rules of the store in PostgreSQL, with several aggregators at it."""

import random
import threading
import time

import pytest

from aggregator.ingest.batch import RawMessage, read
from aggregator.store import postgresql_schema as sql
from aggregator.store.postgresql import PostgresqlStore
from aggregator.store.types import Batch, Note, StoreError, StoreUnavailableError
from aggregator.store.windows import SUM_COLUMNS
from contract.message import HORIZON_S
from contract.topics import Device
from tests.cluster.fleet import batch, message
from tests.health import health_at
from tests.system.broker import until

DAY_S = 86400


@pytest.fixture
def store(place):
    """A store of its own."""
    with PostgresqlStore(place.database, place.folder) as made:
        yield made


def total(store, device: Device) -> int:
    """Frames of the device's room."""
    rows = store.windows(device.site, device.room, 0, 2**40, unsynced=True)
    return sum(sums.frames for _, sums in rows)


def test_a_message_is_counted_once_however_often_it_comes(store, place):
    """In one batch, in two, and after others."""
    device, now = Device(place.name, "r1", "cam"), time.time()
    first, second = message(0, now), message(1, now)

    store.commit(batch(device, first, first))
    again = store.commit(batch(device, second, first))

    assert total(store, device) == 2
    assert (again.fresh, again.duplicates) == (1, 1)


def test_readings_are_the_last_health_of_each_minute(store, place):
    """As in SQLite: of two workers that commit the same one once."""
    device, minute = Device(place.name, "r1", "cam"), int(time.time()) // 60 * 60
    for second, small in ((5, 9.0), (35, 4.0), (35, 4.0), (65, 6.0)):
        faces = {"found": 20.0, "small": small, "unsure": 1.0, "read": 19.0 - small}
        store.commit(Batch(healths={device: (health_at(minute + second, faces=faces), minute + second + 1)}))

    told = {"found": 20.0, "small": 5.0, "unsure": 1.0, "read": 14.0}
    assert store.readings(device.where, minute, minute + 120) == told
    assert store.readings(device.where, minute + 120, minute + 999) == {}


def test_workers_with_the_same_messages_neither_deadlock_nor_count_twice(store, place):
    """Three workers commit the same messages at the same time, each in another order."""
    devices = [Device(place.name, f"r{index}", "cam") for index in range(20)]
    now, rounds = time.time(), 6
    items = [
        [
            RawMessage(device.topic("counts"), message(seq, now).to_json(), now)
            for device in devices
            for seq in range(at, at + 20)
        ]
        for at in range(0, 20 * rounds, 20)
    ]
    fresh: list[int] = []
    troubles: list[StoreError] = []
    together = threading.Barrier(3)

    def work(number: int) -> None:
        with PostgresqlStore(place.database, place.folder) as own:
            for each in items:
                mixed = read(random.Random(number).sample(each, len(each)))  # noqa: S311 - no secret
                together.wait(60)
                try:
                    fresh.append(own.commit(mixed).fresh)
                except StoreError as error:
                    troubles.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert not troubles
    assert sum(fresh) == sum(total(store, device) for device in devices) == 400 * rounds


def test_days_get_partitions_and_their_messages_go_with_the_horizon(store, place):
    """A message sent again meets its first copy before and after its day has a partition; past the horizon both go."""
    device, now = Device(place.name, "r1", "cam"), time.time()
    old, new, unset = message(0, now - 5 * DAY_S), message(1, now), message(2, 1000.0, synced=False)
    store.commit(batch(device, old, new, unset))
    in_default = store._rows("SELECT count(*) FROM messages_other")

    store.expire(now, 90)
    again = store.commit(batch(device, old, new, unset))

    assert in_default == [(3,)]
    assert store._rows("SELECT count(*) FROM messages_other") == [(1,)], "only what has no day"
    assert again.fresh == 0
    store.expire(now + 2 * DAY_S + 1, 90)  # the old message is just past the horizon, within the day to spare
    assert store._rows("SELECT count(*) FROM messages") == [(3,)]
    for _ in range(20):  # a day each time
        store.expire(now + HORIZON_S + 3 * DAY_S, 90)
    assert store._rows("SELECT count(*) FROM messages") == [(0,)]


def test_one_expiry_deletes_one_day_at_most(store, place):
    """A clock that jumped by more than a year, here and on every device, costs the oldest day of windows, not all."""
    device, now = Device(place.name, "r1", "cam"), time.time()
    for day in range(5):
        at = now + day * DAY_S
        store.expire(at, 90)
        store.commit(batch(device, message(day, at), received=at))

    store.expire(now + 400 * DAY_S, 90)
    after_one = total(store, device)
    for _ in range(20):
        store.expire(now + 400 * DAY_S, 90)

    assert (after_one, total(store, device)) == (4, 0)


def test_windows_past_retention_are_forgotten(store, place):
    """By the day on which they were stored."""
    device, now = Device(place.name, "r1", "cam"), time.time()
    store.commit(batch(device, message(0, now - 3 * DAY_S), received=now - 3 * DAY_S))
    store.commit(batch(device, message(1, now)))

    assert store.expire(now, 2) == 1
    assert total(store, device) == 1


def test_a_day_of_windows_is_dropped_as_a_whole_but_for_what_came_later(store, place):
    """Retention goes by the day on which a window was stored, the partition by the device's clock."""
    now = time.time()
    early, late = Device(place.name, "r1", "cam"), Device(place.name, "r2", "cam")
    store.expire(now, 2)
    tomorrow = now + DAY_S
    store.commit(batch(early, message(0, tomorrow), received=tomorrow))
    store.commit(batch(late, message(0, tomorrow), received=tomorrow + 4 * DAY_S))
    name = f"windows_{int(tomorrow // DAY_S)}"
    assert store._rows("SELECT DISTINCT tableoid::regclass::text FROM windows") == [(name,)]

    store.expire(tomorrow + 3 * DAY_S, 2)

    assert store._rows("SELECT to_regclass(?)", name) == [(None,)]
    assert (total(store, early), total(store, late)) == (0, 1)
    assert store.expire(tomorrow + 7 * DAY_S, 2) == 1
    assert total(store, late) == 0


def test_retention_does_not_wait_behind_a_long_reader(store, place):
    """Workers would wait behind it: the hour's turn is left out, and nothing is lost of what it would have done."""
    now = time.time()
    reader = PostgresqlStore(place.database, place.folder, writable=False)
    with reader, reader._connected() as db, db.transaction():
        db.execute("SELECT count(*) FROM windows")
        begun = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            store.expire(now, 90)
        assert time.monotonic() - begun < 15, "every other question waits 20 s for a lock"
    store.expire(now, 90)
    assert store._rows("SELECT to_regclass(?)", f"windows_{int(now // DAY_S) + 1}") != [(None,)]


def test_tables_of_the_version_before_keep_their_windows(place):
    """A window of before goes on growing after the migration, and is forgotten in its time."""
    device, now = Device(place.name, "r1", "cam"), float(int(time.time() // 10 * 10))
    with place.administration() as db:
        db.execute(sql.MIGRATIONS[0])
        db.execute("CREATE TABLE classpulse_schema (version integer NOT NULL)")
        db.execute("INSERT INTO classpulse_schema VALUES (1)")
        values = {"site": place.name, "room": "r1", "device": "cam", "model": "3f9c1a77", "synced": True, "share": 0}
        values |= {"start": int(now), "day": int(now // DAY_S)} | dict.fromkeys(SUM_COLUMNS, 1)
        db.execute(
            f"INSERT INTO windows ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})",  # noqa: S608 - names
            list(values.values()),
        )

    with PostgresqlStore(place.database, place.folder) as store:
        store.commit(batch(device, message(0, now)))
        assert total(store, device) == 2
        store.expire(now, 90)
        assert total(store, device) == 2
        assert store.expire(now + 92 * DAY_S, 90) == 1


def test_notes_and_lessons_are_kept_and_their_writer_is_no_worker(store, place):
    """Two people who press at once are both kept; the page's moment of writing takes no worker's shards."""
    room, now = Device(place.name, "r1", "cam").where, float(int(time.time()))
    both = [Note(now, "mark", "group work", "anna"), Note(now, "mark", "group work", "ben")]
    assert len(store.lock_shards()) == sql.SHARDS
    with PostgresqlStore(place.database, place.folder) as page:
        for note in both:
            page.add_note(room, note)
        page.keep_lessons(room, 0, {1: "a", 2: "b"})
        page.keep_lessons(room, 2, {3: "c"})
        assert len(store.lock_shards()) == sql.SHARDS

    assert sorted(store.notes(room, now, now + 1)) == both
    assert store.lessons(room) == ["a", "c"]
    store.expire(now + 91 * DAY_S, 90)
    assert store.notes(room, 0, now + 1) == []


def test_several_may_make_the_tables_at_once(place):
    """Workers of a new cluster start together."""
    troubles: list[StoreError] = []

    def start() -> None:
        try:
            PostgresqlStore(place.database, place.folder).__exit__()
        except StoreError as error:
            troubles.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert not troubles


def test_a_reader_makes_no_tables_and_waits_for_the_daemons(place):
    """As with an empty SQLite file: a page that starts before the first worker is told to come again."""
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="no tables; the daemon may be about to make them"):
            PostgresqlStore(place.database, place.folder, writable=False)


def test_a_reader_waits_for_older_tables_to_be_migrated(store, place):
    """A page that was upgraded before its worker is told to come again; newer tables it refuses for good."""
    store._rows("UPDATE classpulse_schema SET version = version - 1 RETURNING version")
    with pytest.raises(StoreUnavailableError, match="older version; the daemon may be about to migrate"):
        PostgresqlStore(place.database, place.folder, writable=False)

    store._rows("UPDATE classpulse_schema SET version = version + 2 RETURNING version")
    with pytest.raises(StoreError, match="install the newer aggregator") as caught:
        PostgresqlStore(place.database, place.folder, writable=False)
    assert not isinstance(caught.value, StoreUnavailableError)


def test_the_store_comes_back_with_the_database(store, place, postgres):
    """What is committed while it restarts fails as unavailable, and can be committed afterwards."""
    device, now = Device(place.name, "r1", "cam"), time.time()
    postgres.stop()

    with pytest.raises(StoreUnavailableError):
        store.commit(batch(device, message(0, now)))
    postgres.start()

    assert store.commit(batch(device, message(0, now))).fresh == 1


def test_shares_end_with_the_connection(store, place, postgres):
    """A worker that was away does not tell of rooms that another one took meanwhile."""
    store.lock_shards()
    postgres.stop()
    postgres.start()
    with PostgresqlStore(place.database, place.folder) as second:
        taken = second.lock_shards()
        with pytest.raises(StoreUnavailableError):
            store.lock_shards()

        mine = store.lock_shards()

        assert len(taken) == 64
        assert not mine & taken


def test_a_share_is_dealt_to_one_worker(store, place):
    """A second worker gets half, and a store that only reads gets and counts for nothing."""
    assert len(store.lock_shards()) == 64

    with (
        PostgresqlStore(place.database, place.folder) as second,
        PostgresqlStore(place.database, place.folder, writable=False),
    ):
        second.lock_shards()
        mine, others = store.lock_shards(), second.lock_shards()

        assert (len(mine), len(others)) == (32, 32)
        assert not mine & others
    until(lambda: len(store.lock_shards()) == 64, "the shards of the worker that ended")


def test_an_older_word_does_not_replace_a_newer_one(store, place):
    """A backlog of states that is committed late by another worker changes nothing."""
    device = Device(place.name, "r1", "cam")
    ready = b'{"state":"ready","reason":"","version":"1","model":null,"schema":1,"min_faces":5,"boot":"9f3a2c41"}'
    lost = ready.replace(b"ready", b"lost")

    store.commit(read([RawMessage(device.topic("state"), lost, 200.0)]))
    store.commit(read([RawMessage(device.topic("state"), ready, 100.0)]))

    spoken = store.states()[device]
    assert (spoken.state.state, spoken.state_at) == ("lost", 200.0)


def test_days_may_get_their_partitions_while_workers_insert(store, place):
    """Nobody fails because the place of a message changes under way, and nothing is counted twice."""
    now = time.time()
    ended = threading.Event()
    troubles: list[StoreError] = []
    counted: list[int] = []

    def work(number: int) -> None:
        device, seq = Device(place.name, f"r{number}", "cam"), 0
        with PostgresqlStore(place.database, place.folder) as own:
            while not ended.is_set():
                sent = batch(device, *(message(seq + each, now + (1 - each % 6) * DAY_S) for each in range(30)))
                try:
                    counted.append(own.commit(sent).fresh + own.commit(sent).fresh)
                except StoreError as error:
                    troubles.append(error)
                seq += 30

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(counted) > 20, "commits")
    store.expire(now, 90)
    until(lambda: len(counted) > 60, "more commits")
    ended.set()
    for thread in threads:
        thread.join(60)

    assert not troubles
    assert store._rows("SELECT count(*) FROM messages") == [(sum(counted),)]
    assert store._rows("SELECT count(*) FROM messages_other") == [(0,)]
    assert store._rows("SELECT sum(frames)::bigint FROM windows") == [(sum(counted),)]
    assert store._rows("SELECT count(*) > 0 FROM windows_other WHERE start >= ?", int(now // DAY_S + 1) * DAY_S) == [
        (False,)
    ]
