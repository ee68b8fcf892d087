"""Rules of the store."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from aggregator.ingest.batch import RawMessage, read
from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import Arrival, Batch, StoreError
from aggregator.store.windows import Key
from contract.message import HORIZON_S, CountsMessage, FrameCounts, State, instant, utc
from contract.topics import Device
from tests.health import health_at
from tests.needs import bound_by_modes

BOOT = "9f3a2c41"


def health(now, outbox_first, **changes):
    """A health of a device that is well, holding from `outbox_first` on."""
    known = {"latency_ms": {"detect": (50.0, 61.0)}, "outbox_first": outbox_first}
    return health_at(now, **known | changes)


def happy(store, now, **options):
    """Happy faces in the room around `now`."""
    return sum(sums.counts[3] for _, sums in store.windows("school", "r1", int(now) - 100, int(now) + 100, **options))


def test_a_message_is_counted_once_however_often_it_comes(store, keep, message, now):
    """In one batch, in two, and after others: the same name counts once."""
    keep(message(0), message(0))
    keep(message(1))
    again = keep(message(0), message(1), message(2))

    assert happy(store, now) == 3
    assert (again.fresh, again.duplicates) == (1, 2)


def test_a_batch_that_fails_half_way_leaves_nothing_behind(store, device, item, message, now, tmp_path):
    """Windows, ids of messages and states are one transaction: it fails at the state, and then succeeds."""
    state = State(state="ready", reason="", version="1", model=None, min_faces=5, boot=BOOT)
    batch = read([item(device, message(0)), RawMessage(device.topic("state"), state.to_json(), now)])
    with sqlite3.connect(tmp_path / "store.sqlite") as db:
        db.execute("CREATE TRIGGER failing BEFORE INSERT ON devices BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(StoreError):
        store.commit(batch)
    assert happy(store, now) == 0
    assert store.stored(device) == {}
    with sqlite3.connect(tmp_path / "store.sqlite") as db:
        db.execute("DROP TRIGGER failing")

    assert store.commit(batch).fresh == 1
    assert happy(store, now) == 1


def test_boots_have_a_seq_each(store, keep, message, now):
    """After a restart of the daemon seq begins at 0 and is not a duplicate."""
    keep(message(0), message(0, boot="00000001"))

    assert happy(store, now) == 2


def test_rooms_and_models_have_windows_of_their_own(store, item, message, now, device):
    """Nothing of one room, device or model is added to another's."""
    other_model = structs.replace(message(1), model="00000000")
    neighbour = Device("school", "r2", "cam")

    store.commit(read([item(device, message(0)), item(device, other_model), item(neighbour, message(0))]))

    assert len(store.windows("school", "r1", 0, int(now) + 100)) == 2
    assert len(store.windows("school", "r2", 0, int(now) + 100)) == 1


def test_a_window_comes_back_as_it_was_summed(store, keep, message, counted, now):
    """Every sum survives the file, each in its place."""
    keep(message(0, counted(now, 1, 2, 3, 4, 5, 6, 7, unsure=8), FrameCounts(t=instant(utc(now)), withheld=True)))

    ((key, sums),) = store.windows("school", "r1", int(now), int(now) + 10)

    assert key == Key("school", "r1", "cam", "3f9c1a77", int(now))
    assert (sums.frames, sums.withheld, sums.faces, sums.unsure) == (2, 1, 36, 8)
    assert sums.counts == (1, 2, 3, 4, 5, 6, 7)
    assert sums.expected == (90, 190, 290, 390, 490, 590, 690)


def test_unsynced_windows_are_shown_only_to_who_asks(store, keep, message, now):
    """Frames of a clock that is not set are stored, but no part of a lesson."""
    keep(message(0, synced=False))

    assert happy(store, now) == 0
    assert happy(store, now, unsynced=True) == 1


def test_stored_stops_below_the_first_gap(store, keep, message, device):
    """The device deletes what is at or below the mark, so nothing missing may lie there."""
    keep(message(1), message(2))
    assert store.stored(device) == {}

    keep(message(0), message(4))
    assert store.stored(device) == {BOOT: 2}

    keep(message(3))
    assert store.stored(device) == {BOOT: 4}


def test_a_gap_that_the_device_gave_up_is_closed_by_its_health(store, keep, message, device, now):
    """What the outbox no longer holds will never come, and must not make it send the rest for ever."""
    keep(message(0), message(5), message(6))
    store.commit(Batch(healths={device: (health(now, {BOOT: 5}), now)}))

    assert store.stored(device) == {BOOT: 6}


