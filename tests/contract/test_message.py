"""Protocol v1's payloads: what is written can be read, and what is broken raises MessageError and nothing else."""

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.labels import EMOTIONS
from contract.message import (
    MAX_BYTES,
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

T = instant(datetime(2026, 11, 22, 6, 31, 7, 412000, tzinfo=UTC))
COUNTS = {"angry": 0, "disgust": 0, "fear": 1, "happy": 6, "sad": 0, "surprise": 1, "neutral": 3}
EXPECTED = {"angry": 0.41, "disgust": 0.02, "fear": 1.2, "happy": 5.6, "sad": 0.6, "surprise": 0.9, "neutral": 2.27}
FRAME = FrameCounts(t=T, faces=12, unsure=1, counts=COUNTS, expected=EXPECTED)
MESSAGE = CountsMessage(boot="9f3a2c41", seq=1042, model="3f9c1a77", clock="synced", frames=(FRAME,))
STATE = State(state="paused", reason="outside lessons", version="0.1.0", model=None, min_faces=5, boot="9f3a2c41")
HEALTH = Health(
    t=T,
    boot="9f3a2c41",
    uptime_s=61.5,
    rate_hz=4.9,
    frame_age_s=None,
    latency_ms={"detect": (50.1, 61.0)},
    dropped_frames=3,
    outbox_messages=0,
    outbox_bytes=0,
    outbox_oldest_s=0.0,
    outbox_dropped={"size": 0},
    outbox_first={"9f3a2c41": 12},
    confirm="stored",
    reconnects=1,
    temperature_c=-4.5,
    throttled="0x0",
    rss_bytes=123_456_789,
)
READERS: dict[str, Callable[[bytes], object]] = {
    "counts": CountsMessage.from_json,
    "state": State.from_json,
    "health": Health.from_json,
    "stored": stored_from_json,
    "set": command_from_text,
}


def test_a_message_is_written_as_the_protocol_says():
    """The protocol's own example, byte for byte."""
    assert MESSAGE.to_json() == (
        b'{"schema":1,"boot":"9f3a2c41","seq":1042,"model":"3f9c1a77","clock":"synced","frames":['
        b'{"t":"2026-11-22T06:31:07.412Z","faces":12,"unsure":1,'
        b'"counts":{"angry":0,"disgust":0,"fear":1,"happy":6,"sad":0,"surprise":1,"neutral":3},'
        b'"expected":{"angry":0.41,"disgust":0.02,"fear":1.2,"happy":5.6,"sad":0.6,"surprise":0.9,"neutral":2.27}}]}'
    )


@pytest.mark.parametrize(
    "message",
    [
        MESSAGE,
        CountsMessage(boot="00000000", seq=0, model=None, clock="unsynced", frames=(FrameCounts(t=T, faces=0),)),
        CountsMessage(
            boot="ffffffff",
            seq=2**53,
            model="3f9c1a77",
            clock="synced",
            frames=(FrameCounts(t=T, withheld=True), FRAME),
        ),
        STATE,
        HEALTH,
    ],
    ids=["counts", "faces only", "withheld and batched", "state", "health"],
)
def test_what_is_written_is_read_back(message):
    """Every kind of payload, and the same bytes a second time."""
    payload = message.to_json()

    read = type(message).from_json(payload)

    assert read == message
    assert read.to_json() == payload


def test_stored_marks_are_read_back():
    """Boot to the highest seq without a gap below it."""
    assert stored_from_json(stored_to_json({"9f3a2c41": 1041})) == {"9f3a2c41": 1041}


@pytest.mark.parametrize("text", [b"pause", b"resume", b" pause\n"])
def test_an_order_is_plain_text(text):
    """As `mosquitto_pub -m pause` or a file with a line end sends it."""
    assert command_from_text(text) == text.decode().strip()


def test_an_instant_keeps_whole_milliseconds():
    """What epoch seconds say below a millisecond is cut, never rounded into the future."""
    assert instant(utc(0.9999)) == "1970-01-01T00:00:00.999Z"


def test_an_instant_has_four_digits_of_year():
    """What could be read can be written and read again, also of a clock a thousand years off."""
    assert instant(datetime(985, 1, 1, tzinfo=UTC)) == "0985-01-01T00:00:00.000Z"


def changed(**fields: object) -> bytes:
    """The message with other fields; a field that is None here is left out."""
    document = {**json.loads(MESSAGE.to_json()), **fields}
    return json.dumps({key: value for key, value in document.items() if value is not ...}).encode()


def frame_changed(**fields: object) -> bytes:
    """The message with other fields in its frame; `...` leaves one out."""
    frame = {**json.loads(MESSAGE.to_json())["frames"][0], **fields}
    return changed(frames=[{key: value for key, value in frame.items() if value is not ...}])


BROKEN = {
    "empty": ("empty", b""),
    "huge": ("huge", MESSAGE.to_json() + b" " * MAX_BYTES),
    "not UTF-8": ("encoding", b'{"schema":1,"boot":"\xff\xfe"}'),
    "UTF-16": ("encoding", MESSAGE.to_json().decode().encode("utf-16")),
    "not JSON": ("json", b"happy: 3"),
    "truncated": ("json", MESSAGE.to_json()[:-1]),
    "two documents": ("json", MESSAGE.to_json() * 2),
    "an array": ("json", b"[]"),
    "a number": ("json", b"1"),
    "null": ("json", b"null"),
    "deeply nested": ("json", b"[" * 60_000),
    "NaN": ("json", MESSAGE.to_json().replace(b"0.41", b"NaN")),
    "Infinity": ("json", MESSAGE.to_json().replace(b"0.41", b"Infinity")),
    "a number of 5000 digits": ("counts", MESSAGE.to_json().replace(b"1042", b"1" * 5000)),
    "half a surrogate pair": ("json", MESSAGE.to_json().replace(b"9f3a2c41", b"\\ud800")),
    "another schema": ("schema", changed(schema=2)),
    "schema as text": ("schema", changed(schema="1")),
    "schema true": ("schema", changed(schema=True)),
    "no schema": ("schema", changed(schema=...)),
    "no boot": ("field", changed(boot=...)),
    "an unknown field": ("field", changed(image="/9j/4AAQ")),
    "boot in capitals": ("field", changed(boot="9F3A2C41")),
    "boot too long": ("field", changed(boot="9f3a2c411")),
    "boot with a line end": ("field", changed(boot="9f3a2c41\n")),
    "model too short": ("field", changed(model="3f9c")),
    "clock of another word": ("field", changed(clock="guessed")),
    "clock an array": ("field", changed(clock=[])),
    "seq negative": ("counts", changed(seq=-1)),
    "seq a fraction": ("counts", changed(seq=1.0)),
    "seq true": ("counts", changed(seq=True)),
    "seq beyond 2^53": ("counts", changed(seq=2**53 + 1)),
    "no frames": ("field", changed(frames=[])),
    "frames an object": ("field", changed(frames={})),
    "a frame that is a text": ("field", changed(frames=["x"])),
    "a frame without t": ("field", frame_changed(t=...)),
    "t without milliseconds": ("field", frame_changed(t="2026-11-22T06:31:07Z")),
    "t of another zone": ("field", frame_changed(t="2026-11-22T06:31:07.412+01:00")),
    "t on no day": ("field", frame_changed(t="2026-02-30T06:31:07.412Z")),
    "t a number": ("field", frame_changed(t=1)),
    "t in Arabic digits": ("field", frame_changed(t="٢٠٢٦-11-22T06:31:07.412Z")),
    "a box in a frame": ("field", frame_changed(boxes=[[0, 0, 9, 9]])),
    "withheld false": ("field", changed(frames=[{"t": T, "withheld": False}])),
    "withheld with faces": ("field", changed(frames=[{"t": T, "withheld": True, "faces": 3}])),
    "faces negative": ("counts", changed(frames=[{"t": T, "faces": -3}])),
    "faces a text": ("counts", changed(frames=[{"t": T, "faces": "3"}])),
    "a million faces": ("counts", changed(frames=[{"t": T, "faces": 10**6}])),
    "a negative count": ("counts", frame_changed(counts={**COUNTS, "happy": 7, "angry": -1})),
    "a count that is a fraction": ("counts", frame_changed(counts={**COUNTS, "happy": 6.0})),
    "counts beyond faces": ("counts", frame_changed(counts={**COUNTS, "happy": 7})),
    "counts below faces": ("counts", frame_changed(unsure=0)),
    "unsure negative": ("counts", frame_changed(unsure=-1, counts={**COUNTS, "happy": 8})),
    "a label is missing": ("counts", frame_changed(counts={"happy": 11})),
    "a label too many": ("counts", frame_changed(counts={**COUNTS, "bored": 0})),
    "counts an array": ("counts", frame_changed(counts=[0, 0, 1, 6, 0, 1, 3])),
    "expected an array": ("counts", frame_changed(expected=[0.0] * 7)),
    "expected of other labels": ("counts", frame_changed(expected=dict.fromkeys("abcdefg", 0.0))),
    "expected negative": ("counts", frame_changed(expected={**EXPECTED, "sad": -0.1})),
    "expected beyond faces": ("counts", frame_changed(expected={**EXPECTED, "sad": 11.9})),
    "expected a text": ("counts", frame_changed(expected={**EXPECTED, "sad": "0.6"})),
    "expected infinite": ("counts", MESSAGE.to_json().replace(b"0.41", b"1e999")),
}


@pytest.mark.parametrize(("reason", "payload"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_payload_is_refused_with_its_reason(reason, payload):
    """The reason is what the aggregator counts by."""
    with pytest.raises(MessageError) as caught:
        CountsMessage.from_json(payload)

    assert caught.value.reason == reason
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("state", STATE.to_json().replace(b"paused", b"asleep")),
        ("state", STATE.to_json().replace(b"outside lessons", b"x" * 1001)),
        ("state", STATE.to_json().replace(b'"outside lessons"', b"7")),
        ("state", STATE.to_json().replace(b"outside lessons", b"\\udfff")),
        ("health", HEALTH.to_json().replace(b"61.5", b"-1")),
        ("health", HEALTH.to_json().replace(b'"rss_bytes":123456789', b'"rss_bytes":"much"')),
        ("health", HEALTH.to_json().replace(b"[50.1,61.0]", b"[50.1]")),
        ("health", HEALTH.to_json().replace(b"-4.5", b"1e400")),
        (
            "health",
            HEALTH.to_json().replace(b'"rss_bytes":', b'"certificate_end":"2026-13-30T00:00:00.000Z","rss_bytes":'),
        ),
        ("health", HEALTH.to_json().replace(b'"rss_bytes":', b'"faces":{"found":3.0},"rss_bytes":')),
        ("stored", b'{"9f3a2c41":-1}'),
        ("stored", b'{"device":3}'),
        ("stored", b"[]"),
        ("set", b""),
        ("set", b"stop"),
        ("set", b"\xff\xfe"),
    ],
)
def test_the_other_payloads_are_checked_too(kind, payload):
    """State, health, stored and set: MessageError, whatever is wrong."""
    with pytest.raises(MessageError):
        READERS[kind](payload)


def test_a_constructor_refuses_what_a_reader_refuses():
    """No device can publish what no aggregator would take."""
    with pytest.raises(MessageError, match="are not 11 faces"):
        FrameCounts(t=T, faces=11, unsure=1, counts=COUNTS, expected=EXPECTED)


def refuses_or_reads(kind: str, payload: bytes) -> None:
    """Whatever is read without MessageError can be written and read again."""
    try:
        read = READERS[kind](payload)
    except MessageError:
        return
    if hasattr(read, "to_json"):
        assert READERS[kind](read.to_json()) == read


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-2, 20)
    | st.floats()
    | st.text(st.characters(), max_size=12)
    | st.sampled_from([*EMOTIONS, "synced", "stored", "9f3a2c41", T, "\ud800"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(kind, payload):
    """No byte string makes a reader raise anything but MessageError."""
    refuses_or_reads(kind, payload)


@given(st.sampled_from(sorted(READERS)), values)
def test_any_json_is_read_or_refused(kind, document):
    """No JSON document does either, in Python's dialect with NaN and lone surrogates."""
    refuses_or_reads(kind, json.dumps(document).encode())


def places(document: object, path: tuple = ()) -> list[tuple]:
    """The path to every value of a document."""
    if isinstance(document, dict):
        children = list(document.items())
    else:
        children = list(enumerate(document)) if isinstance(document, list) else []
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


@given(st.data())
def test_a_message_with_any_one_value_replaced_is_read_or_refused(data):
    """The closest a broken device comes to a valid message."""
    kind, valid = data.draw(st.sampled_from([("counts", MESSAGE), ("state", STATE), ("health", HEALTH)]))
    document = copy.deepcopy(json.loads(valid.to_json()))
    *path, last = data.draw(st.sampled_from(places(document)[1:]))
    parent = document
    for key in path:
        parent = parent[key]
    parent[last] = data.draw(values)

    refuses_or_reads(kind, json.dumps(document).encode())


@given(st.lists(st.floats(0, 1), min_size=7, max_size=7), st.integers(1, 60))
def test_every_reading_that_a_device_can_make_is_a_legal_message(weights, faces):
    """Sums of probabilities that were rounded one by one are taken."""
    total = sum(weights) or 1.0
    expected = {label: round(faces * weight / total, 2) for label, weight in zip(EMOTIONS, weights, strict=True)}
    frame = FrameCounts(t=T, faces=faces, unsure=faces, counts=dict.fromkeys(EMOTIONS, 0), expected=expected)
    message = CountsMessage(boot="00000000", seq=0, model=None, clock="synced", frames=(frame,))

    assert CountsMessage.from_json(message.to_json()) == message
