"""docs/protocol.md says what the code does: its schemas take what is published and refuse what is refused."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from aggregator.analysis.attention import Event
from aggregator.analysis.mix import Estimator
from aggregator.analysis.rooms import RoomState
from aggregator.analysis.summary import Summary
from aggregator.config import AttentionConfig
from aggregator.ingest.daemon import own_state
from contract.labels import EMOTIONS
from contract.message import (
    COMMANDS,
    STATES,
    CountsMessage,
    FrameCounts,
    Health,
    MessageError,
    State,
    command_from_text,
    instant,
    stored_from_json,
    stored_to_json,
    utc,
)
from contract.topics import DEVICE_KINDS, Room

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
SCHEMAS = {
    kind: json.loads(text) for kind, text in re.findall(r"```json (\w+)\n(.*?)\n```", DOCUMENT.read_text(), re.DOTALL)
}
NOW = 1_795_000_000.0
ROOM = Room("school", "r1")


def check(kind, value):
    """Raises ValidationError."""
    jsonschema.validate(value, SCHEMAS[kind], jsonschema.Draft202012Validator)


def health():
    """What a device says."""
    return Health(
        t=instant(utc(NOW)),
        boot="9f3a2c41",
        uptime_s=1.5,
        rate_hz=5.0,
        frame_age_s=None,
        latency_ms={"detect": (10.0, 20.5)},
        dropped_frames=0,
        outbox_messages=1,
        outbox_bytes=300,
        outbox_oldest_s=0.5,
        outbox_dropped={"age": 1},
        outbox_first={"9f3a2c41": 7},
        confirm="stored",
        reconnects=0,
        temperature_c=51.2,
        throttled="0x0",
        rss_bytes=10**8,
    )


def test_every_topic_has_a_schema_that_is_one():
    """Those of devices and those of rooms."""
    assert set(SCHEMAS) == {*DEVICE_KINDS, "summary", "events"}
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_counts_of_every_kind_of_frame_match(message, counted):
    """Counted, withheld, faces only; with and without a model."""
    sent = message(
        0,
        counted(NOW, 1, 0, 0, 5, unsure=2),
        FrameCounts(t=instant(utc(NOW)), withheld=True),
        FrameCounts(t=instant(utc(NOW)), faces=3),
    )

    check("counts", json.loads(sent.to_json()))
    without = CountsMessage(
        boot="9f3a2c41", seq=0, model=None, clock="unsynced", frames=(FrameCounts(t=instant(utc(NOW)), withheld=True),)
    )
    check("counts", json.loads(without.to_json()))


@pytest.mark.parametrize("state", STATES)
def test_states_match(state):
    """A device's and the aggregator's own."""
    said = State(state=state, reason="why", version="1", model="3f9c1a77", min_faces=5, boot="9f3a2c41")

    check("state", json.loads(said.to_json()))
    check("state", json.loads(own_state(state).to_json()))


def test_health_stored_and_orders_match():
    """What remains of a device's topics."""
    check("health", json.loads(health().to_json()))
    check("stored", json.loads(stored_to_json({"9f3a2c41": 1041})))
    for order in COMMANDS:
        check("set", order)


def test_summaries_match(store, keep, message, counted):
    """With frames and without any."""
    keep(message(0, counted(NOW, 0, 0, 0, 6, 3)), message(1, counted(NOW + 1, 0, 0, 0, 6, 3)))
    rows = store.windows("school", "r1", int(NOW) - 60, int(NOW) + 60)
    for some in (rows, []):
        room = RoomState(ROOM, Estimator({}), AttentionConfig())
        for key, sums in some:
            room.replace(key, sums, NOW)
        made = room.summary(NOW + 2)

        check("summary", json.loads(made.to_json()))
        assert Summary.from_json(made.to_json()).to_json() == made.to_json()


def test_events_match():
    """With one label or more."""
    then = datetime.fromtimestamp(NOW, UTC)
    told = Event(t=then, since=then, changes={"unpleasant": (0.2, 0.5)}, labels={"sad": (0.1, 0.4)})

    check("events", json.loads(told.to_json(ROOM)))


BROKEN = {
    "schema": 2,
    "boot": "9F3A2C41",
    "seq": -1,
    "model": "",
    "clock": "maybe",
    "frames": [],
    "state": "asleep",
    "min_faces": "5",
    "rate_hz": -1,
    "latency_ms": {"detect": [1]},
    "outbox_first": {"x": 1},
    "t": "2026-11-22 06:31:07",
}


@pytest.mark.parametrize("field", BROKEN)
def test_what_the_code_refuses_the_schemas_refuse(message, field):
    """One broken field at a time, in every payload that has it."""
    state = State(state="ready", reason="", version="1", model=None, min_faces=5, boot="9f3a2c41")
    seen = 0
    for kind, sent in (("counts", message(0)), ("state", state), ("health", health())):
        fields = json.loads(sent.to_json())
        if field in fields:
            seen += 1
            fields[field] = BROKEN[field]
            with pytest.raises(MessageError):
                type(sent).from_json(json.dumps(fields).encode())
            with pytest.raises(jsonschema.ValidationError):
                check(kind, fields)

    assert seen


@pytest.mark.parametrize("key", ["extra", "missing"])
def test_a_field_more_or_less_is_refused_by_both(message, key):
    """In every payload."""
    for kind, sent in (("counts", message(0)), ("health", health())):
        fields = json.loads(sent.to_json())
        if key == "extra":
            fields["name"] = "anna"
        else:
            del fields["boot"]
        with pytest.raises(MessageError):
            type(sent).from_json(json.dumps(fields).encode())
        with pytest.raises(jsonschema.ValidationError):
            check(kind, fields)


def test_frames_that_are_none_are_refused_by_both(message):
    """A label missing or unknown; a picture smuggled in."""
    fields = json.loads(message(0).to_json())
    counts = dict.fromkeys(EMOTIONS, 0)
    for changed in ({**counts, "bored": 1}, {}, {**counts, "sad": 0.5}):
        fields["frames"][0]["counts"] = changed
        with pytest.raises(MessageError):
            CountsMessage.from_json(json.dumps(fields).encode())
        with pytest.raises(jsonschema.ValidationError):
            check("counts", fields)


def test_other_texts_are_no_orders_and_no_marks():
    """`set` and `stored`."""
    with pytest.raises(MessageError):
        command_from_text(b"reboot")
    with pytest.raises(jsonschema.ValidationError):
        check("set", "reboot")
    with pytest.raises(MessageError):
        stored_from_json(b'{"x":1}')
    with pytest.raises(jsonschema.ValidationError):
        check("stored", {"x": 1})
