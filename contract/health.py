"""What a device says of how it is: the payload of `health`, to JSON and back. No clock, no socket."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from contract import payload as p


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One payload of a device's retained `health` topic; of the time since the last one, where a field says no else."""

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
    outbox_first: Mapping[str, int]
    """Boot -> the lowest `seq` that waits to be confirmed; of the running boot always: the next `seq` if none waits.

    Nothing below will be sent again, so the aggregator no longer waits for it: what the outbox gave up, or another
    store confirmed, would else hold back `stored` for ever.
    """
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
        fields["t"] = p.instant(self.t)
        return p.compact({"schema": p.SCHEMA, **fields})

    @staticmethod
    def from_json(payload: bytes) -> "Health":
        """Read a payload.

        Raises:
            MessageError: Whatever is wrong with it.
        """
        fields = p.read_object(payload)
        p.check_schema(fields)
        p.check_fields(fields, frozenset({"schema", *Health.__dataclass_fields__}))
        for key, check in _CHECKS.items():
            p.require(check(fields[key]), "field", f"{key} is {fields[key]!r}"[:200])
        values = {key: fields[key] for key in Health.__dataclass_fields__}
        values["t"] = p.read_instant(fields["t"])
        values["latency_ms"] = {stage: tuple(pair) for stage, pair in fields["latency_ms"].items()}
        return Health(**values)


_CHECKS: Mapping[str, Callable[[object], bool]] = {
    "boot": p.is_hex8,
    "uptime_s": p.is_number,
    "rate_hz": p.is_number,
    "frame_age_s": p.optional(p.is_number),
    "latency_ms": p.is_latencies,
    "dropped_frames": p.is_count,
    "outbox_messages": p.is_count,
    "outbox_bytes": p.is_count,
    "outbox_oldest_s": p.is_number,
    "outbox_dropped": p.is_reasons,
    "outbox_first": p.is_marks,
    "confirm": lambda value: value in ("stored", "puback"),
    "reconnects": p.is_count,
    "temperature_c": p.optional(p.is_finite),
    "throttled": p.optional(p.is_text),
    "rss_bytes": p.is_count,
}
