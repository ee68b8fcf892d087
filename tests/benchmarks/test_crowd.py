"""What the simulated devices say, without any broker."""

import time

from aggregator.ingest.batch import RawMessage, read
from aggregator.store.windows import Key, Sums, add, fold
from benchmarks.fleet import truth
from benchmarks.fleet.crowd import Crowd, Message, Plan

BEGAN = time.time()


def everything(plan: Plan) -> tuple[Crowd, list[Message]]:
    """A crowd that has said all, and the messages in the order of sending."""
    crowd, said, now = Crowd(plan), [], BEGAN
    crowd.begin(BEGAN)
    while not crowd.done:
        said.extend(crowd.due(now, 50))
        now += 0.5
    return crowd, said


def windows(messages: list[Message]) -> dict[Key, Sums]:
    """What the aggregator makes of them if it takes each once."""
    batch = read([RawMessage(each.topic, each.payload, BEGAN) for each in messages])
    held: dict[Key, Sums] = {}
    for arrival in {(each.device, each.message.boot, each.message.seq): each for each in batch.counts}.values():
        for key, sums in fold(arrival.device, arrival.message).items():
            add(held, key, sums)
    return held


def test_the_truth_is_each_message_once():
    """However many are doubled, late or broken."""
    plan = Plan(devices=7, rate_hz=2, frames=3, messages=500, duplicates=0.2, late=0.2, broken=0.1)
    crowd, said = everything(plan)

    assert crowd.truth == windows(said)
    assert sum(sums.frames for sums in crowd.truth.values()) == 1500
    assert len(said) == 500 + crowd.duplicates + crowd.broken


def test_a_duplicate_is_byte_identical_and_a_late_message_is_overtaken():
    """As an outbox sends them."""
    crowd, said = everything(Plan(devices=3, rate_hz=2, frames=1, messages=300, duplicates=0.2, late=0.2))
    by_name: dict[tuple[int, int], set[bytes]] = {}
    for each in said:
        by_name.setdefault((each.device, each.seq), set()).add(each.payload)
    first = [each.seq for each in said if each.device == 0]

    assert crowd.duplicates > 20
    assert all(len(payloads) == 1 for payloads in by_name.values())
    assert first != sorted(first)


def test_no_broken_message_can_be_read():
    """Each kind gives another reason, and none a window."""
    crowd, said = everything(Plan(devices=3, rate_hz=2, frames=1, messages=160, broken=0.5))
    broken = [each for each in said if each.seq < 0]
    batch = read([RawMessage(each.topic, each.payload, BEGAN) for each in broken])

    assert len(batch.rejected) == len(broken) == crowd.broken > 40
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
    crowd, _ = everything(Plan(devices=3, rate_hz=2, frames=1, messages=50))

    truth.write(tmp_path / "truth.csv", crowd.truth)

    assert truth.read(tmp_path / "truth.csv") == crowd.truth
