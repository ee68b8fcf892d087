"""Accepted messages that are not on disk: which are to be sent, which are to be saved. No clock, no disk, no socket."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

UNACKED_S = 0.8
"""Without PUBACK for this long a message goes to disk: with the daemon's tick and the disk's time, within a second."""
UNCONFIRMED_S = 15.0
"""Without confirmation for this long it goes to disk, PUBACK or not."""
OVERHEAD_BYTES = 64
"""What a message takes beside its payload, in memory or on disk, roughly."""


class Name(NamedTuple):
    """What names a message of this device for ever."""

    boot: str
    seq: int


@dataclass(slots=True, eq=False)
class Message:
    """What is sent, each time the same, and how far it has come."""

    name: Name
    payload: bytes
    t: float | None
    """Its newest frame, seconds since 1970; None if the clock was not synchronised."""
    accepted_s: float
    sent_s: float | None = None
    acked: bool = False

    @property
    def size(self) -> int:
        """Bytes that it takes, roughly."""
        return len(self.payload) + OVERHEAD_BYTES


class Memory:
    """Messages in the order of acceptance."""

    def __init__(self) -> None:
        self.bytes = 0
        self._messages: dict[Name, Message] = {}
        self._unsent: deque[Message] = deque()

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages.values())

    def add(self, message: Message) -> None:
        """A new message, to be sent."""
        self._messages[message.name] = message
        self._unsent.append(message)
        self.bytes += message.size

    def remove(self, names: Iterable[Name]) -> None:
        """Forget messages; those that are not here are no error."""
        for name in names:
            message = self._messages.pop(name, None)
            if message:
                self.bytes -= message.size

    def get(self, name: Name) -> Message | None:
        """The message, if it is here."""
        return self._messages.get(name)

    def oldest(self) -> Message | None:
        """The message accepted first."""
        return next(iter(self), None)

    def confirmed(self, marks: Mapping[str, int]) -> list[Name]:
        """The messages up to these marks, boot -> seq."""
        return [name for name in self._messages if name.seq <= marks.get(name.boot, -1)]

    def next_unsent(self) -> Message | None:
        """The oldest message that is to be sent; the same until `sent_s` is set or it is removed."""
        while self._unsent:
            message = self._unsent[0]
            if message.sent_s is None and message.name in self._messages:
                return message
            self._unsent.popleft()
        return None

    def due(self, now: float, *, away: bool, trusted: bool) -> list[Message]:
        """The messages that must go to disk now.

        Args:
            now: Monotonic seconds.
            away: Whether the broker is away; then all go with the oldest, in one write.
            trusted: Whether a PUBACK counts for as long as UNCONFIRMED_S.
        """
        oldest = self.oldest()
        if oldest is None or now - oldest.accepted_s < UNACKED_S:
            return []
        if away:
            return list(self)
        due = []
        for message in self:
            age_s = now - message.accepted_s
            if age_s < UNACKED_S:
                break
            if not (message.acked and trusted) or age_s >= UNCONFIRMED_S:
                due.append(message)
        return due

    def send_again(self, sent_before_s: float) -> None:
        """Send again what was sent before then."""
        again = [message for message in self if message.sent_s is not None and message.sent_s <= sent_before_s]
        for message in again:
            message.sent_s, message.acked = None, False
        if again:
            self._unsent = deque(message for message in self if message.sent_s is None)
