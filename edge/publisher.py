"""The connection to the broker. The only importer of paho; its callbacks only tell what happened."""

import logging
import random
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from contract.config import ConfigError
from edge.config import EdgeConfig, MqttConfig

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
        self._tls = _tls(config)
        self._password = _password(config)
        self._client: mqtt.Client | None = None
        self._ended = threading.Event()

    def open(self) -> None:
        """Begin a new connection; `Up` or `Down` is told later."""
        self.drop()
        self._ended = threading.Event()
        self._client = client = self._make(self.connection, self._ended)
        client.connect_async(self._config.mqtt.host, self._config.mqtt.port, self._config.mqtt.keepalive_s)
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

    def _make(self, connection: int, ended: threading.Event) -> mqtt.Client:
        device, mqtt_config = self._config.device, self._config.mqtt
        # a session that lasts: the broker keeps an order to pause for a device that is away
        client = new_client(mqtt_config, device.client_id, self._tls, self._password, clean=False)
        client.will_set(device.topic("state"), self._will, qos=1, retain=True)
        client.max_inflight_messages_set(mqtt_config.inflight + _SPARE)
        client.max_queued_messages_set(mqtt_config.inflight + _SPARE)

        def on_connect(
            client: mqtt.Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
        ) -> None:
            if reason.is_failure or connection != self.connection:
                self._tell(Down(connection, f"refused: {reason}"))
                client.disconnect()
                return
            client.subscribe([(device.topic(kind), qos) for kind, qos in _HEARD])
            self._tell(Up(connection))

        def on_connect_fail(_client: mqtt.Client, _data: object) -> None:
            # paho calls this while it handles the exception, and does not hand it over
            self._tell(Down(connection, str(sys.exc_info()[1])))

        def on_disconnect(
            _client: mqtt.Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
        ) -> None:
            ended.set()
            self._tell(Down(connection, f"connection lost: {reason}"))

        def on_publish(
            _client: mqtt.Client, _data: object, mid: int, _reason: ReasonCode, _properties: Properties
        ) -> None:
            self._tell(Acked(connection, mid))

        def on_message(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
            self._tell(Heard(connection, message.topic.rpartition("/")[2], bytes(message.payload)))

        client.on_connect, client.on_connect_fail, client.on_disconnect = on_connect, on_connect_fail, on_disconnect
        client.on_publish, client.on_message = on_publish, on_message
        return client


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
    """Connect under another client id and leave again; what was found, for `check`.

    Raises:
        BrokerError: With the reason, if the broker does not take us in.
        ConfigError: If a file of the credentials cannot be used.
    """
    where = f"{config.mqtt.host}:{config.mqtt.port}"
    tls = _tls(config)
    client = new_client(config.mqtt, f"{config.device.client_id}.check", tls, _password(config), clean=True)
    verdict: list[ReasonCode] = []
    client.on_connect = lambda _client, _data, _flags, reason, _properties: verdict.append(reason)
    begin = time.monotonic()
    try:
        client.connect(config.mqtt.host, config.mqtt.port, config.mqtt.keepalive_s)
        while not verdict and time.monotonic() - begin < CONNECT_S and client.loop(0.1) == mqtt.MQTT_ERR_SUCCESS:
            pass
    except OSError as error:
        raise BrokerError(f"{where}: {error}") from error
    client.disconnect()
    if not verdict or verdict[0].is_failure:
        raise BrokerError(f"{where}: {f'refused: {verdict[0]}' if verdict else 'no answer'}")
    return f"{where} takes {config.device.client_id} in, {'TLS' if tls else 'without TLS'}"


def _tls(config: EdgeConfig) -> ssl.SSLContext | None:
    if not config.mqtt.tls:
        return None
    authority, certificate, key = (config.credentials / name for name in ("ca.crt", "device.crt", "device.key"))
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise ConfigError(f"{authority}: {error.strerror or error}") from error
    if certificate.exists():
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            raise ConfigError(f"{certificate} with {key}: {error.strerror or error}") from error
    return context


def _password(config: EdgeConfig) -> str | None:
    if not config.mqtt.username:
        return None
    path = config.credentials / "mqtt-password"
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