@pytest.mark.parametrize(
    ("stored", "floors", "lost"),
    [
        ([0, 5, 6], [5], [4]),
        ([0, 5, 6], [5, 5, 7], [4, 0, 0]),
        ([0, 2, 4, 6], [7], [3]),
        ([0, 2, 4, 6], [3, 5, 7], [1, 1, 1]),
        ([0, 1, 2], [3, 10, 12], [0, 7, 2]),
        ([100, 101, 105], [100, 106], [0, 3]),
        ([], [100, 200], [0, 0]),
    ],
    ids=["hole", "once", "three holes", "one after the other", "at the end", "of another store", "nothing known"],
)
def test_a_message_that_will_never_come_is_told_as_lost_once(  # noqa: PLR0917 - fixtures
    store, keep, message, device, now, stored, floors, lost
):
    """Whatever lies between what is known and what the device still has; not what another store may have."""
    keep(*map(message, stored))

    told = [store.commit(Batch(healths={device: (health(now, {BOOT: floor}), now)})).lost for floor in floors]

    assert [each.get(device, 0) for each in told] == lost


def test_a_new_store_begins_where_the_outbox_begins(store, keep, message, device, now):
    """Behind another aggregator's store, seq 0 to 99 will never come."""
    keep(message(100), message(102))
    store.commit(Batch(healths={device: (health(now, {BOOT: 100}), now)}))

    assert store.stored(device) == {BOOT: 100}


def test_closing_a_gap_does_not_refuse_what_was_under_way(store, keep, message, device, now):
    """With PUBACK for confirmation, messages wait in the broker that the outbox holds no longer."""
    store.commit(Batch(healths={device: (health(now, {BOOT: 10}), now)}))
    keep(message(3))

    assert happy(store, now) == 1


def test_an_older_health_does_not_open_a_gap_again(store, keep, message, device, now):
    """What the broker retained may be older than what was said meanwhile."""
    keep(message(8))
    store.commit(Batch(healths={device: (health(now, {BOOT: 8}), now)}))
    store.commit(Batch(healths={device: (health(now, {BOOT: 2}), now)}))

    assert store.stored(device) == {BOOT: 8}


def test_stored_has_the_boots_that_were_seen_last(store, keep, message, device, now):
    """A device that restarts for ever makes no payload that brokers refuse."""
    for number in range(300):
        keep(message(0, boot=f"{number:08x}"), received=now + number)

    assert store.stored(device) == {f"{number:08x}": 0 for number in range(300 - 256, 300)}


def test_a_settled_message_is_confirmed_and_not_counted(store, device, item, message, now):
    """What can never be read must not hold back the confirmation of all that follows."""
    poison = item(device, message(1))
    poison = poison._replace(payload=poison.payload.replace(b'"faces":1', b'"faces":9'))
    store.commit(read([item(device, message(0)), poison, item(device, message(2))]))

    assert store.stored(device) == {BOOT: 2}
    assert happy(store, now) == 2


BATCHES = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=12),
        st.dictionaries(st.integers(0, 2), st.integers(0, 31), max_size=2),
    ),
    max_size=8,
)
"""Per batch: (boot, seq) of its messages, and what health says that the outbox begins with."""


