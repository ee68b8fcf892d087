"""Protocol v1's payloads: what a device publishes and what it is told, to JSON and back.

No clock, no socket. `from_json` raises only MessageError, whatever the bytes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from contract import payload as p
from contract.health import Health
from contract.labels import EMOTIONS
from contract.payload import HORIZON_S, MAX_BYTES, SCHEMA, MessageError, instant, utc

__all__ = [
    "HORIZON_S",
    "MAX_BYTES",
    "ORDERS",
    "SCHEMA",
    "STATES",
    "CountsMessage",
    "FacesOnly",
    "Frame",
    "FrameCounts",
    "Health",
    "MessageError",
    "State",
    "Withheld",
    "instant",
    "order_from_text",
    "stored_from_json",
    "stored_to_json",
    "utc",
]

STATES = ("ready", "paused", "degraded", "stopped", "lost")
ORDERS = ("pause", "resume")
"""What may be published to a device's `set` topic, as plain text."""
_LABELS = frozenset(EMOTIONS)
_MESSAGE = frozenset({"schema", "boot", "seq", "model", "clock", "frames"})
_FRAME = frozenset({"t", "faces", "unsure", "counts", "expected"})
_MAX_FACES = 10_000


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
        # Runs for every frame of the fleet: an error's text is made only where there is one.
        if self.counts.keys() != _LABELS:
            raise MessageError("counts", f"labels are {sorted(self.counts)}")
        if self.expected.keys() != _LABELS:
            raise MessageError("counts", f"labels of expected are {sorted(self.expected)}")
        p.check_whole("faces", self.faces, _MAX_FACES)
        p.check_whole("unsure", self.unsure, _MAX_FACES)
        for label, count in self.counts.items():
            if type(count) is not int or not 0 <= count <= _MAX_FACES:
                p.check_whole(label, count, _MAX_FACES)
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
        p.check_whole("faces", self.faces, _MAX_FACES)

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
        p.check_hex8("boot", self.boot)
        if self.model is not None:
            p.check_hex8("model", self.model)
        p.check_whole("seq", self.seq)
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
        return p.compact(fields)

    @staticmethod
    def from_json(payload: bytes) -> "CountsMessage":
        """Read a payload.

        Raises:
            MessageError: Whatever is wrong with it.
        """
        fields = p.read_object(payload)
        p.check_schema(fields)
        p.check_fields(fields, _MESSAGE)
        if fields["clock"] not in ("synced", "unsynced"):
            raise MessageError("field", f"clock is {fields['clock']!r}")
        frames = fields["frames"]
        p.require(isinstance(frames, list), "field", "frames is no array")
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
        p.require(self.state in STATES, "field", f"state is {self.state!r}")
        p.require(
            isinstance(self.reason, str) and len(self.reason) <= 1000,
            "field",
            "reason is no text of at most 1000 characters",
        )
        p.require(isinstance(self.version, str) and len(self.version) <= 64, "field", f"version is {self.version!r}")
        p.check_whole("min_faces", self.min_faces, _MAX_FACES)
        p.check_hex8("boot", self.boot)
        if self.model is not None:
            p.check_hex8("model", self.model)

    def to_json(self) -> bytes:
        """The payload."""
        return p.compact({"schema": SCHEMA, **asdict(self)})

    @staticmethod
    def from_json(payload: bytes) -> "State":
        """Read a payload.

        Raises:
            MessageError: Whatever is wrong with it.
        """
        fields = p.read_object(payload)
        p.check_schema(fields)
        p.check_fields(fields, frozenset({"schema", "state", "reason", "version", "model", "min_faces", "boot"}))
        return State(**{key: value for key, value in fields.items() if key != "schema"})


def stored_to_json(stored: Mapping[str, int]) -> bytes:
    """The `stored` payload: boot -> the highest `seq` committed without a gap below it."""
    return p.compact(dict(stored))


def stored_from_json(payload: bytes) -> dict[str, int]:
    """Read a `stored` payload.

    Raises:
        MessageError: Whatever is wrong with it.
    """
    fields = p.read_object(payload)
    for boot, seq in fields.items():
        p.check_hex8("boot", boot)
        p.check_whole("seq", seq)
    return fields


def order_from_text(payload: bytes) -> str:
    """The order, one of ORDERS, in a `set` payload.

    Raises:
        MessageError: If it is anything else.
    """
    order = payload[:32].decode("ascii", "replace").strip()
    p.require(order in ORDERS, "field", f"{order!r} is none of {', '.join(ORDERS)}")
    return order


def _frame(fields: object) -> Frame:
    if not isinstance(fields, dict):
        raise MessageError("field", "a frame is no object")
    t = p.read_instant(fields.get("t"))
    if "withheld" in fields:
        p.check_fields(fields, frozenset({"t", "withheld"}))
        p.require(fields["withheld"] is True, "field", f"withheld is {fields['withheld']!r}")
        return Withheld(t=t)
    if "counts" not in fields:
        p.check_fields(fields, frozenset({"t", "faces"}))
        return FacesOnly(t=t, faces=fields["faces"])
    p.check_fields(fields, _FRAME)
    for key in ("counts", "expected"):
        if not isinstance(fields[key], dict):
            raise MessageError("counts", f"{key} is no object")
    return FrameCounts(
        t=t, faces=fields["faces"], unsure=fields["unsure"], counts=fields["counts"], expected=fields["expected"]
    )
