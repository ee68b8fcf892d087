"""The connection to the broker. The only importer of paho; its callbacks only tell what happened."""

import logging
import random
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.config import EdgeConfig, MqttConfig
from edge.uplink.credentials import broker_password, tls_context

log = logging.getLogger(__name__)

CONNECT_S = 10.0
"""The longest that one attempt to reach the broker may take, TCP and TLS each."""
_SPARE = 64
"""Messages in flight beside the counts: states and healths."""
_HEARD = (("set", 1), ("stored", 0), ("state", 0))
"""Kinds and QoS. Only orders must outlive an absence; the others are retained."""


class Up(NamedTuple):
    """The broker took us in."""

    connection: int


class Down(NamedTuple):
    """The connection ended, or never came to be."""

    connection: int
    reason: str


class Acked(NamedTuple):
    """The PUBACK of one message came; also what names that message until then."""

    connection: int
    mid: int


class Heard(NamedTuple):
    """The broker sent a message."""

    connection: int
    kind: str
    payload: bytes


Event = Up | Down | Acked | Heard


class BrokerError(RuntimeError):
    """The broker cannot be used; the text says why."""


class Link(Protocol):
    """What a courier needs of a connection; `Publisher` is the real one."""

    connection: int
    """Events of any other are old news."""

    def open(self) -> None:
        """Begin a new connection; `Up` or `Down` is told later."""

    def send(self, kind: str, payload: bytes, *, retain: bool) -> Acked:
        """Hand a message over; the event returned is told later, or never."""

    def drop(self) -> None:
        """Forget this connection, whatever its state, without waiting; what it still tells is old news."""

    def close(self) -> None:
        """Take leave, so that the broker does not publish the last will."""


class Publisher:
    """One paho client at a time, and a new one for every connection: an old one remembers what it should forget."""

    def __init__(self, config: EdgeConfig, will: bytes, tell: Callable[[Event], None]) -> None:
        """Read the credentials; nothing is connected.

        Args:
            config: Where the broker is, and who we are.
            will: The `state` that the broker publishes when we vanish.
            tell: Called with every event, in paho's thread: it must only enqueue.

        Raises:
            ConfigError: If a file of the credentials cannot be used.
        """
        self.connection = 0
        self._config = config
        self._will = will
        self._tell = tell
        self._tls = tls_context(config)
        self._password = broker_password(config)
        self._client: mqtt.Client | None = None
        self._ended = threading.Event()

    def open(self) -> None:
        """Begin a new connection; `Up` or `Down` is told later."""
        self.drop()
        self._ended.clear()
        device, config = self._config.device, self._config.mqtt
        # a session that lasts: the broker keeps an order to pause for a device that is away
        client = new_client(config, device.client_id, self._tls, self._password, clean=False)
        client.user_data_set(self.connection)
        client.will_set(device.topic("state"), self._will, qos=1, retain=True)
        client.max_inflight_messages_set(config.inflight + _SPARE)
        client.max_queued_messages_set(config.inflight + _SPARE)
        client.on_connect, client.on_connect_fail = self._on_connect, self._on_connect_fail
        client.on_disconnect, client.on_publish = self._on_disconnect, self._on_publish
        client.on_message = self._on_message
        self._client = client
        client.connect_async(config.host, config.port, config.keepalive_s)
        client.loop_start()

    def send(self, kind: str, payload: bytes, *, retain: bool) -> Acked:
        """Hand a message over; the event returned is told later, or never.

        Raises:
            BrokerError: If there is no connection, not even one that is being made.
        """
        if self._client is None:
            raise BrokerError("no connection")
        info = self._client.publish(self._config.device.topic(kind), payload, qos=1, retain=retain)
        return Acked(self.connection, info.mid)

    def drop(self) -> None:
        """Forget this connection, whatever its state, without waiting; what it still tells is old news."""
        self.connection += 1
        client, self._client = self._client, None
        if client is None:
            return
        channel = client.socket()
        client.disconnect()
        if isinstance(channel, socket.socket):
            try:
                # of the plain socket: an SSLSocket's own shutdown would break paho's thread in the middle of a read
                socket.socket.shutdown(channel, socket.SHUT_RDWR)
            except OSError:
                log.debug("the dropped connection was closed already")

    def close(self) -> None:
        """Take leave, so that the broker does not publish the last will."""
        if self._client:
            self._client.disconnect()
            self._ended.wait(0.4)
        self.drop()

    # -- paho's callbacks, in its thread; its user data is the connection's number

    def _on_connect(
        self, client: mqtt.Client, connection: int, _flags: object, reason: ReasonCode, _more: Properties | None
    ) -> None:
        if reason.is_failure or connection != self.connection:
            self._tell(Down(connection, f"refused: {reason}"))
            client.disconnect()
            return
        client.subscribe([(self._config.device.topic(kind), qos) for kind, qos in _HEARD])
        self._tell(Up(connection))

    def _on_connect_fail(self, _client: mqtt.Client, connection: int) -> None:
        # paho calls this while it handles the exception, and does not hand it over
        self._tell(Down(connection, str(sys.exc_info()[1])))

    def _on_disconnect(
        self, _client: mqtt.Client, connection: int, _flags: object, reason: ReasonCode, _more: Properties | None
    ) -> None:
        if connection == self.connection:
            self._ended.set()
        self._tell(Down(connection, f"connection lost: {reason}"))

    def _on_publish(
        self, _client: mqtt.Client, connection: int, mid: int, _reason: ReasonCode, _more: Properties
    ) -> None:
        self._tell(Acked(connection, mid))

    def _on_message(self, _client: mqtt.Client, connection: int, message: mqtt.MQTTMessage) -> None:
        self._tell(Heard(connection, message.topic.rpartition("/")[2], bytes(message.payload)))


