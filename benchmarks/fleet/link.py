"""One real MQTT connection and the devices that share it. paho is driven from outside: no thread, no waiting."""

import random
import socket
import ssl
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

from benchmarks.fleet.crowd import Crowd, Message
from contract.message import MessageError, stored_from_json
from contract.topics import parse
from edge.config import MqttConfig
from edge.uplink.connection import new_client
from edge.uplink.uplink import CONNECTING_S, SILENT_S
from service.backoff import Backoff

_HEARD = (("set", 1), ("stored", 0), ("state", 0))
"""What a device subscribes to: kind and QoS."""
_HEALTH_S = 30.0
_RECONNECT_MAX_S = 10.0
_MOST_FLYING = 20_000
"""Of one connection: MQTT numbers messages with 16 bits."""
_LATENCIES = 50_000


@dataclass(frozen=True, slots=True)
class Access:
    """How the brokers are reached, and when a message has arrived."""

    brokers: tuple[MqttConfig, ...]
    tls: ssl.SSLContext | None
    password: str | None
    confirm: str
    """As in a device's `[outbox]`: `puback`, or `stored`, the aggregator's word."""
    resend_s: float
    """Of `stored`: a message without that word for so long is sent again."""
    quiet: bool = False
    """Only counts: no state, no health, no subscriptions."""


@dataclass(slots=True)
class Tally:
    """What all connections did."""

    sent: int = 0
    """Messages handed to a connection, resends included."""
    resent: int = 0
    """Of them those that a connection had taken before; planned duplicates are not among them."""
    acknowledged: int = 0
    cuts: int = 0
    reconnects: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    """Why connections ended or never came to be."""
    puback_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    """Of the latest messages, from sending to PUBACK."""


class _Flight(NamedTuple):
    message: Message
    sent_s: float


