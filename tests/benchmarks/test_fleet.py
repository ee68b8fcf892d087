"""What the simulated devices say, without any broker."""

import time

from aggregator.ingest.batch import RawMessage, read
from aggregator.store.windows import Key, Sums, add, fold
from benchmarks.fleet import expected
from benchmarks.fleet.devices import Fleet, Message, Plan

BEGAN = time.time()


def everything(plan: Plan) -> tuple[Fleet, list[Message]]:
    """A fleet that has published all, and the messages in the order of sending."""
    fleet, published, now = Fleet(plan), [], BEGAN
    fleet.begin(BEGAN)
    while not fleet.done:
        published.extend(fleet.due(now, 50))
        now += 0.5
    return fleet, published


def windows(messages: list[Message]) -> dict[Key, Sums]:
    """What the aggregator makes of them if it takes each once."""
    batch = read([RawMessage(each.topic, each.payload, BEGAN) for each in messages])
    held: dict[Key, Sums] = {}
    for arrival in {(each.device, each.message.boot, each.message.seq): each for each in batch.counts}.values():
        for key, sums in fold(arrival.device, arrival.message).items():
            add(held, key, sums)
    return held


def test_the_truth_is_each_message_once():
    """However many are doubled, late or malformed."""
    plan = Plan(devices=7, rate_hz=2, frames=3, messages=500, duplicates=0.2, late=0.2, malformed=0.1)
    fleet, published = everything(plan)

    assert fleet.expected == windows(published)
    assert sum(sums.frames for sums in fleet.expected.values()) == 1500
    assert len(published) == 500 + fleet.duplicates + fleet.malformed


def test_a_duplicate_is_byte_identical_and_a_late_message_is_overtaken():
    """As an outbox sends them."""
    fleet, published = everything(Plan(devices=3, rate_hz=2, frames=1, messages=300, duplicates=0.2, late=0.2))
    by_name: dict[tuple[int, int], set[bytes]] = {}
    for each in published:
        by_name.setdefault((each.device, each.seq), set()).add(each.payload)
    first = [each.seq for each in published if each.device == 0]

    assert fleet.duplicates > 20
    assert all(len(payloads) == 1 for payloads in by_name.values())
    assert first != sorted(first)


def test_no_broken_message_can_be_read():
    """Each kind gives another reason, and none a window."""
    fleet, published = everything(Plan(devices=3, rate_hz=2, frames=1, messages=160, malformed=0.5))
    malformed = [each for each in published if each.seq < 0]
    batch = read([RawMessage(each.topic, each.payload, BEGAN) for each in malformed])

    assert len(batch.rejected) == len(malformed) == fleet.malformed > 40
    assert {each.reason for each in batch.rejected} == {
        "json",
        "empty",
        "encoding",
        "schema",
        "field",
        "huge",
        "topic",
    }
    assert not batch.counts


def test_a_truth_is_read_as_it_was_written(tmp_path):
    """Through its file."""
    fleet, _ = everything(Plan(devices=3, rate_hz=2, frames=1, messages=50))

    expected.write(tmp_path / "expected.csv", fleet.expected)

    assert expected.read(tmp_path / "expected.csv") == fleet.expected
