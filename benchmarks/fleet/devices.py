"""The messages of simulated devices, and the windows that a store must hold for it. No clock, no socket."""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Literal, NamedTuple

from aggregator.store.windows import Key, Sums, add, fold
from contract.labels import EMOTIONS
from contract.message import MAX_BYTES, CountsMessage, FrameCounts, Health, State, StateName, instant, utc
from contract.topics import Device

Confirm = Literal["stored", "puback"]
"""As in a device's `[outbox]`."""
MODEL = "3f9c1a77"
_VERSION = "0"
_ROOMS = 50
"""Of one site; each has one device."""
_READINGS = 500
"""Different frames; devices show them in turn."""
_WITHHELD_SHARE = 0.05
_AGAIN_S = 5.0
"""A duplicate follows its message within this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to simulate. Shares are of the messages."""

    devices: int
    rate_hz: float
    """Frames per second of each device."""
    frames: int
    """In one message."""
    messages: int
    """Of all devices together."""
    duplicates: float = 0.0
    """Share that is sent once more, byte for byte, some seconds later."""
    late: float = 0.0
    """Share that is delayed, so that younger ones overtake it."""
    late_s: float = 20.0
    """The longest delay of a message."""
    malformed: float = 0.0
    """Unreadable messages on top, as a share; no window has them."""
    site: str = "sim"
    """Sites are called this and a number."""
    seed: int = 0

    @property
    def messages_hz(self) -> float:
        """Of all devices together."""
        return self.devices * self.rate_hz / self.frames


class Message(NamedTuple):
    """One payload of the `counts` topic; frozen, so that every resend has the same bytes."""

    device: int
    """Its number."""
    seq: int
    """Negative in a malformed one."""
    topic: str
    payload: bytes


class Fleet:
    """All devices. The caller brings the time, in seconds since 1970."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.devices = [_device(plan.site, number) for number in range(plan.devices)]
        self._numbers = {device: number for number, device in enumerate(self.devices)}
        self.expected: dict[Key, Sums] = {}
        """The windows of everything published so far, each message once."""
        self.published = self.delayed = self.duplicates = self.malformed = 0
        self._began = 0.0
        self._rng = random.Random(plan.seed)
        self._boots = [f"{self._rng.getrandbits(32):08x}" for _ in self.devices]
        self._topics = [device.topic("counts") for device in self.devices]
        self._readings = [_reading(self._rng) for _ in range(_READINGS)]
        self._delayed: list[tuple[float, int, Message]] = []
        self._order = count()

    def begin(self, now: float) -> None:
        """The first frames are taken now."""
        self._began = now

    @property
    def done(self) -> bool:
        """Whether everything was published."""
        return self.published == self.plan.messages and not self._delayed

    def behind_s(self, now: float) -> float:
        """For how long the next message has been due."""
        return max(0.0, now - self._due(self.published)) if self.published < self.plan.messages else 0.0

    def due(self, now: float, limit: int) -> Iterator[Message]:
        """What is to be sent by now, at most `limit` messages; at the end everything that was delayed."""
        for _ in range(limit):
            if self._delayed and (self._delayed[0][0] <= now or self.published == self.plan.messages):
                yield heapq.heappop(self._delayed)[2]
            elif self.published < self.plan.messages and self._due(self.published) <= now:
                yield from self._next()
            else:
                return

    def state(self, number: int, state: StateName) -> bytes:
        """The payload of a device's `state`."""
        boot = self._boots[number]
        return State(state=state, reason="", version=_VERSION, model=MODEL, min_faces=5, boot=boot).to_json()

    def health(self, number: int, now: float, reconnects: int, confirm: Confirm) -> bytes:
        """The payload of a device's `health`; everything since its start may come once more."""
        boot = self._boots[number]
        return Health(
            t=instant(utc(now)),
            boot=boot,
            uptime_s=round(now - self._began, 1),
            rate_hz=self.plan.rate_hz,
            frame_age_s=0.1,
            latency_ms={"capture": (20.0, 31.0), "detect": (51.0, 64.0)},
            dropped_frames=0,
            outbox_messages=0,
            outbox_bytes=0,
            outbox_oldest_s=0.0,
            outbox_dropped={},
            outbox_first={boot: 0},
            confirm=confirm,
            reconnects=reconnects,
            temperature_c=51.0,
            throttled="0x0",
            rss_bytes=110_000_000,
        ).to_json()

    def boot(self, number: int) -> str:
        """Of a device."""
        return self._boots[number]

    def number(self, device: Device) -> int:
        """Of one of `devices`."""
        return self._numbers[device]

    def _due(self, index: int) -> float:
        return self._began + index / self.plan.messages_hz

    def _next(self) -> Iterator[Message]:
        index, rng, plan = self.published, self._rng, self.plan
        at = self._due(index)
        seq, number = divmod(index, plan.devices)
        message = self._message(number, seq, at)
        self.published += 1
        if rng.random() < plan.late:
            self.delayed += 1
            self._delay(at + rng.random() * plan.late_s, message)
        else:
            yield message
        if rng.random() < plan.duplicates:
            self.duplicates += 1
            self._delay(at + plan.late_s + rng.random() * _AGAIN_S, message)
        if rng.random() < plan.malformed:
            self.malformed += 1
            yield self._malformed(message, -self.malformed)

    def _message(self, number: int, seq: int, at: float) -> Message:
        """The frames of the time before `at`, and what they add to the expected windows."""
        plan = self.plan
        frames = tuple(
            self._frame(seq * plan.frames + each + number, at - (plan.frames - 1 - each) / plan.rate_hz)
            for each in range(plan.frames)
        )
        message = CountsMessage(boot=self._boots[number], seq=seq, model=MODEL, clock="synced", frames=frames)
        for key, sums in fold(self.devices[number], message).items():
            add(self.expected, key, sums)
        return Message(number, seq, self._topics[number], message.to_json())

    def _frame(self, index: int, at: float) -> FrameCounts:
        reading = self._readings[index % _READINGS]
        if reading is None:
            return FrameCounts(t=instant(utc(at)), withheld=True)
        counts, expected = reading
        return FrameCounts(
            t=instant(utc(at)), faces=sum(counts.values()) + 1, unsure=1, counts=counts, expected=expected
        )

    def _delay(self, until: float, message: Message) -> None:
        heapq.heappush(self._delayed, (until, next(self._order), message))

    def _malformed(self, message: Message, seq: int) -> Message:
        """One that no aggregator may count, each kind in turn."""
        topic, payload = message.topic, message.payload.replace(self._boots[message.device].encode(), b"0badf00d")
        kinds = (
            (topic, payload[:-1]),
            (topic, b""),
            (topic, b"\xff" + payload),
            (topic, payload.replace(b'"schema":1', b'"schema":99')),
            (topic, payload.replace(b'"frames":[', b'"frames":[{"t":"now"},')),
            (topic, b"[" * 10_000),
            (topic, b" " * (MAX_BYTES + 1)),
            (topic.replace("cam-1", "Cam_1"), payload),
        )
        return Message(message.device, seq, *kinds[-seq % len(kinds)])


def _device(site: str, number: int) -> Device:
    return Device(f"{site}-{number // _ROOMS:04}", f"room-{number % _ROOMS:02}", "cam-1")


def _reading(rng: random.Random) -> tuple[dict[str, int], dict[str, float]] | None:
    """A class of about 25; None for a frame that is withheld."""
    if rng.random() < _WITHHELD_SHARE:
        return None
    counts = {label: rng.randrange(7) for label in EMOTIONS}
    return counts, {label: round(number * 0.97, 2) for label, number in counts.items()}
