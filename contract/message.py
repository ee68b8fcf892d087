"""Protocol v1's payloads: what a device publishes and what it is told, to JSON and back.

No clock, no socket. `from_json` raises only MessageError, whatever the bytes.
"""

import math
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, Final, Literal, Self, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from contract.labels import EMOTIONS

SCHEMA: Final = 1
"""Any change of fields is a new number; the aggregator is upgraded first and reads both."""
MAX_BYTES = 64 * 1024
"""A payload above this is refused unread; a second of frames at 30 frames/s is 10 KB."""
HORIZON_S = 7 * 24 * 3600.0
"""Older messages are refused as too_old, younger ones recognised when they come again: at least the outbox's age."""
StateName = Literal["ready", "paused", "degraded", "stopped", "lost"]
STATES: tuple[StateName, ...] = get_args(StateName)
Confirm = Literal["stored", "puback"]
FaceKind = Literal["found", "small", "unsure", "read"]
COMMANDS = ("pause", "resume")
"""What may be published to a device's `set` topic, as plain text."""

T = TypeVar("T")
MAX_INT: Final = 2**53
"""What JSON's numbers carry exactly in every language."""
Hex8 = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}\Z")]
Time = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z\Z")]
"""UTC with milliseconds, as `instant` writes it."""
Text = Annotated[str, Meta(max_length=64)]
Count = Annotated[int, Meta(ge=0, le=MAX_INT)]
FaceCount = Annotated[int, Meta(ge=0, le=10_000)]
NonNegative = Annotated[float, Meta(ge=0, le=MAX_INT)]
Finite = Annotated[float, Meta(ge=-MAX_INT, le=MAX_INT)]

_LABELS = frozenset(EMOTIONS)
_COUNTED = re.compile(r"\$(\.seq|\.frames\[\d+\]\.(faces|unsure|counts|expected))\b")
_SHAPES = {
    ("faces", "unsure", "counts", "expected"),
    ("faces",),
    ("withheld",),
}
"""The fields besides `t` that a frame may have."""


class MessageError(ValueError):
    """A payload that is not what it should be.

    Attributes:
        reason: One of empty, huge, encoding, json, schema, field, counts: what a consumer counts by.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"{reason}: {text[:400]}")
        self.reason = reason


class Payload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every payload that is a JSON object with a schema number."""

    def to_json(self) -> bytes:
        """The payload, UTF-8 without spaces; the same message always gives the same bytes."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, payload: bytes) -> Self:
        """Read a payload.

        Raises:
            MessageError: Whatever is wrong with it.
        """
        has_schema = b'"schema"' in payload  # the field's default is for constructors; in JSON it must be written
        try:
            message = decode(payload, cls)
        except MessageError as error:
            if has_schema or error.reason not in ("field", "counts"):
                raise
        else:
            if has_schema:
                return message
        raise MessageError("schema", f"no schema; it must be {SCHEMA}")


class FrameCounts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one frame showed: counted, faces only (emotions are off), or withheld. No pixels, boxes or identities."""

    t: Time
    """When the frame was taken, UTC, by the device's clock."""
    faces: FaceCount | UnsetType = UNSET
    """Faces found; the sum of `counts` and `unsure`, where these are given."""
    unsure: FaceCount | UnsetType = UNSET
    """Faces too small to read, or read with too low a probability."""
    counts: dict[str, FaceCount] | UnsetType = UNSET
    """Faces per label; every label of EMOTIONS is present."""
    expected: dict[str, NonNegative] | UnsetType = UNSET
    """Sum of the calibrated probabilities per label over every face large enough to read; two decimals."""
    withheld: Literal[True] | UnsetType = UNSET
    """The frame had fewer readable faces than the device's `min_faces`: only its time is told."""

    def __post_init__(self) -> None:
        shape = tuple(field for field in self.__struct_fields__[1:] if getattr(self, field) is not UNSET)
        if shape not in _SHAPES:
            raise MessageError("field", f"a frame has no such set of fields: t, {', '.join(shape)}")
        try:
            datetime.fromisoformat(self.t)
        except (TypeError, ValueError):
            raise MessageError("field", f"t is {self.t!r}") from None
        if isinstance(self.counts, dict):
            self._check_sums(self.counts)

    def _check_sums(self, counts: dict[str, int]) -> None:
        # Runs for every frame of the fleet: an error's text is made only where there is one.
        faces, unsure, expected = self.faces, self.unsure, self.expected
        if not (isinstance(faces, int) and isinstance(unsure, int) and isinstance(expected, dict)):
            raise MessageError("counts", f"faces {faces!r}, unsure {unsure!r}, expected {expected!r}")
        for name, labels in (("counts", counts), ("expected", expected)):
            if labels.keys() != _LABELS:
                raise MessageError("counts", f"labels of {name} are {sorted(labels)}")
        if sum(counts.values()) + unsure != faces:
            raise MessageError("counts", f"{counts} and {unsure} unsure are not {faces} faces")
        # seven values, each rounded to two decimals
        if sum(expected.values()) > faces + 0.04 or max(expected.values()) > faces:
            raise MessageError("counts", f"expected {expected} exceeds {faces} faces")

    @property
    def time(self) -> datetime:
        """`t` as an instant."""
        return datetime.fromisoformat(self.t)


