"""What the devices of a fleet say, and the windows that a store must hold for it. No clock, no socket."""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from aggregator.store.windows import Key, Sums, add, fold
from contract.labels import EMOTIONS
from contract.message import MAX_BYTES, CountsMessage, FrameCounts, Health, State, instant, utc
from contract.topics import Device

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
    """Share that is kept back, so that younger ones overtake it."""
    late_s: float = 20.0
    """The longest that a message is kept back."""
    broken: float = 0.0
    """Unreadable messages on top, as a share; the truth does not hold them."""
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
    """Negative in a broken one."""
    topic: str
    payload: bytes


class Crowd:
    """All devices. The caller brings the time, in seconds since 1970."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.devices = [_device(plan.site, number) for number in range(plan.devices)]
        self._numbers = {device: number for number, device in enumerate(self.devices)}
        self.truth: dict[Key, Sums] = {}
        """The windows of everything said so far, each message once."""
        self.said = self.held_back = self.duplicates = self.broken = 0
        self._began = 0.0
        self._dice = random.Random(plan.seed)
        self._boots = [f"{self._dice.getrandbits(32):08x}" for _ in self.devices]
        self._topics = [device.topic("counts") for device in self.devices]
        self._readings = [_reading(self._dice) for _ in range(_READINGS)]
        self._held: list[tuple[float, int, Message]] = []
        self._ticket = count()

    def begin(self, now: float) -> None:
        """The first frames are taken now."""
        self._began = now

    @property
    def done(self) -> bool:
        """Whether everything has been said."""
        return self.said == self.plan.messages and not self._held

    def behind_s(self, now: float) -> float:
        """For how long the next message has been due."""
        return max(0.0, now - self._due(self.said)) if self.said < self.plan.messages else 0.0

    def due(self, now: float, most: int) -> Iterator[Message]:
        """What is to be sent by now, `most` of it at once; at the end everything that was kept back."""
        for _ in range(most):
            if self._held and (self._held[0][0] <= now or self.said == self.plan.messages):
                yield heapq.heappop(self._held)[2]
            elif self.said < self.plan.messages and self._due(self.said) <= now:
                yield from self._next()
            else:
                return

    def state(self, number: int, state: str) -> bytes:
        """The payload of a device's `state`."""
        boot = self._boots[number]
        return State(state=state, reason="", version=_VERSION, model=MODEL, min_faces=5, boot=boot).to_json()

    def health(self, number: int, now: float, reconnects: int, confirm: str) -> bytes:
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
        index, dice, plan = self.said, self._dice, self.plan
        at = self._due(index)
        seq, number = divmod(index, plan.devices)
        message = self._message(number, seq, at)
        self.said += 1
        if dice.random() < plan.late:
            self.held_back += 1
            self._hold(at + dice.random() * plan.late_s, message)
        else:
            yield message
        if dice.random() < plan.duplicates:
            self.duplicates += 1
            self._hold(at + plan.late_s + dice.random() * _AGAIN_S, message)
        if dice.random() < plan.broken:
            self.broken += 1
            yield self._spoil(message, -self.broken)

    def _message(self, number: int, seq: int, at: float) -> Message:
        """The frames of the time before `at`, and what they add to the truth."""
        plan = self.plan
        frames = tuple(
            self._frame(seq * plan.frames + each + number, at - (plan.frames - 1 - each) / plan.rate_hz)
            for each in range(plan.frames)
        )
        said = CountsMessage(boot=self._boots[number], seq=seq, model=MODEL, clock="synced", frames=frames)
        for key, sums in fold(self.devices[number], said).items():
            add(self.truth, key, sums)
        return Message(number, seq, self._topics[number], said.to_json())

    def _frame(self, index: int, at: float) -> FrameCounts:
        reading = self._readings[index % _READINGS]
        if reading is None:
            return FrameCounts(t=instant(utc(at)), withheld=True)
        counts, expected = reading
        return FrameCounts(
            t=instant(utc(at)), faces=sum(counts.values()) + 1, unsure=1, counts=counts, expected=expected
        )

    def _hold(self, until: float, message: Message) -> None:
        heapq.heappush(self._held, (until, next(self._ticket), message))

    def _spoil(self, message: Message, seq: int) -> Message:
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


def _reading(dice: random.Random) -> tuple[dict[str, int], dict[str, float]] | None:
    """A class of about 25; None for a frame that is withheld."""
    if dice.random() < _WITHHELD_SHARE:
        return None
    counts = {label: dice.randrange(7) for label in EMOTIONS}
    return counts, {label: round(number * 0.97, 2) for label, number in counts.items()}
