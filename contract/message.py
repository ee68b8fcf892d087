"""Protocol v1's payloads: what a device publishes and what it is told, to JSON and back.

No clock, no socket. `from_json` raises only MessageError, whatever the bytes.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from contract.labels import EMOTIONS

SCHEMA = 1
"""Any change of fields is a new number; the aggregator is upgraded first and reads both."""
MAX_BYTES = 64 * 1024
"""A payload above this is refused unread; a second of frames at 30 frames/s is 10 KB."""
HORIZON_S = 7 * 24 * 3600.0
"""Older messages are refused as too_old, younger ones are recognised when they come again: at least the outbox's age."""
STATES = ("ready", "paused", "degraded", "stopped", "lost")
ORDERS = ("pause", "resume")
"""What may be published to a device's `set` topic, as plain text."""
_LABELS = frozenset(EMOTIONS)
_HEX8 = re.compile(r"[0-9a-f]{8}")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_MAX_FACES = 10_000


class MessageError(ValueError):
    """A payload that is not what it should be.

    Attributes:
        reason: One of empty, huge, encoding, json, schema, field, counts: what a consumer counts by.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCounts:
    """Emotion counts of one frame. Carries no pixels, boxes or identities."""

    t: datetime
    """When the frame was taken, UTC, whole milliseconds, by the device's clock."""
    faces: int
    """Faces found; the sum of `counts` and `unsure`."""
    unsure: int
    """Faces too small to read, or read with too low a probability."""
    counts: Mapping[str, int]
    """Faces per label; every label of EMOTIONS is present."""
    expected: Mapping[str, float]
    """Sum of the calibrated probabilities per label over every face large enough to read; two decimals."""

    def __post_init__(self) -> None:
        _require(self.counts.keys() == _LABELS, "counts", f"labels are {sorted(self.counts)}")
        _require(self.expected.keys() == _LABELS, "counts", f"labels of expected are {sorted(self.expected)}")
        _whole("faces", self.faces, _MAX_FACES)
        _whole("unsure", self.unsure, _MAX_FACES)
        for label, count in self.counts.items():
            _whole(label, count, _MAX_FACES)
        if sum(self.counts.values()) + self.unsure != self.faces:
            raise MessageError("counts", f"{dict(self.counts)} and {self.unsure} unsure are not {self.faces} faces")
        for label, value in self.expected.items():
            if type(value) not in (int, float) or not 0 <= value <= self.faces:
                raise MessageError("counts", f"expected {label} is {value!r} of {self.faces} faces")
        # seven values, each rounded to two decimals
        if sum(self.expected.values()) > self.faces + 0.04:
            raise MessageError("counts", f"expected {dict(self.expected)} exceeds {self.faces} faces")

    def fields(self) -> dict[str, object]:
        """The frame as JSON's object."""
        return {
            "t": instant(self.t),
            "faces": self.faces,
            "unsure": self.unsure,
            "counts": {label: self.counts[label] for label in EMOTIONS},
            "expected": {label: round(self.expected[label], 2) for label in EMOTIONS},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FacesOnly:
    """A frame of a device with emotions switched off: faces are counted and nothing else."""

    t: datetime
    faces: int

    def __post_init__(self) -> None:
        _whole("faces", self.faces, _MAX_FACES)

    def fields(self) -> dict[str, object]:
        """The frame as JSON's object."""
        return {"t": instant(self.t), "faces": self.faces}


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """A frame with fewer readable faces than the device's `min_faces`: only that it was taken."""

    t: datetime

    def fields(self) -> dict[str, object]:
        """The frame as JSON's object."""
        return {"t": instant(self.t), "withheld": True}


Frame = FrameCounts | FacesOnly | Withheld


@dataclass(frozen=True, slots=True, kw_only=True)
class CountsMessage:
    """One payload of the `counts` topic; (device, boot, seq) names it for ever."""

    boot: str
    """Eight hex digits, random per start of the daemon."""
    seq: int
    """From 0, without gaps, in the order of acceptance."""
    model: str | None
    """First eight hex digits of the model file's SHA-256; None with emotions switched off."""
    synced: bool
    """Whether the device's clock was synchronised; if not, the frames are part of no lesson."""
    frames: tuple[Frame, ...]

    def __post_init__(self) -> None:
        _hex8("boot", self.boot)
        if self.model is not None:
            _hex8("model", self.model)
        _whole("seq", self.seq, 2**53)
        if not self.frames:
            raise MessageError("field", "no frames")

    def to_json(self) -> bytes:
        """The payload; the same message always gives the same bytes."""
        fields = {
            "schema": SCHEMA,
            "boot": self.boot,
            "seq": self.seq,
            "model": self.model,
            "clock": "synced" if self.synced else "unsynced",
            "frames": [frame.fields() for frame in self.frames],
        }
        return _compact(fields)

    @staticmethod
    def from_json(payload: bytes) -> "CountsMessage":
        """Read a payload.

        Raises:
            MessageError: Whatever is wrong with it.
        """
        fields = _object(payload)
        _schema(fields)
        _exactly(fields, {"schema", "boot", "seq", "model", "clock", "frames"})
        _require(fields["clock"] in ("synced", "unsynced"), "field", f"clock is {fields['clock']!r}")
        frames = fields["frames"]
        _require(isinstance(frames, list), "field", "frames is no array")
        return CountsMessage(
            boot=fields["boot"],
            seq=fields["seq"],
            model=fields["model"],
            synced=fields["clock"] == "synced",
            frames=tuple(_frame(frame) for frame in frames),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One payload of a device's retained `state` topic."""

    state: str
    """One of STATES; `lost` is the last will."""
    reason: str
    """For people: why; "" where there is nothing to say."""
    version: str
    model: str | None
    """As in CountsMessage."""
    min_faces: int
    boot: str

    def __post_init__(self) -> None:
        _require(self.state in STATES, "field", f"state is {self.state!r}")
        _require(isinstance(self.reason, str) and len(self.reason) <= 1000, "field", "reason is no text of at most 1000 characters")
        _require(isinstance(self.version, str) and len(self.version) <= 64, "field", f"version is {self.version!r}")
        _whole("min_faces", self.min_faces, _MAX_FACES)
        _hex8("boot", self.boot)
        if self.model is not None:
            _hex8("model", self.model)

    def to_json(self) -> bytes:
        """The payload."""
        return _compact({"schema": SCHEMA, **asdict(self)})

    @staticmethod
    def from_json(payload: bytes) -> "State":
        """Read a payload.

        Raises:
            MessageError: Whatever is wrong with it.
        """
        fields = _object(payload)
        _schema(fields)
        _exactly(fields, {"schema", "state", "reason", "version", "model", "min_faces", "boot"})
        return State(**{key: value for key, value in fields.items() if key != "schema"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One payload of a device's retained `health` topic: every number is of the time since the last one, unless it says else."""

    t: datetime
    boot: str
    uptime_s: float
    rate_hz: float
    """Frames published per second."""
    frame_age_s: float | None
    """Age of the newest frame; None before the first."""
    latency_ms: Mapping[str, tuple[float, float]]
    """Stage -> (p50, p99) milliseconds; stages are capture, detect, crop, emotions, publish."""
    dropped_frames: int
    """Frames that a newer one replaced before they were read, since the start."""
    outbox_messages: int
    outbox_bytes: int
    outbox_oldest_s: float
    outbox_dropped: Mapping[str, int]
    """Reason -> messages given up since the start: size, age, disk, corrupt."""
    confirm: str
    """What deletes a message from the outbox: "stored" or "puback"."""
    reconnects: int
    """Since the start."""
    temperature_c: float | None
    throttled: str | None
    """The Pi's `get_throttled` flags as hex, None where there are none."""
    rss_bytes: int

    def to_json(self) -> bytes:
        """The payload."""
        fields = {key: getattr(self, key) for key in self.__dataclass_fields__}
        fields["t"] = instant(self.t)
        return _compact({"schema": SCHEMA, **fields})

    @staticmethod
    def from_json(payload: bytes) -> "Health":
        """Read a payload.

        Raises:
            MessageError: Whatever is wrong with it.
        """
        fields = _object(payload)
        _schema(fields)
        _exactly(fields, {"schema", *Health.__dataclass_fields__})
        for key, check in _HEALTH_CHECKS.items():
            _require(check(fields[key]), "field", f"{key} is {fields[key]!r}"[:200])
        values = {key: fields[key] for key in Health.__dataclass_fields__}
        values["t"] = _datetime(fields["t"])
        values["latency_ms"] = {stage: tuple(pair) for stage, pair in fields["latency_ms"].items()}
        return Health(**values)


def stored_to_json(stored: Mapping[str, int]) -> bytes:
    """The `stored` payload: boot -> the highest `seq` committed without a gap below it."""
    return _compact(dict(stored))


def stored_from_json(payload: bytes) -> dict[str, int]:
    """Read a `stored` payload.

    Raises:
        MessageError: Whatever is wrong with it.
    """
    fields = _object(payload)
    for boot, seq in fields.items():
        _hex8("boot", boot)
        _whole("seq", seq, 2**53)
    return fields


def order_from_text(payload: bytes) -> str:
    """The order, one of ORDERS, in a `set` payload.

    Raises:
        MessageError: If it is anything else.
    """
    order = payload[:32].decode("ascii", "replace").strip()
    _require(order in ORDERS, "field", f"{order!r} is none of {', '.join(ORDERS)}")
    return order


def instant(t: datetime) -> str:
    """UTC with milliseconds, `2026-11-22T06:31:07.412Z`."""
    return t.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{t.microsecond // 1000:03d}Z"


def utc(epoch_s: float) -> datetime:
    """The instant `epoch_s` seconds after 1970, cut to the milliseconds that a message carries."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=math.floor(epoch_s * 1000))


def _frame(fields: object) -> Frame:
    if not isinstance(fields, dict):
        raise MessageError("field", "a frame is no object")
    t = _datetime(fields.get("t"))
    if "withheld" in fields:
        _exactly(fields, {"t", "withheld"})
        _require(fields["withheld"] is True, "field", f"withheld is {fields['withheld']!r}")
        return Withheld(t=t)
    if "counts" not in fields:
        _exactly(fields, {"t", "faces"})
        return FacesOnly(t=t, faces=fields["faces"])
    _exactly(fields, {"t", "faces", "unsure", "counts", "expected"})
    for key in ("counts", "expected"):
        _require(isinstance(fields[key], dict), "counts", f"{key} is no object")
    return FrameCounts(
        t=t, faces=fields["faces"], unsure=fields["unsure"], counts=fields["counts"], expected=fields["expected"]
    )


def _object(payload: bytes) -> dict:
    if not payload:
        raise MessageError("empty", "no payload")
    if len(payload) > MAX_BYTES:
        raise MessageError("huge", f"{len(payload)} bytes, above {MAX_BYTES}")
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise MessageError("encoding", str(error)) from None
    try:
        fields = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MessageError("json", str(error)) from None
    if not isinstance(fields, dict):
        raise MessageError("json", f"a {type(fields).__name__}, not an object")
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _schema(fields: dict) -> None:
    schema = fields.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise MessageError("schema", f"schema is {schema!r}, not {SCHEMA}"[:200])


def _exactly(fields: dict, keys: set[str]) -> None:
    if fields.keys() != keys:
        raise MessageError("field", f"fields are {sorted(fields)}, not {sorted(keys)}"[:400])


def _datetime(value: object) -> datetime:
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise MessageError("field", f"t is {value!r}"[:200])
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise MessageError("field", f"t is {value!r}") from None


def _whole(name: str, value: object, most: int) -> None:
    if type(value) is not int or not 0 <= value <= most:
        raise MessageError("counts", f"{name} is {value!r}, not a whole number from 0 to {most}"[:200])


def _hex8(name: str, value: object) -> None:
    if not isinstance(value, str) or not _HEX8.fullmatch(value):
        raise MessageError("field", f"{name} is {value!r}, not eight hex digits"[:200])


def _require(holds: bool, reason: str, text: str) -> None:
    if not holds:
        raise MessageError(reason, text)


def _compact(fields: object) -> bytes:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0  # type: ignore[arg-type]


def _optional(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 64


def _latencies(value: object) -> bool:
    return isinstance(value, dict) and all(
        _text(stage) and isinstance(pair, list) and len(pair) == 2 and all(map(_number, pair)) for stage, pair in value.items()
    )


def _reasons(value: object) -> bool:
    return isinstance(value, dict) and all(_text(reason) and _count(count) for reason, count in value.items())


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value <= 2**53


_HEALTH_CHECKS: Mapping[str, Callable[[object], bool]] = {
    "boot": lambda value: isinstance(value, str) and bool(_HEX8.fullmatch(value)),
    "uptime_s": _number,
    "rate_hz": _number,
    "frame_age_s": _optional(_number),
    "latency_ms": _latencies,
    "dropped_frames": _count,
    "outbox_messages": _count,
    "outbox_bytes": _count,
    "outbox_oldest_s": _number,
    "outbox_dropped": _reasons,
    "confirm": lambda value: value in ("stored", "puback"),
    "reconnects": _count,
    "temperature_c": _optional(lambda value: type(value) in (int, float) and math.isfinite(value)),  # type: ignore[arg-type]
    "throttled": _optional(_text),
    "rss_bytes": _count,
}
