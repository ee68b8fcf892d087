"""What came from the broker to what goes into the store: read, or complained about. No clock, no I/O."""

from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

from contract.message import HORIZON_S, Count, CountsMessage, Health, Hex8, MessageError, State, decode
from contract.topics import Device, TopicError, parse

AHEAD_S = 3600.0
"""A frame from further in the future is stored as it is, but somebody should look at a clock."""
_HOPELESS = ("field", "counts")
"""Reasons for which the same bytes will be refused for ever, by any aggregator of this schema."""


class Item(NamedTuple):
    """One message as the broker gave it."""

    topic: str
    payload: bytes
    received: float
    """Seconds since 1970, by the aggregator's clock."""


_parse = lru_cache(maxsize=65536)(parse)
"""The same few topics come again and again."""


class Arrival(NamedTuple):
    """One readable message of a device's `counts` topic."""

    device: Device
    message: CountsMessage
    received: float
    """As in Item."""
    newest: float
    """When its newest frame was taken, seconds since 1970, by the device's clock."""


class Name(NamedTuple):
    """What names a counts message for ever: all but `received`."""

    device: Device
    boot: str
    seq: int
    received: float
    """As in Arrival."""


class _Named(Struct):
    """The fields that name a message, whatever else it holds."""

    boot: Hex8
    seq: Count


@dataclass(frozen=True, slots=True)
class Complaint:
    """One message that was dropped, or looked at twice."""

    reason: str
    """One of MessageError's reasons, or topic, too_old, ahead; only `ahead` is not dropped."""
    topic: str
    text: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction commits."""

    counts: list[Arrival] = field(default_factory=list)
    settled: list[Name] = field(default_factory=list)
    """Refused for good: confirmed without being counted, or the device would send them again for ever."""
    states: dict[Device, tuple[State, float]] = field(default_factory=dict)
    """The newest of each device, and when it came."""
    healths: dict[Device, tuple[Health, float]] = field(default_factory=dict)
    """The same."""
    complaints: list[Complaint] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    """Where among the items those stood that nothing of will be stored; each has a complaint."""


def read(items: list[Item]) -> Batch:
    """Everything readable in `items`, and a complaint for every one that is not."""
    batch = Batch()
    for index, item in enumerate(items):
        try:
            device, kind = _parse(item.topic)
        except TopicError as error:
            batch.complaints.append(Complaint("topic", item.topic, str(error)))
            batch.dropped.append(index)
            continue
        try:
            if not _read_one(batch, device, kind, item):
                batch.dropped.append(index)
        except MessageError as error:
            batch.dropped.append(index)
            batch.complaints.append(Complaint(error.reason, item.topic, str(error)))
            if kind == "counts" and error.reason in _HOPELESS:
                batch.settled.extend(_name(device, item))
    return batch


def arrived(device: Device, message: CountsMessage, received: float) -> Arrival:
    """The arrival of a message."""
    newest = max(frame.t for frame in message.frames)  # one format and zone: their order is that of the instants
    return Arrival(device, message, received, datetime.fromisoformat(newest).timestamp())


def _read_one(batch: Batch, device: Device, kind: str, item: Item) -> bool:
    """Whether anything of the item goes into the batch."""
    if kind == "counts":
        arrival = arrived(device, CountsMessage.from_json(item.payload), item.received)
        complaint = _untimely(arrival, item.topic)
        if complaint:
            batch.complaints.append(complaint)
        if complaint is not None and complaint.reason != "ahead":
            return False
        batch.counts.append(arrival)
    elif kind == "state":
        batch.states[device] = (State.from_json(item.payload), item.received)
    elif kind == "health":
        batch.healths[device] = (Health.from_json(item.payload), item.received)
    else:
        raise MessageError("topic", f"nothing is subscribed to {kind}")
    return True


def _untimely(arrival: Arrival, topic: str) -> Complaint | None:
    """What is wrong with the message's time; a clock that is not synchronised makes no claim about it."""
    age_s = arrival.received - arrival.newest
    if not arrival.message.synced or -AHEAD_S <= age_s <= HORIZON_S:
        return None
    if age_s > 0:
        return Complaint("too_old", topic, f"its newest frame is {age_s / 86400:.1f} days old")
    return Complaint("ahead", topic, f"its newest frame is {-age_s / 3600:.1f} hours in the future")


def _name(device: Device, item: Item) -> list[Name]:
    """The name of a message that cannot be read otherwise, if that much can be read."""
    try:
        named = decode(item.payload, _Named)
    except MessageError:
        return []
    return [Name(device, named.boot, named.seq, item.received)]