class Link:
    """A client at one broker, at another after a failure. Every `now` is of the same monotonic clock."""

    def __init__(self, devices: list[int], crowd: Crowd, access: Access, tally: Tally, turn: int) -> None:
        """`devices`: numbers of those that share the connection; `turn`: which broker is tried first."""
        self.up = self.connecting = False
        self.open_s = 0.0
        """When to connect; while there is no connection."""
        self.fd = self.watched = -1
        """The connection's file descriptor, and the one that the kernel watches for it; -1: none."""
        self._devices, self._crowd, self._access, self._tally = devices, crowd, access, tally
        self._client: paho.Client | None = None
        self._turn, self._ups = turn, 0
        self._backoff = Backoff(_RECONNECT_MAX_S)
        self._since_s = self._health_s = self._resend_s = self._now = 0.0
        self._flying: dict[int, _Flight] = {}
        self._waiting: deque[Message] = deque()
        self._kept: dict[int, dict[int, Message]] = {number: {} for number in devices}
        self._old: set[tuple[int, int]] = set()
        self._events: list[str] = []
        self._window = min(20 * len(devices), _MOST_FLYING)

    @property
    def left(self) -> int:
        """Messages that are not yet confirmed."""
        return sum(map(len, self._kept.values()))

    @property
    def client(self) -> paho.Client | None:
        """While there is a connection, or one is being made."""
        return self._client

    def offer(self, message: Message) -> None:
        """A message to be sent as soon as may be."""
        self._kept[message.device][message.seq] = message
        self._waiting.append(message)

    def connect(self) -> str:
        """Make a connection; may wait for seconds, so call it in a thread. What went wrong, or ""."""
        broker = self._access.brokers[self._turn % len(self._access.brokers)]
        first = self._crowd.devices[self._devices[0]]
        client = new_client(broker, first.client_id, self._access.tls, self._access.password, clean=False)
        if not self._access.quiet:
            client.will_set(first.topic("state"), self._crowd.state(self._devices[0], "lost"), qos=1, retain=True)
        client.max_inflight_messages_set(0)
        client.on_connect = lambda _c, _d, _f, reason, _p: self._events.append(
            f"refused: {reason}" if reason.is_failure else "up"
        )
        client.on_disconnect = lambda _c, _d, _f, reason, _p: self._events.append(f"ended: {reason}")
        client.on_publish = lambda _c, _d, mid, _r, _p: self._arrived(mid)
        client.on_message = lambda _c, _d, heard: self._hear(heard.topic, bytes(heard.payload))
        self._client = client
        try:
            client.connect(broker.host, broker.port, broker.keepalive_s)
        except OSError as error:
            return str(error)
        return ""

    def connected(self, now: float) -> None:
        """`connect` succeeded: TCP stands, MQTT's answer is awaited."""
        channel = self._client.socket() if self._client else None
        if channel is None:
            self.fall("ended at once", now)
            return
        self.connecting, self.fd, self._since_s = False, channel.fileno(), now

    def read(self, now: float) -> None:
        """Whatever came."""
        client, self._now = self._client, now
        if client is None:
            return
        client.loop_read()
        channel = client.socket()
        while isinstance(channel, ssl.SSLSocket) and channel.pending():
            client.loop_read()
            channel = client.socket()
        self._settle(now)

    def pump(self, now: float) -> None:
        """Send what may be sent."""
        if self._client and self._client.want_write() and self._client.loop_write() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._settle(now)
        while self.up and self._waiting and len(self._flying) < self._window:
            message = self._waiting.popleft()
            info = self._client.publish(message.topic, message.payload, qos=1)  # type: ignore[union-attr]
            self._flying[info.mid] = _Flight(message, now)
            self._tally.sent += 1
        self._settle(now)

    def tick(self, now: float) -> None:
        """What is due; to be called once a second."""
        client = self._client
        if client is None or self.connecting:
            return
        client.loop_misc()
        oldest = next(iter(self._flying.values()), None)
        if not self.up and now - self._since_s > CONNECTING_S:
            self.fall("no answer", now)
        elif self.up and oldest and now - oldest.sent_s > SILENT_S:
            self.fall(f"no PUBACK for {SILENT_S:.0f} s", now)
        elif self.up:
            self._say_health(now)
            self._send_again(now)
        self._settle(now)

    def cut(self, now: float) -> None:
        """End the connection without a word, as a lost network does."""
        self._tally.cuts += 1
        self.fall("cut on purpose", now)

    def fall(self, trouble: str, now: float) -> None:
        """Give the connection up; the next one, at another broker, sends all that is unconfirmed again."""
        self._tally.troubles[trouble] += 1
        channel = self._client.socket() if self._client else None
        if isinstance(channel, socket.socket):
            channel.close()
        self._client, self.up, self.connecting, self.fd = None, False, False, -1
        self._events.clear()
        self._flying.clear()
        self._waiting.clear()
        self._turn += 1
        self.open_s = now + self._backoff.failed(now)

    def leave(self) -> None:
        """Say `stopped` and goodbye."""
        if self.up and self._client:
            if not self._access.quiet:
                self._say_state("stopped")
            self._client.disconnect()

    def _settle(self, now: float) -> None:
        """What paho has told since."""
        while self._events:
            event = self._events.pop(0)
            if event != "up":
                self.fall(event, now)
                return
            self._come_up(now)

    def _come_up(self, now: float) -> None:
        self.up, self._resend_s = True, now
        self._backoff.succeeded()
        self._tally.reconnects += self._ups > 0
        self._health_s = now + random.random() * _HEALTH_S
        if not self._access.quiet:
            self._subscribe()
            self._say_state("ready")
        self._waiting.clear()
        for kept in self._kept.values():
            self._waiting.extend(kept.values())
        self._tally.resent += len(self._waiting) if self._ups else 0
        self._ups += 1

    def _subscribe(self) -> None:
        topics = [(self._crowd.devices[number].topic(kind), qos) for number in self._devices for kind, qos in _HEARD]
        for start in range(0, len(topics), 300):
            self._client.subscribe(topics[start : start + 300])  # type: ignore[union-attr]

    def _say_state(self, state: str) -> None:
        for number in self._devices:
            topic = self._crowd.devices[number].topic("state")
            self._client.publish(topic, self._crowd.state(number, state), qos=1, retain=True)  # type: ignore[union-attr]

    def _say_health(self, now: float) -> None:
        if now < self._health_s or self._access.quiet:
            return
        self._health_s = now + _HEALTH_S
        for number in self._devices:
            health = self._crowd.health(number, time.time(), self._ups - 1, self._access.confirm)
            self._client.publish(self._crowd.devices[number].topic("health"), health, qos=1, retain=True)  # type: ignore[union-attr]

    def _send_again(self, now: float) -> None:
        """What was kept at the last look and still is, was sent and never confirmed."""
        if now < self._resend_s + self._access.resend_s:
            return
        self._resend_s = now
        busy = {(each.device, each.seq) for each in self._waiting}
        busy.update((flight.message.device, flight.message.seq) for flight in self._flying.values())
        kept = {(number, seq): message for number, by_seq in self._kept.items() for seq, message in by_seq.items()}
        again = [message for name, message in kept.items() if name in self._old and name not in busy]
        self._waiting.extend(again)
        self._tally.resent += len(again)
        self._old = set(kept)

    def _arrived(self, mid: int) -> None:
        flight = self._flying.pop(mid, None)
        if flight is None:
            return
        self._tally.acknowledged += 1
        self._tally.puback_s.append(self._now - flight.sent_s)
        # nobody confirms what cannot be read
        if self._access.confirm == "puback" or flight.message.seq < 0:
            self._kept[flight.message.device].pop(flight.message.seq, None)

    def _hear(self, topic: str, payload: bytes) -> None:
        device, kind = parse(topic)
        if kind != "stored" or self._access.confirm != "stored":
            return
        number = self._crowd.number(device)
        try:
            mark = stored_from_json(payload).get(self._crowd.boot(number), -1)
        except MessageError:
            return
        kept = self._kept[number]
        for seq in [seq for seq in kept if 0 <= seq <= mark]:
            del kept[seq]
