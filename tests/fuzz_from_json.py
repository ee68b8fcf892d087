"""A coverage-guided search for bytes that break the reading of messages: `python tests/fuzz_from_json.py 60` (seconds).

`make fuzz` gives it atheris; pytest does not collect it. What it asserts:
only MessageError is ever raised, what was read can be written and read again, and the aggregator stays up.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent))
with atheris.instrument_imports(include=["contract", "aggregator.ingest.batch"]):
    from aggregator.ingest.batch import RawMessage, read
    from contract.labels import EMOTIONS
    from contract.message import (
        CountsMessage,
        FrameCounts,
        Health,
        MessageError,
        State,
        command_from_text,
        instant,
        stored_from_json,
        utc,
    )

KINDS = ("counts", "state", "health", "stored", "set")
ZEROS = dict.fromkeys(EMOTIONS, 0)


def seeds() -> list[bytes]:
    """A good payload of every kind, each after the byte that names the kind."""
    counted = FrameCounts(
        t=instant(utc(1.5)), faces=3, unsure=1, counts=ZEROS | {"sad": 2}, expected=ZEROS | {"sad": 1.9}
    )
    message = CountsMessage(
        boot="9f3a2c41",
        seq=7,
        model="3f9c1a77",
        clock="synced",
        frames=(counted, FrameCounts(t=instant(utc(2)), withheld=True), FrameCounts(t=instant(utc(3)), faces=4)),
    )
    state = State(state="ready", reason="", version="1", model=None, min_faces=5, boot="9f3a2c41")
    health = Health(
        t=instant(utc(1)),
        boot="9f3a2c41",
        uptime_s=1.0,
        rate_hz=5.0,
        frame_age_s=None,
        latency_ms={"detect": (50.0, 60.0)},
        dropped_frames=0,
        outbox_messages=1,
        outbox_bytes=300,
        outbox_oldest_s=0.5,
        outbox_dropped={"size": 1},
        outbox_first={"9f3a2c41": 7},
        confirm="stored",
        reconnects=0,
        temperature_c=61.5,
        throttled=None,
        rss_bytes=1,
    )
    payloads = (message.to_json(), state.to_json(), health.to_json(), b'{"9f3a2c41":7}', b"pause")
    return [bytes([kind]) + payload for kind, payload in enumerate(payloads)]


def one_input(data: bytes) -> None:
    """One payload; anything but a MessageError is a finding."""
    kind, payload = KINDS[(data[0] if data else 0) % len(KINDS)], data[1:]
    readers = {
        "counts": CountsMessage.from_json,
        "state": State.from_json,
        "health": Health.from_json,
        "stored": stored_from_json,
        "set": command_from_text,
    }
    try:
        found = readers[kind](payload)
    except MessageError:
        found = None
    if isinstance(found, CountsMessage | State | Health):
        type(found).from_json(found.to_json())
    read([RawMessage(f"classpulse/1/school/r1/cam/{kind}", payload, 1.0)])


def main() -> None:
    """Search for the seconds that the command line gives, 60 without."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds()):
            (Path(corpus) / str(number)).write_bytes(seed)
        options = [
            sys.argv[0],
            f"-max_total_time={seconds}",
            "-max_len=4096",
            f"-artifact_prefix={gettempdir()}/fuzz-",
            corpus,
        ]
        atheris.Setup(options, one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
