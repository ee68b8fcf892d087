"""Rules of reading what came from the broker."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.ingest.batch import RawMessage, read
from aggregator.store.types import MessageId
from contract.message import HORIZON_S, MAX_BYTES
from contract.topics import Device, TopicError

DEVICE = Device("school", "r1", "cam")
NOW = 1_795_000_000.0
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FRAME = {
    "t": "2026-11-18T11:06:40.000Z",
    "faces": 1,
    "unsure": 0,
    "counts": dict.fromkeys(LABELS, 0) | {"happy": 1},
    "expected": dict.fromkeys(LABELS, 0.0) | {"happy": 0.9},
}
GOOD = {"schema": 1, "boot": "9f3a2c41", "seq": 7, "model": "3f9c1a77", "clock": "synced", "frames": [FRAME]}


def broken(**changes: object) -> bytes:
    """A message that is good but for `changes`."""
    return json.dumps(GOOD | changes).encode()


def first_frame(**changes: object) -> bytes:
    """The same with changes in its frame."""
    return broken(frames=[FRAME | changes])


BROKEN = {
    "nothing": (b"", "empty"),
    "huge": (b" " * (MAX_BYTES + 1), "huge"),
    "not UTF-8": (b"\xff\xfe{}", "encoding"),
    "not JSON": (b"{", "json"),
    "NaN": (b'{"schema":NaN}', "json"),
    "deep": (b"[" * 50_000, "json"),
    "an array": (b"[]", "json"),
    "another schema": (broken(schema=2), "schema"),
    "no schema": (b"{}", "schema"),
    "true for 1": (broken(schema=True), "schema"),
    "one field more": (broken(face_ids=[1]), "field"),
    "boot of markup": (broken(boot="<script>"), "field"),
    "no frames": (broken(frames=[]), "field"),
    "time of another form": (first_frame(t="yesterday"), "field"),
    "31 February": (first_frame(t="2026-02-31T00:00:00.000Z"), "field"),
    "negative count": (first_frame(counts=FRAME["counts"] | {"sad": -1}), "counts"),
    "more faces than found": (first_frame(faces=0), "counts"),
    "expected above faces": (first_frame(expected=dict.fromkeys(FRAME["expected"], 1.0)), "counts"),
    "an unknown label": (first_frame(counts={"bored": 1}), "counts"),
    "a fraction of a face": (first_frame(faces=1.5), "counts"),
    "seq beyond whole numbers": (broken(seq=2**60), "counts"),
}


@pytest.mark.parametrize(("payload", "reason"), BROKEN.values(), ids=BROKEN)
def test_broken_payloads_are_dropped_and_counted_by_reason(payload, reason, item, message):
    """What cannot be read is complained about once, and its good neighbours are kept."""
    batch = read([RawMessage(DEVICE.topic("counts"), payload, NOW), item(DEVICE, message(8))])

    assert [rejected.reason for rejected in batch.rejected] == [reason]
    assert [arrival.message.seq for arrival in batch.counts] == [8]


@pytest.mark.parametrize(
    "topic",
    [
        "classpulse/1/school/r1/<b>cam</b>/counts",
        "classpulse/1/school/r1/cam/counts/more",
        "classpulse/2/school/r1/cam/counts",
        "classpulse/1/school//cam/counts",
        "classpulse/1/school/r1/cam/stored",
        "\0",
        "",
    ],
)
def test_topics_that_are_none_of_ours_are_dropped(topic):
    """An id with markup in it, or a topic of another shape, gets no further."""
    batch = read([RawMessage(topic, json.dumps(GOOD).encode(), NOW)])

    assert [rejected.reason for rejected in batch.rejected] == ["topic"]
    assert not batch.counts


def test_a_message_beyond_the_horizon_is_too_old(item, message, counted):
    """Its name may have been forgotten, so it could be counted twice."""
    at_limit, beyond = NOW - HORIZON_S + 1, NOW - HORIZON_S - 1

    batch = read([item(DEVICE, message(0, counted(at_limit, 1))), item(DEVICE, message(1, counted(beyond, 1)))])

    assert [rejected.reason for rejected in batch.rejected] == ["too_old"]
    assert [arrival.message.seq for arrival in batch.counts] == [0]


def test_a_clock_that_is_not_set_cannot_be_too_old(item, message, counted):
    """An unsynced message is kept whatever its time: it is part of no lesson anyhow."""
    batch = read([item(DEVICE, message(0, counted(0.0, 1), synced=False))])

    assert len(batch.counts) == 1
    assert not batch.rejected


def test_what_is_wrong_for_ever_is_settled_by_name():
    """A message with impossible counts is confirmed uncounted: sending it again would not help."""
    batch = read([RawMessage(DEVICE.topic("counts"), first_frame(faces=0), NOW)])

    assert batch.settled == [MessageId(DEVICE, "9f3a2c41", 7, NOW)]


@pytest.mark.parametrize("payload", [broken(schema=2), broken(boot="<script>"), broken(seq=-1), b"{"])
def test_what_another_aggregator_may_read_or_has_no_name_is_not_settled(payload):
    """A newer schema waits on the device until the aggregator is upgraded."""
    assert read([RawMessage(DEVICE.topic("counts"), payload, NOW)]).settled == []


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(["counts", "state", "health", "stored", "set", "<b>"])


@st.composite
def nearly_good(draw):
    """A good message with one place changed to anything."""
    fields = json.loads(json.dumps(GOOD))
    place = draw(st.sampled_from([fields, fields["frames"][0], fields["frames"][0]["counts"]]))
    place[draw(st.sampled_from(sorted(place)))] = draw(ANYTHING)
    return json.dumps(fields).encode()


@given(
    st.lists(st.tuples(KINDS, st.binary(max_size=200) | nearly_good() | ANYTHING.map(lambda x: json.dumps(x).encode())))
)
def test_no_bytes_stop_the_reading(payloads):
    """Whatever arrives is kept or complained about, one for one, and never raises."""
    items = [RawMessage(f"classpulse/1/school/r1/cam/{kind}", payload, NOW) for kind, payload in payloads]

    batch = read(items)

    assert len(batch.rejected) + len(batch.counts) + len(batch.states) + len(batch.healths) <= len(items)
    assert all(rejected.text for rejected in batch.rejected)


def test_a_device_is_named_by_legal_ids_only():
    """What could be markup or a path never becomes a Device."""
    with pytest.raises(TopicError, match="<script>"):
        Device("school", "<script>", "cam")