@given(BATCHES)
def test_any_order_and_repetition_gives_the_truth(batches):
    """Totals are those of the distinct names, and nothing that may still come lies at or below the mark."""
    device, names, floors = Device("school", "r1", "cam"), set(), Counter()
    with TemporaryDirectory() as folder, SqliteStore(Path(folder) / "store.sqlite") as store:
        for messages, first in batches:
            said = health(0.0, {f"0000000{boot}": seq for boot, seq in first.items()})
            arrivals = [arrival(device, f"0000000{boot}", seq) for boot, seq in messages]
            store.commit(Batch(counts=arrivals, healths={device: (said, 0.0)} if first else {}))
            names |= set(messages)
            floors |= Counter(first)

        windows = dict(store.windows("school", "r1", 0, 1000))
        marks = store.stored(device)

    assert {key.start: sums.frames for key, sums in windows.items()} == Counter(seq // 10 * 10 for _, seq in names)
    for boot in range(3):
        awaited = next(seq for seq in range(floors[boot], 33) if (boot, seq) not in names)
        assert marks.get(f"0000000{boot}", -1) == awaited - 1


def arrival(device, boot, seq):
    """A message whose one frame lies in second `seq`."""
    message = CountsMessage(
        boot=boot, seq=seq, model=None, clock="synced", frames=(FrameCounts(t=instant(utc(seq)), withheld=True),)
    )
    return Arrival.of(device, message, 0.0)


def test_states_survive_and_keep_the_time_they_came(store, device, now):
    """A state that the broker retained and gives again did not happen again."""
    ready = State(state="ready", reason="", version="0.1", model=None, min_faces=5, boot=BOOT)
    store.commit(Batch(states={device: (ready, now)}))
    store.commit(Batch(states={device: (ready, now + 60)}))
    assert (store.states()[device].state, store.states()[device].state_at) == (ready, now)

    store.commit(Batch(states={device: (structs.replace(ready, state="lost"), now + 90)}))
    assert store.states()[device].state_at == now + 90
    assert store.states()[device].health is None


def test_health_survives(store, device, now):
    """Pages read the newest health from the store."""
    said = health(now, {BOOT: 4}, temperature_c=61.5)
    store.commit(Batch(healths={device: (said, now)}))

    assert store.states()[device].health == said


def test_retention_forgets_by_the_day_of_storing(store, keep, message, counted, now):
    """Old windows go, young ones stay, and a device's wrong clock changes neither."""
    keep(message(0))
    keep(message(1, counted(now + 10 * 365 * 86400, 0, 0, 0, 1)))
    keep(message(2, counted(now + 30 * 86400, 0, 0, 0, 1)), received=now + 30 * 86400)

    assert store.expire(now + 31 * 86400, retention_days=10) == 2
    assert happy(store, now) == 0
    assert happy(store, now + 30 * 86400) == 1


def test_one_expiry_deletes_one_day_at_most(store, keep, message, counted, device, now):
    """A clock that jumped by more than a year, here and on every device, costs the oldest day, not all windows."""
    days = range(5)
    for day in days:
        at = now + day * 86400
        keep(message(0, counted(at, 0, 0, 0, 1), boot=f"0000000{day}"), received=at)

    left, ids = [], []
    for _ in days:
        store.expire(now + 400 * 86400, retention_days=90)
        left.append(sum(happy(store, now + day * 86400) for day in days))
        ids.append(len(store.stored(device)))

    assert left == [4, 3, 2, 1, 0]
    assert ids == [4, 3, 2, 1, 0]


def test_names_are_kept_for_a_horizon(store, keep, message, device, now):
    """Within it a message that comes again is known; long after it the row is gone."""
    keep(message(0))

    store.expire(now + HORIZON_S - 1, retention_days=10_000)
    assert store.stored(device) == {BOOT: 0}

    store.expire(now + HORIZON_S + 3 * 86400, retention_days=10_000)
    assert store.stored(device) == {}


def test_a_store_of_a_newer_version_is_refused(tmp_path):
    """An older aggregator must not touch tables that it does not understand."""
    path = tmp_path / "store.sqlite"
    SqliteStore(path).__exit__()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")

    with pytest.raises(StoreError, match=r"store\.sqlite: a store of version 99.*only up to 1"):
        SqliteStore(path)


@pytest.mark.parametrize("content", [b"Dear diary, " * 1000, None], ids=["text", "another SQLite file"])
def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path, content):
    """A wrong path in the configuration must not cost another program's data."""
    path = tmp_path / "store.sqlite"
    if content is None:
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE diary (day)")
    else:
        path.write_bytes(content)
    before = path.read_bytes()

    with pytest.raises(StoreError, match=r"store\.sqlite: "):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_reader_makes_no_store(tmp_path):
    """A report for a path that is wrong is an error, not an empty lesson."""
    with pytest.raises(StoreError, match="missing"):
        SqliteStore(tmp_path / "missing.sqlite", writable=False)

    assert not list(tmp_path.iterdir())


def test_a_reader_sees_what_is_committed_while_the_writer_runs(store, keep, message, tmp_path, now):
    """Reports are made while the aggregator runs."""
    keep(message(0))

    with SqliteStore(tmp_path / "store.sqlite", writable=False) as reader:
        assert happy(reader, now) == 1
        keep(message(1))
        assert happy(reader, now) == 2


def test_a_commit_survives_kill_9(tmp_path, now):
    """What was committed before SIGKILL is there, whole batches only."""
    script = """
import sys
from aggregator.store.types import Arrival, Batch
from aggregator.store.sqlite import SqliteStore
from contract.message import CountsMessage, FrameCounts, instant, utc
from contract.topics import Device
from pathlib import Path
device, seq = Device("school", "r1", "cam"), 0
store = SqliteStore(Path(sys.argv[1]))
while True:
    names = range(seq, seq + 10)
    frames = (FrameCounts(t=instant(utc(0)), withheld=True),)
    messages = [CountsMessage(boot="9f3a2c41", seq=n, model=None, clock="synced", frames=frames) for n in names]
    store.commit(Batch(counts=[Arrival.of(device, message, 0.0) for message in messages]))
    seq += 10
    print(seq, flush=True)
"""
    path = tmp_path / "store.sqlite"
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True) as writer:
        told = [int(next(writer.stdout)) for _ in range(20)][-1]
        os.kill(writer.pid, signal.SIGKILL)
        told = [told, *(int(line) for line in writer.stdout)][-1]

    with SqliteStore(path) as store:
        ((_, sums),) = store.windows("school", "r1", 0, 10)
        mark = store.stored(Device("school", "r1", "cam"))[BOOT]
    assert sums.frames == mark + 1
    assert sums.frames % 10 == 0
    assert sums.frames - told in (0, 10)


