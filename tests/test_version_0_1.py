"""What version 0.1 left on disk is read: the files in data/v0.1, which data/make_v01.py made."""

import json
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from aggregator.ingest.batch import RawMessage, read
from aggregator.store.sqlite import SqliteStore
from contract.message import CountsMessage, Health, State
from contract.topics import Device
from edge.config import OutboxConfig
from edge.uplink.outbox import Outbox

FILES = Path(__file__).parent / "data/v0.1"
EXPECTED = json.loads((FILES / "expected.json").read_text())
ROOM = Device("school", "r1", "cam")
"""Where the outbox was."""


@pytest.fixture
def outbox(tmp_path):
    """The device's outbox, opened by a new start."""
    opened = Outbox(Path(shutil.copy(FILES / "outbox.sqlite", tmp_path)), OutboxConfig(), "ffffffff", 0.0)
    opened.connected()
    yield opened
    opened.close(2.0)


@pytest.fixture
def store(tmp_path):
    """The aggregator's store."""
    with SqliteStore(Path(shutil.copy(FILES / "store.sqlite", tmp_path))) as opened:
        yield opened


def waiting(outbox):
    """The payloads that the outbox would send now."""
    return [message.payload for message in iter(lambda: outbox.next_saved(0.0), None)]


def windows(store):
    """All windows of the store, as rows of numbers and texts."""
    rooms = ("r1", "r2", "hall")
    found = [pair for room in rooms for pair in store.windows("school", room, 0, 2**40, unsynced=True)]
    return sorted(
        [*key, sums.frames, sums.withheld, sums.faces, sums.unsure, *sums.counts, *sums.expected] for key, sums in found
    )


def commit(store, device, payloads):
    """Let the store have these messages of a device, as if they came a second after they were taken."""
    frames = (json.loads(payload)["frames"] for payload in payloads)
    received = [datetime.fromisoformat(each[-1]["t"]).timestamp() + 1 for each in frames]
    items = [RawMessage(device.topic("counts"), *each) for each in zip(payloads, received, strict=True)]
    return store.commit(read(items))


def test_an_outbox_gives_every_message_byte_for_byte(outbox):
    """Of three starts, of which one had no clock and of another the beginning was confirmed; oldest first."""
    sent = waiting(outbox)

    assert sent == [payload.encode() for _, _, payload in EXPECTED["outbox"]]
    assert {CountsMessage.from_json(each).synced for each in sent} == {True, False}
    assert not outbox.dropped


def test_an_outbox_forgets_what_is_confirmed(outbox):
    """By boot and seq, as for messages of its own."""
    last = {boot: seq for boot, seq, _ in EXPECTED["outbox"]}
    first_boot = EXPECTED["outbox"][0][0]

    outbox.confirm({first_boot: last.pop(first_boot)})
    outbox.tick(1.0)
    assert outbox.first(1.0).keys() == last.keys() | {"ffffffff"}

    outbox.confirm(last)
    outbox.tick(2.0)
    assert outbox.messages == 0


def test_a_store_gives_every_window(store):
    """Withheld frames, frames without emotions and unset clocks among them."""
    assert windows(store) == sorted(EXPECTED["windows"])


def test_a_store_that_no_newer_daemon_opened_has_no_readings_notes_and_lessons(tmp_path):
    """Its report can be made all the same."""
    path = Path(shutil.copy(FILES / "store.sqlite", tmp_path))
    with SqliteStore(path, writable=False) as opened:
        assert opened.readings(ROOM.where, 0, 2**40) == {}
        assert (opened.notes(ROOM.where, 0, 2**40), opened.lessons(ROOM.where)) == ([], [])


def test_a_store_gives_what_the_devices_said_last(store):
    """State, health, and which messages are stored."""
    states = store.states()

    assert states[ROOM].state.state == "ready"
    assert states[ROOM].health.confirm == "stored"
    for room in EXPECTED["rooms"]:
        device = Device(*room["device"])
        assert states[device].state == State.from_json(room["state"].encode())
        assert states[device].health == Health.from_json(room["health"].encode())
        assert store.stored(device) == room["stored"]
    assert len(states) == 1 + len(EXPECTED["rooms"])


def test_a_store_knows_the_messages_again(store):
    """Nothing that version 0.1 counted is counted twice; what it lacked is added."""
    before = windows(store)
    for room in EXPECTED["rooms"]:
        payloads = [payload.encode() for payload in room["messages"]]
        assert commit(store, Device(*room["device"]), payloads).fresh == 0
    assert windows(store) == before

    left = [payload.encode() for _, _, payload in EXPECTED["outbox"]]
    again = commit(store, ROOM, left)
    assert (again.duplicates, again.fresh) == (
        EXPECTED["outbox_stored_too"],
        len(left) - EXPECTED["outbox_stored_too"],
    )
    assert again.duplicates
    assert again.fresh
