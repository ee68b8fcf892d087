"""Messages until they are confirmed: in memory first, in a file when they must be. No clock, no socket, one thread.

What the broker acknowledges and the aggregator confirms in time never touches the SD card.
"""

import logging
import math
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path

from contract.message import CountsMessage, FrameCounts
from edge.config import OutboxConfig
from edge.uplink.memory import Memory, Message, Name
from edge.uplink.outbox_file import OutboxFile

log = logging.getLogger(__name__)

MEMORY_BYTES = 8 * 2**20
"""The most that waits in memory while the file cannot be written: an hour of 5 frames/s."""
_AGE_CHECK_S = 60.0
_PIECE = 100
"""Messages of one transaction."""


class Outbox:
    """The messages that wait to be confirmed. Every `now` is of the same monotonic clock, in seconds."""

    def __init__(self, path: Path, config: OutboxConfig, boot: str, now: float) -> None:
        """Open the file; what earlier boots left in it waits from now on."""
        self._boot = boot
        self._next_seq = 0
        self._config = config
        self._memory = Memory()
        self._file = OutboxFile(path, boot, now)
        self._dropped: Counter[str] = Counter()
        self._marks: dict[str, int] = {}
        self._acked: set[Name] = set()
        """On disk, and acknowledged where that confirms."""
        self._trusted = False
        self._trusted_from = 0
        self._age_check_s = now
        self._replay: deque[Message] = deque()
        self._replay_after = 0
        self._replaying = True
        self._replay_again_s = math.inf

    def accept(self, frames: tuple[FrameCounts, ...], model: str | None, now: float, *, synced: bool) -> Message:
        """Name a message and freeze its bytes; from here on it is stored, or counted in `dropped`."""
        name = Name(self._boot, self._next_seq)
        payload = CountsMessage(
            boot=name.boot, seq=name.seq, model=model, clock="synced" if synced else "unsynced", frames=frames
        ).to_json()
        self._next_seq += 1
        message = Message(name, payload, frames[-1].time.timestamp() if synced else None, now)
        self._memory.add(message)
        return message

    def next_live(self) -> Message | None:
        """The oldest message in memory that is to be sent; the same until `sent` is told."""
        return self._memory.next_unsent()

    def next_saved(self, now: float) -> Message | None:
        """The next message from the file that is to be sent, oldest first; it counts as sent.

        A pass over the file begins with a connection and `resend_s` after the last one ended.
        """
        if now >= self._replay_again_s:
            self._begin_pass()
        if not self._replay and self._replaying:
            messages, self._replay_after = self._file.after(self._replay_after, now)
            self._replay.extend(messages)
            if not messages:
                self._replaying, self._replay_again_s = False, min(self._replay_again_s, now + self._config.resend_s)
        return self._replay.popleft() if self._replay else None

    def sent(self, name: Name, now: float) -> None:
        """The connection took it."""
        message = self._memory.get(name)
        if message:
            message.sent_s = now

    def acked(self, name: Name) -> None:
        """The broker sent its PUBACK."""
        message = self._memory.get(name)
        if self._config.confirm == "puback":
            self._memory.remove([name])
            if message is None:
                self._acked.add(name)
        elif message:
            message.acked = True

    def confirm(self, marks: Mapping[str, int]) -> None:
        """The aggregator's word: of each boot everything up to this seq is in its store."""
        if self._config.confirm == "stored":
            self._memory.remove(self._memory.confirmed(marks))
            self._marks.update(marks)
            self._trusted |= marks.get(self._boot, -1) >= self._trusted_from

    def connected(self) -> None:
        """Everything unconfirmed is to be sent over a new connection.

        Its PUBACKs are not trusted before something accepted since is confirmed: a broker that was killed has forgotten
        the aggregator's subscription, and acknowledges what it then gives to nobody.
        """
        self._memory.send_again(math.inf)
        self._begin_pass()
        self._trusted, self._trusted_from = self._config.confirm == "puback", self._next_seq

    def disconnected(self, now: float) -> None:
        """The broker may be dead, and with it what it has acknowledged: everything goes to disk."""
        self._save(list(self._memory), now)

    def tick(self, now: float, *, away: bool, utc_s: float | None = None) -> None:
        """Save, delete, give up and send again what is due; to be called several times a second.

        Args:
            now: Monotonic seconds.
            away: Whether the broker is away.
            utc_s: Seconds since 1970; None while the clock is not synchronised.
        """
        self._file.tick(now)
        self._delete_confirmed(now)
        self._save(self._memory.due(now, away=away, trusted=self._trusted), now)
        self._memory.send_again(now - self._config.resend_s)
        self._bound(now, utc_s)

    def close(self, now: float) -> None:
        """Put everything into the file and close it."""
        self._file.tick(math.inf)
        self._delete_confirmed(now)
        self._save(list(self._memory), now)
        if len(self._memory):
            log.error("%d messages are lost with this process: %s", len(self._memory), self.trouble)
        self._file.close()

    @property
    def trouble(self) -> str:
        """Why messages cannot be saved now; "" if they can."""
        return self._file.trouble

    @property
    def messages(self) -> int:
        """How many wait."""
        return self._file.rows + len(self._memory)

    @property
    def bytes(self) -> int:
        """What they take, roughly."""
        return self._file.bytes + self._memory.bytes

    @property
    def dropped(self) -> dict[str, int]:
        """Reason -> messages given up since the start: size, age, disk, corrupt."""
        return dict(self._dropped + self._file.dropped)

    def oldest_s(self, now: float, utc_s: float | None) -> float:
        """Age of the oldest message as far as it is known; 0 if there is none."""
        in_memory = self._memory.oldest()
        on_disk = self._file.oldest_t(now) if self._file.rows else None
        return max(
            now - in_memory.accepted_s if in_memory else 0.0,
            utc_s - on_disk if utc_s is not None and on_disk is not None else 0.0,
        )

    def first(self, now: float) -> dict[str, int]:
        """Boot -> the lowest seq that waits; of this boot always, the next seq if none waits."""
        first = self._file.first(now)
        in_memory = self._memory.oldest()
        seq = in_memory.name.seq if in_memory else self._next_seq
        first[self._boot] = min(seq, first.get(self._boot, seq))
        return first

    def _begin_pass(self) -> None:
        self._replay.clear()
        self._replay_after, self._replaying, self._replay_again_s = 0, True, math.inf

    def _save(self, messages: list[Message], now: float) -> None:
        for start in range(0, len(messages), _PIECE):  # a disk that is nearly full takes some of them
            piece = messages[start : start + _PIECE]
            if not self._file.save(piece, now):
                return
            self._memory.remove([message.name for message in piece])
            # what was never sent does not wait for the next pass
            self._replaying |= any(message.sent_s is None for message in piece)

    def _delete_confirmed(self, now: float) -> None:
        if (self._marks or self._acked) and self._file.delete(self._marks, self._acked, now):
            self._marks.clear()
            self._acked.clear()

    def _bound(self, now: float, utc_s: float | None) -> None:
        while (oldest := self._memory.oldest()) and (
            self._memory.bytes > MEMORY_BYTES or now - oldest.accepted_s > self._config.max_age_s
        ):
            reason = "disk" if self._memory.bytes > MEMORY_BYTES else "age"
            self._memory.remove([oldest.name])
            self._dropped[reason] += 1
        if now >= self._age_check_s or self._file.bytes > self._config.max_bytes:
            self._age_check_s = now + _AGE_CHECK_S
            oldest_t = utc_s - self._config.max_age_s if utc_s is not None else None
            self._file.bound(self._config.max_bytes, oldest_t, now)
