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

from benchmarks.fleet.devices import Confirm, Fleet, Message
from contract.message import MessageError, StateName, stored_from_json
from contract.topics import parse
from edge.config import MqttConfig
from edge.uplink.connection import new_client, subscriptions
from edge.uplink.uplink import CONNECTING_S, RETRY_S, SILENT_S
from service.backoff import Backoff

_HEALTH_S = 30.0
_MAX_IN_FLIGHT = 20_000
"""Of one connection: MQTT numbers messages with 16 bits."""
_LATENCIES = 50_000


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How the brokers are reached, and when a message has arrived."""

    brokers: tuple[MqttConfig, ...]
    tls: ssl.SSLContext | None
    password: str | None
    confirm: Confirm
    resend_s: float
    """With `stored`: a message without confirmation for so long is sent again."""
    quiet: bool = False
    """Only counts: no state, no health, no subscriptions."""


@dataclass(slots=True)
class Stats:
    """What all connections did."""

    sent: int = 0
    """Messages handed to a connection, resends included."""
    resent: int = 0
    """Of them those that were sent before; planned duplicates are not among them."""
    acknowledged: int = 0
    disconnects: int = 0
    reconnects: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Why connections ended or never came to be."""
    puback_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    """Of the latest messages, from sending to PUBACK."""


class _InFlight(NamedTuple):
    message: Message
    sent_s: float


