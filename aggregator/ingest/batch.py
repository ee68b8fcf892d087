"""Where messages come from, when a batch of them ends, and what of it can be stored."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from typing import NamedTuple, Self

from msgspec import Struct

from aggregator.ingest.limits import Limits
from aggregator.store.types import Arrival, Batch, MessageId, Rejected
from contract.message import HORIZON_S, Count, CountsMessage, Health, Hex8, MessageError, State, decode
from contract.topics import TopicError, parse

_QUIET_S = 0.005
"""A batch ends when nothing more has come for so long."""
_LONGEST_S = 0.2
"""A batch ends when its first message has waited so long."""
_IDLE_S = 0.25
"""Without messages the caller gets an empty batch this often, for its other duties."""
_UNREADABLE = ("field", "counts")
"""Reasons for which the same bytes will be rejected for ever, by any aggregator of this schema."""


class RawMessage(NamedTuple):
    """One message as the broker gave it."""

    topic: str
    payload: bytes
    received: float
    """Seconds since 1970, by the aggregator's clock."""


Acknowledge = Callable[[Collection[int]], None]
"""Acknowledges one batch. Its argument: where in the batch the rejected messages are."""


class Source(ABC):
    """A broker; open it with `with`. One thread: the caller's, in which `_serve` waits and collects what came."""

    problem = ""
    """Why no messages of devices come although there is a connection, or ""."""

    def __init__(self, batch: int) -> None:
        """`batch`: messages of one batch at most."""
        self._batch = batch
        self._messages: list[RawMessage] = []
        self._ids: list[int] = []
        """What acknowledges each of them."""
        self.on_connected: Callable[[], None] = lambda: None
        """Called after every successful connection, to publish again what the broker may have forgotten."""

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *exc: object) -> None: ...

    @property
    @abstractmethod
    def connected(self) -> bool:
        """Whether what is published can arrive."""

    @abstractmethod
    def publish(self, topic: str, payload: bytes, *, retain: bool, qos: int = 1) -> None:
        """Publish once; may be lost while the broker is away, with `qos` 0 in a connection that ends, too."""

    @abstractmethod
    def _serve(self, span_s: float) -> None:
        """Wait for the network for `span_s` seconds at most, and do what there is to do."""

    @abstractmethod
    def _acknowledge(self, ids: list[int]) -> Acknowledge: ...

    def batches(self) -> Iterator[tuple[list[RawMessage], Acknowledge]]:
        """For ever: some messages, or none when nothing comes, and what acknowledges them."""
        while True:
            self._gather()
            messages, ids = self._messages[: self._batch], self._ids[: self._batch]
            del self._messages[: self._batch], self._ids[: self._batch]
            yield messages, self._acknowledge(ids)

    def serve(self, span_s: float) -> None:
        """Keep the connection alive for so long, however often something comes: that is in the next batch."""
        deadline = time.monotonic() + span_s
        while (left := deadline - time.monotonic()) > 0:
            self._serve(left)

    def _gather(self) -> None:
        """Serve until there is a batch, or nothing came for a while."""
        started = time.monotonic()
        while not self._messages and (left := started + _IDLE_S - time.monotonic()) > 0:
            self._serve(left)
        first = time.monotonic()
        while 0 < len(self._messages) < self._batch and time.monotonic() - first < _LONGEST_S:
            before = len(self._messages)
            self._serve(_QUIET_S)
            if len(self._messages) == before:
                return

    def _discard(self) -> None:
        """After a lost connection: what is in no batch yet comes again."""
        self._messages, self._ids = [], []


def read(messages: list[RawMessage], limits: Limits | None = None) -> Batch:
    """Everything readable in `messages`, and why the rest is not; without `limits` a device may send anything."""
    batch = Batch()
    for index, message in enumerate(messages):
        try:
            _read_one(batch, message, limits)
        except TopicError as error:
            batch.rejected.append(Rejected(index, "topic", message.topic, str(error)))
        except MessageError as error:
            batch.rejected.append(Rejected(index, error.reason, message.topic, str(error)))
            batch.settled.extend(_settled(message, error))
    return batch


_parse = lru_cache(maxsize=65536)(parse)
"""The same few topics come again and again."""


def _read_one(batch: Batch, raw: RawMessage, limits: Limits | None) -> None:
    device, kind = _parse(raw.topic)
    if limits:
        limits.admit(device, len(raw.payload), raw.received)
    if kind == "counts":
        arrival = Arrival.of(device, CountsMessage.from_json(raw.payload), raw.received)
        age_s = arrival.received - arrival.newest
        if arrival.message.synced and age_s > HORIZON_S:
            raise MessageError("too_old", f"its newest frame is {age_s / 86400:.1f} days old")
        batch.counts.append(limits.bounded(arrival) if limits else arrival)
    elif kind == "state":
        state = State.from_json(raw.payload)
        batch.states[device] = (state, raw.received)
        batch.said.append((device, state))
    elif kind == "health":
        batch.healths[device] = (Health.from_json(raw.payload), raw.received)
    else:
        raise TopicError(f"nothing is subscribed to {kind}")


class _IdFields(Struct):
    boot: Hex8
    seq: Count


def _settled(raw: RawMessage, error: MessageError) -> list[MessageId]:
    """The id of a `counts` message that can never be read, if that much of it can be."""
    device, kind = _parse(raw.topic)
    if kind != "counts" or error.reason not in _UNREADABLE:
        return []
    try:
        fields = decode(raw.payload, _IdFields)
    except MessageError:
        return []
    return [MessageId(device, fields.boot, fields.seq, raw.received)]