def test_sqlite_is_told_to_wait_for_the_disk_at_every_commit(store):
    """FULL is 2; NORMAL, 1, would force the log of writes to the disk only now and then."""
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_every_commit_is_forced_to_the_disk(tmp_path):
    """A message is acknowledged after its commit: what the page cache alone has, a power cut takes."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    script = """
import sys
from pathlib import Path
from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import Arrival, Batch
from contract.message import CountsMessage, FrameCounts, instant, utc
from contract.topics import Device
frames = (FrameCounts(t=instant(utc(0)), withheld=True),)
with SqliteStore(Path(sys.argv[1])) as store:
    for seq in range(20):
        message = CountsMessage(boot="9f3a2c41", seq=seq, model=None, clock="synced", frames=frames)
        store.commit(Batch(counts=[Arrival.of(Device("school", "r1", "cam"), message, 0.0)]))
        print("committed", flush=True)
"""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-o", trace, "-e", "trace=fsync,fdatasync,write", sys.executable, "-c", script]
    traced = subprocess.run([*command, tmp_path / "store.sqlite"], check=False, capture_output=True, text=True)
    if "ptrace" in traced.stderr.lower():
        pytest.skip(f"strace may not trace here: {traced.stderr.splitlines()[0]}")

    assert traced.returncode == 0, traced.stderr
    commits = trace.read_text().split('"committed')[:-1]
    assert len(commits) == 20
    assert all("sync(" in commit for commit in commits)


def test_a_file_that_may_only_be_read_is_read_and_told_as_such(store, keep, message, now, tmp_path):
    """Nothing is lost of what others store meanwhile; the daemon would wait until it may write again."""
    keep(message(0))
    path = tmp_path / "store.sqlite"
    path.chmod(0o444)
    script = """
import sys
from pathlib import Path
from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import Note, ReadOnlyError, StoreUnavailableError
from contract.topics import Room
for writable in (True, False):
    with SqliteStore(Path(sys.argv[1]), writable=writable) as store:
        assert len(store.windows("school", "r1", 0, 2**40)) == 1
        try:
            store.add_note(Room("school", "r1"), Note(1.0, "mark", "group work", "anna"))
        except ReadOnlyError as error:
            assert isinstance(error, StoreUnavailableError)
            print(error)
"""

    ended = subprocess.run(
        [*bound_by_modes(), sys.executable, "-c", script, path], capture_output=True, text=True, check=False
    )

    assert ended.stderr == ""
    assert ended.stdout == f"{path}: this user cannot write it, or not the folder that it is in\n" * 2
    keep(message(1))
    assert happy(store, now) == 2


def faces(found, small, unsure):
    """As a health tells them."""
    return {"found": found, "small": small, "unsure": unsure, "read": found - small - unsure}


def test_readings_are_the_last_health_of_each_minute_of_every_device(store, device, now):
    """Means per device, added; a health without faces, one that came late, and other rooms leave them as they are."""
    two, other = Device("school", "r1", "two"), Device("school", "r2", "cam")
    start, room = int(now) // 60 * 60, device.where
    for second, figures in ((5, faces(9, 9, 0)), (35, faces(10, 4, 1)), (65, faces(20, 6, 3))):
        told = health(start + second, {}, faces=figures)
        store.commit(Batch(healths={device: (told, start + second + 1), two: (told, start + second + 1)}))
    store.commit(Batch(healths={device: (health(start + 70, {}), start + 70)}))
    store.commit(Batch(healths={device: (health(start + 10, {}, faces=faces(1, 1, 0)), start + 300)}))
    store.commit(Batch(healths={other: (health(start + 9, {}, faces=faces(5, 5, 0)), start + 9)}))

    assert store.readings(room, start + 30, start + 120) == {"found": 30, "small": 10, "unsure": 4, "read": 16}
    assert store.readings(room, start + 60, start + 120) == {"found": 40, "small": 12, "unsure": 6, "read": 22}
    assert store.readings(room, start + 120, start + 900) == {}


def test_readings_expire_with_the_windows(store, device, now):
    """A day at a time, as all else."""
    store.commit(Batch(healths={device: (health(now, {}, faces=faces(9, 1, 1)), now)}))

    store.expire(now + 30 * 86400, 90)
    assert store.readings(device.where, now, now + 60)
    store.expire(now + 91 * 86400, 90)
    assert not store.readings(device.where, now, now + 60)