def backoff_s(attempt: int, most_s: float) -> float:
    """How long to wait before attempt `attempt` (1 is the first repetition): full jitter, at most `most_s`.

    Source: M. Brooker, Exponential Backoff and Jitter, AWS Architecture Blog, 2015.
    """
    return random.uniform(0.0, min(most_s, 2.0 ** min(attempt, 30)))  # noqa: S311 - spreads load, protects nothing


def new_client(
    config: MqttConfig, client_id: str, tls: ssl.SSLContext | None, password: str | None, *, clean: bool
) -> mqtt.Client:
    """A paho client that never reconnects by itself."""
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id,
        clean_session=clean,
        protocol=mqtt.MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = CONNECT_S
    if tls:
        client.tls_set_context(tls)
    if config.username:
        client.username_pw_set(config.username, password)
    return client


def probe(config: EdgeConfig) -> str:
    """Connect and leave again; what was found, for `check`.

    Raises:
        BrokerError: With the reason, if the broker does not take us in.
        ConfigError: If a file of the credentials cannot be used.
    """
    with _visit(config, "check") as client:
        client.disconnect()
    mqtt_config = config.mqtt
    where = f"{mqtt_config.host}:{mqtt_config.port}"
    return f"{where} takes {config.device.client_id} in, {'TLS' if mqtt_config.tls else 'without TLS'}"


def say_once(config: EdgeConfig, state: bytes) -> None:
    """Connect, publish the retained `state`, and leave again.

    Raises:
        BrokerError: With the reason, if the broker does not take us in, or does not acknowledge.
        ConfigError: If a file of the credentials cannot be used.
    """
    acked: list[int] = []
    with _visit(config, "farewell") as client:
        client.on_publish = lambda _client, _data, mid, _reason, _more: acked.append(mid)
        client.publish(config.device.topic("state"), state, qos=1, retain=True)
        _serve(client, until=acked)
        client.disconnect()
    if not acked:
        raise BrokerError(f"{config.mqtt.host}:{config.mqtt.port}: no PUBACK")


@contextmanager
def _visit(config: EdgeConfig, purpose: str) -> Iterator[mqtt.Client]:
    """A connection under a client id of its own: the device's session stays, and with it the orders kept there."""
    where = f"{config.mqtt.host}:{config.mqtt.port}"
    client = new_client(
        config.mqtt, f"{config.device.client_id}.{purpose}", tls_context(config), broker_password(config), clean=True
    )
    verdict: list[ReasonCode] = []
    client.on_connect = lambda _client, _data, _flags, reason, _more: verdict.append(reason)
    try:
        client.connect(config.mqtt.host, config.mqtt.port, config.mqtt.keepalive_s)
        _serve(client, until=verdict)
        if not verdict or verdict[0].is_failure:
            client.disconnect()
            raise BrokerError(f"{where}: {f'refused: {verdict[0]}' if verdict else 'no answer'}")
        yield client
    except OSError as error:
        raise BrokerError(f"{where}: {error}") from error


def _serve(client: mqtt.Client, until: Sized) -> None:
    """Serve the network until something is in `until`, the connection ends, or too much time has passed."""
    end_s = time.monotonic() + CONNECT_S
    while not until and time.monotonic() < end_s and client.loop(0.1) == mqtt.MQTT_ERR_SUCCESS:
        pass