class Connection:
    """A client at one broker, at another after a failure. Every `now` is of the same monotonic clock."""

    def __init__(self, devices: list[int], fleet: Fleet, options: ConnectionOptions, stats: Stats, broker: int) -> None:
        """`devices`: numbers of those that share the connection; `broker`: which broker is tried first."""
        self.accepted = self.connecting = False
        self.acknowledged_s = float("-inf")
        """When the latest message had its PUBACK."""
        self.open_s = 0.0
        """When to connect; while there is no connection."""
        self.fd = self.watched = -1
        """The connection's file descriptor, and the one that the kernel watches for it; -1: none."""
        self._devices, self._fleet, self._options, self._stats = devices, fleet, options, stats
        self._client: paho.Client | None = None
        self._broker, self._accepts = broker, 0
        self._backoff = Backoff(options.brokers[0].reconnect_max_s, first_s=RETRY_S)
        self._since_s = self._health_s = self._resend_s = self._now = 0.0
        self._in_flight: dict[int, _InFlight] = {}
        self._queue: deque[Message] = deque()
        self._unconfirmed: dict[int, dict[int, Message]] = {number: {} for number in devices}
        self._seen: set[tuple[int, int]] = set()
        self._events: list[str] = []
        self._window = min(20 * len(devices), _MAX_IN_FLIGHT)

    @property
    def unconfirmed(self) -> int:
        """Messages that are not yet confirmed."""
        return sum(map(len, self._unconfirmed.values()))

    @property
    def client(self) -> paho.Client | None:
        """While there is a connection, or one is being made."""
        return self._client

    def send(self, message: Message) -> None:
        """Send a message as soon as possible."""
        self._unconfirmed[message.device][message.seq] = message
        self._queue.append(message)

    def connect(self) -> str:
        """Make a connection; may wait for seconds, so call it in a thread. What went wrong, or ""."""
        broker = self._options.brokers[self._broker % len(self._options.brokers)]
        first = self._fleet.devices[self._devices[0]]
        client = new_client(broker, first.client_id, self._options.tls, self._options.password)
        if not self._options.quiet:
            client.will_set(first.topic("state"), self._fleet.state(self._devices[0], "lost"), qos=1, retain=True)
        client.max_inflight_messages_set(0)
        client.on_connect = lambda _c, _d, _f, reason, _p: self._events.append(
            f"refused: {reason}" if reason.is_failure else "accepted"
        )
        client.on_subscribe = lambda *_: self._events.append("subscribed")
        client.on_disconnect = lambda _c, _d, _f, reason, _p: self._events.append(f"ended: {reason}")
        client.on_publish = lambda _c, _d, mid, _r, _p: self._on_puback(mid)
        client.on_message = lambda _c, _d, message: self._on_message(message.topic, bytes(message.payload))
        self._client = client
        try:
            client.connect(broker.host, broker.port, broker.keepalive_s)
        except OSError as error:
            return str(error)
        return ""

    def tcp_connected(self, now: float) -> None:
        """`connect` succeeded: the TCP connection is there, MQTT's answer is awaited."""
        channel = self._client.socket() if self._client else None
        if channel is None:
            self.fail("ended at once", now)
            return
        self.connecting, self.fd, self._since_s = False, channel.fileno(), now

    def read(self, now: float) -> None:
        """Read what was received."""
        client, self._now = self._client, now
        if client is None:
            return
        client.loop_read()
        channel = client.socket()
        while isinstance(channel, ssl.SSLSocket) and channel.pending():
            client.loop_read()
            channel = client.socket()
        self._handle_events(now)

    def flush(self, now: float) -> None:
        """Send what the window allows."""
        if self._client and self._client.want_write() and self._client.loop_write() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._handle_events(now)
        while self.accepted and self._queue and len(self._in_flight) < self._window:
            message = self._queue.popleft()
            info = self._client.publish(message.topic, message.payload, qos=1)  # type: ignore[union-attr]
            self._in_flight[info.mid] = _InFlight(message, now)
            self._stats.sent += 1
        self._handle_events(now)

    def tick(self, now: float) -> None:
        """What is due; to be called once a second."""
        client = self._client
        if client is None or self.connecting:
            return
        client.loop_misc()
        oldest = next(iter(self._in_flight.values()), None)
        patience = self._backoff.patience
        if not self.accepted and now - self._since_s > CONNECTING_S * patience:
            self.fail(f"no answer for {CONNECTING_S * patience:.0f} s", now)
        elif self.accepted and oldest and now - oldest.sent_s > SILENT_S * patience:
            self.fail(f"no PUBACK for {SILENT_S * patience:.0f} s", now)
        elif self.accepted:
            self._publish_health(now)
            self._resend(now)
        self._handle_events(now)

    def disconnect(self, now: float) -> None:
        """End the connection without DISCONNECT, as a lost network does."""
        self._stats.disconnects += 1
        self.fail("disconnected on purpose", now)

    def fail(self, reason: str, now: float) -> None:
        """Give the connection up; the next one, at another broker, sends all that is unconfirmed again."""
        self._stats.failures[reason] += 1
        channel = self._client.socket() if self._client else None
        if isinstance(channel, socket.socket):
            channel.close()
        self._client, self.accepted, self.connecting, self.fd = None, False, False, -1
        self._events.clear()
        self._in_flight.clear()
        self._queue.clear()
        self._broker += 1
        self.open_s = now + self._backoff.failed(now)

    def close(self) -> None:
        """Publish `stopped` and disconnect."""
        if self.accepted and self._client:
            if not self._options.quiet:
                self._publish_state("stopped")
            self._client.disconnect()

    def _handle_events(self, now: float) -> None:
        """React to paho's callbacks."""
        while self._events:
            event = self._events.pop(0)
            if event == "accepted" and not self._options.quiet:
                self._subscribe()
            elif event in ("accepted", "subscribed"):
                self._on_accepted(now)
            else:
                self.fail(event, now)
                return

    def _on_accepted(self, now: float) -> None:
        if self.accepted:  # several devices on one connection subscribe in several steps
            return
        self.accepted, self._resend_s = True, now
        self._stats.reconnects += self._accepts > 0
        self._health_s = now + random.random() * _HEALTH_S
        if not self._options.quiet:
            self._publish_state("ready")
        self._queue.clear()
        for messages in self._unconfirmed.values():
            self._queue.extend(messages.values())
        self._stats.resent += len(self._queue) if self._accepts else 0
        self._accepts += 1

    def _subscribe(self) -> None:
        devices = (self._fleet.devices[number] for number in self._devices)
        wanted = subscriptions(self._options.confirm)
        topics = [(device.topic(kind), qos) for device in devices for kind, qos in wanted]
        for start in range(0, len(topics), 300):
            self._client.subscribe(topics[start : start + 300])  # type: ignore[union-attr]

    def _publish_state(self, state: StateName) -> None:
        for number in self._devices:
            topic = self._fleet.devices[number].topic("state")
            self._client.publish(topic, self._fleet.state(number, state), qos=1, retain=True)  # type: ignore[union-attr]

    def _publish_health(self, now: float) -> None:
        if now < self._health_s or self._options.quiet:
            return
        self._health_s = now + _HEALTH_S
        for number in self._devices:
            health = self._fleet.health(number, time.time(), self._accepts - 1, self._options.confirm)
            self._client.publish(self._fleet.devices[number].topic("health"), health, qos=1, retain=True)  # type: ignore[union-attr]

    def _resend(self, now: float) -> None:
        """What was unconfirmed at the last resend and still is, was sent and never confirmed."""
        if now < self._resend_s + self._options.resend_s:
            return
        self._resend_s = now
        busy = {(each.device, each.seq) for each in self._queue}
        busy.update((flight.message.device, flight.message.seq) for flight in self._in_flight.values())
        kept = {(n, seq): message for n, by_seq in self._unconfirmed.items() for seq, message in by_seq.items()}
        again = [message for name, message in kept.items() if name in self._seen and name not in busy]
        self._queue.extend(again)
        self._stats.resent += len(again)
        self._seen = set(kept)

    def _on_puback(self, mid: int) -> None:
        self._backoff.succeeded()
        flight = self._in_flight.pop(mid, None)
        if flight is None:
            return
        self._stats.acknowledged += 1
        self.acknowledged_s = self._now
        self._stats.puback_s.append(self._now - flight.sent_s)
        # nobody confirms what cannot be read
        if self._options.confirm == "puback" or flight.message.seq < 0:
            self._unconfirmed[flight.message.device].pop(flight.message.seq, None)

    def _on_message(self, topic: str, payload: bytes) -> None:
        device, kind = parse(topic)
        if kind != "stored" or self._options.confirm != "stored":
            return
        number = self._fleet.number(device)
        try:
            last = stored_from_json(payload).get(self._fleet.boot(number), -1)
        except MessageError:
            return
        kept = self._unconfirmed[number]
        for seq in [seq for seq in kept if 0 <= seq <= last]:
            del kept[seq]