class CountsMessage(Payload, frozen=True, kw_only=True):
    """One payload of the `counts` topic; (device, boot, seq) names it for ever."""

    schema: Literal[1] = SCHEMA
    boot: Hex8
    """Eight hex digits, random per start of the daemon."""
    seq: Count
    """From 0, without gaps, in the order of acceptance."""
    model: Hex8 | None
    """First eight hex digits of the model file's SHA-256; None with emotions switched off."""
    clock: Literal["synced", "unsynced"]
    """Whether the device's clock was synchronised; if not, the frames are part of no lesson."""
    frames: Annotated[tuple[FrameCounts, ...], Meta(min_length=1)]

    @property
    def synced(self) -> bool:
        """Whether the device's clock was synchronised."""
        return self.clock == "synced"


class State(Payload, frozen=True, kw_only=True):
    """One payload of a device's retained `state` topic."""

    schema: Literal[1] = SCHEMA
    state: StateName
    reason: Annotated[str, Meta(max_length=1000)]
    """For people; "" where there is nothing to say."""
    version: Text
    """Of the daemon."""
    model: Hex8 | None
    """As in CountsMessage."""
    min_faces: FaceCount
    boot: Hex8


class Health(Payload, frozen=True, kw_only=True):
    """One payload of a device's retained `health` topic; of the time since the last one, where a field says no else."""

    schema: Literal[1] = SCHEMA
    t: Time
    boot: Hex8
    uptime_s: NonNegative
    rate_hz: NonNegative
    """Frames published per second."""
    frame_age_s: NonNegative | None
    """Age of the newest frame; None before the first."""
    latency_ms: dict[Text, tuple[NonNegative, NonNegative]]
    """Stage -> (p50, p99) milliseconds; stages are capture, detect, crop, emotions, publish."""
    dropped_frames: Count
    """Frames that a newer one replaced before they were read, since the start."""
    outbox_messages: Count
    outbox_bytes: Count
    outbox_oldest_s: NonNegative
    outbox_dropped: dict[Text, Count]
    """Reason -> messages given up since the start: size, age, disk, corrupt."""
    outbox_first: dict[Hex8, Count]
    """Boot -> the lowest `seq` that waits to be confirmed; of the running boot always: the next `seq` if none waits.

    Nothing below will be sent again, so the aggregator no longer waits for it: what the outbox gave up, or another
    store confirmed, would else hold back `stored` for ever.
    """
    confirm: Confirm
    """What deletes a message from the outbox."""
    reconnects: Count
    """Since the start."""
    temperature_c: Finite | None
    throttled: Text | None
    """The Pi's `get_throttled` flags as hex, None where there are none."""
    rss_bytes: Count
    faces: Annotated[dict[FaceKind, NonNegative], Meta(min_length=4)] | UnsetType = UNSET
    """Means per frame, of frames with `min_faces` faces or more: found, of them too small to read, unsure, and read.

    Left out where there was no such frame, with emotions switched off, and by version 0.1.
    """

    certificate_end: Time | UnsetType = UNSET
    """When the certificate ends that the broker knows this device by. Left out without one, and by version 0.1."""

    def __post_init__(self) -> None:
        try:
            _ = [datetime.fromisoformat(t) for t in (self.t, self.certificate_end or self.t)]
        except (TypeError, ValueError):
            raise MessageError("field", f"t is {self.t!r}, certificate_end {self.certificate_end!r}") from None

    @property
    def time(self) -> datetime:
        """`t` as an instant."""
        return datetime.fromisoformat(self.t)


def decode(payload: bytes, kind: type[T]) -> T:
    """A payload as `kind`, with every check that its types state.

    Raises:
        MessageError: With the place in the payload, whatever is wrong with it.
    """
    if not payload:
        raise MessageError("empty", "no payload")
    if len(payload) > MAX_BYTES:
        raise MessageError("huge", f"{len(payload)} bytes, above {MAX_BYTES}")
    try:
        message: T = _decoder(kind).decode(payload)  # type: ignore[arg-type]  # types are hashable
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _explained(payload, error) from None
    return message


def stored_to_json(stored: dict[str, int]) -> bytes:
    """The `stored` payload: boot -> the highest `seq` committed without a gap below it."""
    return msgspec.json.encode(stored)


def stored_from_json(payload: bytes) -> dict[str, int]:
    """Read a `stored` payload.

    Raises:
        MessageError: Whatever is wrong with it.
    """
    return decode(payload, dict[Hex8, Count])


def command_from_text(payload: bytes) -> str:
    """The command, one of COMMANDS, in a `set` payload.

    Raises:
        MessageError: If it is anything else.
    """
    command = payload[:32].decode("ascii", "replace").strip()
    if command not in COMMANDS:
        raise MessageError("field", f"{command!r} is none of {', '.join(COMMANDS)}")
    return command


def instant(t: datetime) -> str:
    """UTC with milliseconds, `2026-11-22T06:31:07.412Z`."""
    return t.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def utc(epoch_s: float) -> datetime:
    """The instant `epoch_s` seconds after 1970, cut to the milliseconds that a message carries."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=math.floor(epoch_s * 1000))


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _explained(payload: bytes, error: Exception) -> MessageError:
    """What a consumer counts by, and the decoder's own words with the place in the payload."""
    if isinstance(error.__cause__, MessageError):
        return MessageError(error.__cause__.reason, str(error).partition(": ")[2])
    try:
        payload.decode()
    except UnicodeDecodeError as where:
        return MessageError("encoding", str(where))
    text = str(error)
    if not isinstance(error, msgspec.ValidationError) or (
        text.startswith("Expected `object`, got") and "$" not in text
    ):
        return MessageError("json", text)
    if "`$.schema`" in text or "`schema`" in text:
        return MessageError("schema", text)
    return MessageError("counts" if _COUNTED.search(text) else "field", text)
