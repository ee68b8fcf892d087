"""Devices of a cluster: real MQTT connections that go to another node and send again what has no PUBACK."""

import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from aggregator.ingest.batch import RawMessage, read
from aggregator.store.types import Batch
from aggregator.store.windows import Key, Sums, add, fold
from contract.labels import EMOTIONS
from contract.message import CountsMessage, FrameCounts, instant, utc
from contract.topics import Device

DICE = random.Random()  # noqa: S311 - no secret
"""Other faces, other faults in every run."""
_INFLIGHT = 20
_STEP_S = 0.02


def frame(at: float) -> FrameCounts:
    """A frame of random faces."""
    counts = {label: DICE.randrange(4) for label in EMOTIONS}
    return FrameCounts(t=instant(utc(at)), faces=sum(counts.values()), unsure=0, counts=counts, expected=counts)


def message(seq: int, at: float, *, boot: str = "9f3a2c41", synced: bool = True) -> CountsMessage:
    """One frame."""
    return CountsMessage(
        boot=boot, seq=seq, model="3f9c1a77", clock="synced" if synced else "unsynced", frames=(frame(at),)
    )


def batch(device: Device, *sent: CountsMessage, received: float | None = None) -> Batch:
    """As it comes from the brokers."""
    return read([RawMessage(device.topic("counts"), each.to_json(), received or time.time()) for each in sent])


@dataclass(slots=True)
class _Waiting:
    payload: bytes
    sent_at: float | None = None
    """On the present connection; None if not yet."""


class Publisher:
    """One device with an outbox, for one thread; `truth` is the windows of everything it accepted."""

    def __init__(self, device: Device, ports: list[int], answer_s: float = 8.0) -> None:
        """`ports` are the nodes'; one that acknowledges nothing for `answer_s` is left for the next."""
        self.device = device
        self.truth: dict[Key, Sums] = {}
        self.accepted = 0
        self.confirmed = 0
        self.reconnects = 0
        self._ports = ports
        self._answer_s = answer_s
        self._at = DICE.randrange(len(ports))
        self._boot = token_hex(4)
        self._waiting: dict[int, _Waiting] = {}
        self._mids: dict[int, int] = {}
        self._acknowledged = deque[int]()
        self._client: paho.Client | None = None
        self._begun = 0.0

    @property
    def waits(self) -> int:
        """Messages without PUBACK."""
        return len(self._waiting)

    def accept(self, frames: int = 1) -> None:
        """A new message into the outbox."""
        now = time.time()
        message = CountsMessage(
            boot=self._boot,
            seq=self.accepted,
            model="3f9c1a77",
            clock="synced",
            frames=tuple(frame(now - DICE.random() * 30) for _ in range(frames)),
        )
        for key, sums in fold(self.device, message).items():
            add(self.truth, key, sums)
        self._waiting[self.accepted] = _Waiting(message.to_json())
        self.accepted += 1

    def step(self) -> None:
        """Connect, send, send again, or leave a node that does not answer."""
        now = time.monotonic()
        self._take_acknowledgements()
        if self._client is None:
            self._connect(now)
        elif not self._client.is_connected():
            if now - self._begun > self._answer_s:
                self.leave()
        else:
            under_way = [each.sent_at for each in self._waiting.values() if each.sent_at is not None]
            fresh = [(seq, each) for seq, each in self._waiting.items() if each.sent_at is None]
            if under_way and now - min(under_way) > self._answer_s:
                self.leave()
                return
            for seq, each in fresh[: max(0, _INFLIGHT - len(under_way))]:
                self._send(seq, each, now)

    def leave(self) -> None:
        """Give the connection up; the next one is to another node."""
        client, self._client = self._client, None
        if client is None:
            return
        client.disconnect()
        client.loop_stop()
        self._take_acknowledgements()
        self._mids.clear()
        for each in self._waiting.values():
            each.sent_at = None
        self._at += 1
        self.reconnects += 1

    def again(self) -> None:
        """Send something a second time while the first is under way."""
        under_way = [each for each in self._waiting.values() if each.sent_at is not None]
        if under_way and self._client:
            self._client.publish(self.device.topic("counts"), DICE.choice(under_way).payload, qos=1)

    def _connect(self, now: float) -> None:
        client = paho.Client(CallbackAPIVersion.VERSION2, self.device.client_id, protocol=paho.MQTTv311)
        client.username_pw_set("guest", "guest")
        self._acknowledged = acknowledged = deque[int]()
        # paho's thread holds locks of its own here: it only enqueues
        client.on_publish = lambda _client, _data, mid, _code, _more: acknowledged.append(mid)
        client.reconnect_delay_set(1, 2)
        client.connect_async(
            "127.0.0.1", self._ports[self._at % len(self._ports)], keepalive=max(10, int(self._answer_s))
        )
        client.loop_start()
        self._client, self._begun = client, now

    def _send(self, seq: int, each: _Waiting, now: float) -> None:
        assert self._client is not None
        each.sent_at = now
        self._mids[self._client.publish(self.device.topic("counts"), each.payload, qos=1).mid] = seq

    def _take_acknowledgements(self) -> None:
        while self._acknowledged:
            seq = self._mids.pop(self._acknowledged.popleft(), None)
            if seq is not None and self._waiting.pop(seq, None):
                self.confirmed += 1


@dataclass
class Fleet:
    """Publishers on a thread; `with` ends it."""

    publishers: list[Publisher]
    rate_hz: float = 1.0
    """Of each."""
    restless: float = 0.005
    """Chance at each message to leave the connection."""
    producing: bool = True
    _ended: threading.Event = field(default_factory=threading.Event)
    trouble: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join(60)
        for publisher in self.publishers:
            publisher.leave()

    def truth(self) -> dict[Key, Sums]:
        """The windows of everything that was ever accepted."""
        windows: dict[Key, Sums] = {}
        for publisher in self.publishers:
            for key, sums in publisher.truth.items():
                add(windows, key, sums)
        return windows

    @property
    def accepted(self) -> int:
        """Messages."""
        return sum(publisher.accepted for publisher in self.publishers)

    @property
    def confirmed(self) -> int:
        """Of them, those with a PUBACK."""
        return sum(publisher.confirmed for publisher in self.publishers)

    @property
    def settled(self) -> bool:
        """Whether the brokers have confirmed everything."""
        if self.trouble:
            raise AssertionError("the fleet's thread ended") from self.trouble
        return not any(publisher.waits for publisher in self.publishers)

    def _run(self) -> None:
        try:
            while not self._ended.wait(_STEP_S):
                for publisher in self.publishers:
                    self._move(publisher)
        except BaseException as error:  # noqa: BLE001 - told by `settled`
            self.trouble = error

    def _move(self, publisher: Publisher) -> None:
        if self.producing and DICE.random() < self.rate_hz * _STEP_S:
            publisher.accept(frames=DICE.choice((1, 1, 3)))
            dice = DICE.random()
            if dice < self.restless:
                publisher.leave()
            elif dice < 0.1:
                publisher.again()
        publisher.step()


def fleet_of(site: str, number: int, ports: list[int], answer_s: float = 8.0, **options: float) -> Fleet:
    """`number` devices, two in each room."""
    devices = [Device(site, f"room-{index // 2}", f"cam-{index % 2}") for index in range(number)]
    return Fleet([Publisher(device, ports, answer_s) for device in devices], **options)
