"""The connection to the broker: the only importer of paho, whose callbacks only log and enqueue."""

import logging
import secrets
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Sized
from typing import Protocol

from paho.mqtt.client import MQTT_LOG_ERR, Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from contract.message import State
from edge.config import EdgeConfig, MqttConfig
from service.config import ConfigError
from service.tls import client_context, read_password

log = logging.getLogger(__name__)

CONNECT_S = 10.0
"""The longest that one attempt to reach the broker may take, TCP and TLS each."""
_SPARE = 64
"""Messages in flight besides the counts: states and healths."""
_CLOSE_S = 0.4


def subscriptions(confirm: str) -> list[tuple[str, int]]:
    """Kinds and QoS that a device subscribes to. Only commands must outlive an absence; the others are retained.

    Where [outbox] confirm is `puback`, nobody publishes `stored`; and RabbitMQ has one queue for each QoS of a device.
    """
    return [("set", 1), ("state", 1)] if confirm == "puback" else [("set", 1), ("stored", 0), ("state", 0)]


class BrokerError(RuntimeError):
    """The broker cannot be used; the text says why."""


class Listener(Protocol):
    """What is called when something happens to a connection; `now` is in monotonic seconds."""

    def connected(self, now: float) -> None:
        """The broker accepted the connection and answered the subscriptions."""

    def disconnected(self, reason: str, now: float) -> None:
        """The connection ended, or never came to be."""

    def acked(self, mid: int, now: float) -> None:
        """The PUBACK of a message came."""

    def received(self, kind: str, payload: bytes, retained: bool, now: float) -> None:  # noqa: FBT001 - as it comes
        """The broker sent a message."""


class Connection:
    """To the broker, again and again.

    Each attempt has a paho client of its own, since an old one remembers what it should forget.
    """

    def __init__(self, config: EdgeConfig, will: bytes, call: Callable[[Callable[[float], None]], None]) -> None:
        """Read the credentials; nothing is connected.

        Args:
            config: Where the broker is, and who we are.
            will: The `state` that the broker publishes when we vanish.
            call: Has a function called with the time, by the thread that owns this connection.

        Raises:
            ConfigError: If a file of the credentials cannot be used.
        """
        self._config = config
        self._will = will
        self._topics = [(config.device.topic(kind), qos) for kind, qos in subscriptions(config.outbox.confirm)]
        self._call = call
        self._tls, self._password = _credentials(config)
        self._client: Client | None = None
        self._ended = threading.Event()
        self._fault = ""

    def open(self, listener: Listener) -> None:
        """Begin a new connection; `listener` hears of it until it is dropped."""
        self.drop()
        self._ended.clear()
        self._fault = ""
        device, config = self._config.device, self._config.mqtt
        client = new_client(config, device.client_id, self._tls, self._password)
        client.will_set(device.topic("state"), self._will, qos=1, retain=True)
        client.max_inflight_messages_set(config.inflight + _SPARE)
        client.max_queued_messages_set(config.inflight + _SPARE)
        client.user_data_set(listener)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_subscribe, client.on_log = self._on_subscribe, self._on_log
        # paho calls this while it handles the exception, and does not hand it over
        client.on_connect_fail = lambda *_: self._tell(client, listener.disconnected, str(sys.exc_info()[1]))
        client.on_publish = lambda _client, _data, mid, *_: self._tell(client, listener.acked, mid)
        client.on_message = lambda _client, _data, message: self._tell(
            client,
            listener.received,
            message.topic.rpartition("/")[2],
            bytes(message.payload),
            message.retain,
        )
        self._client = client
        client.connect_async(config.host, config.port, config.keepalive_s)
        client.loop_start()

    def publish(self, kind: str, payload: bytes, *, retain: bool) -> int:
        """Hand a message over; the number that `acked` will name, if it ever does.

        Raises:
            BrokerError: If there is no connection, not even one that is being made.
        """
        if self._client is None:
            raise BrokerError("no connection")
        return self._client.publish(self._config.device.topic(kind), payload, qos=1, retain=retain).mid

    def drop(self) -> None:
        """Forget this connection, whatever its state, without waiting; nothing more is heard of it."""
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
        """End the connection in order, so that the broker does not publish the last will."""
        if self._client:
            self._client.disconnect()
            self._ended.wait(_CLOSE_S)
        self.drop()

    # -- paho's callbacks, in its thread

    def _tell(self, client: Client, action: Callable[..., None], *what: object) -> None:
        self._call(lambda now: action(*what, now) if client is self._client else None)

    def _on_connect(self, client: Client, listener: Listener, _flags: object, reason: ReasonCode, *_: object) -> None:
        if reason.is_failure or client is not self._client:
            self._tell(client, listener.disconnected, f"refused: {reason}")
            client.disconnect()
            return
        client.subscribe(self._topics)

    def _on_disconnect(
        self, client: Client, listener: Listener, _flags: object, reason: ReasonCode, *_: object
    ) -> None:
        if client is self._client:
            self._ended.set()
        self._tell(client, listener.disconnected, f"connection lost: {self._fault or reason}")

    def _on_log(self, client: Client, _data: object, level: int, text: str) -> None:
        if client is self._client and level == MQTT_LOG_ERR:
            self._fault = _explained(text)

    def _on_subscribe(self, client: Client, listener: Listener, _mid: int, codes: list[ReasonCode], *_: object) -> None:
        for (topic, _qos), code in zip(self._topics, codes, strict=False):
            if code.is_failure:
                log.error("%s: the broker refuses the subscription", topic)
        # only now: a broker to which a whole fleet returns is slow to make sessions, and acknowledges nothing before
        self._tell(client, listener.connected)


def new_client(
    config: MqttConfig, client_id: str, tls: ssl.SSLContext | None, password: str | None, *, manual_ack: bool = False
) -> Client:
    """A paho client for MQTT 3.1.1 that never reconnects by itself."""
    # a session that lasts: the broker keeps a command to pause for a device that is away
    client = Client(
        CallbackAPIVersion.VERSION2, client_id, clean_session=False, reconnect_on_failure=False, manual_ack=manual_ack
    )
    client.connect_timeout = CONNECT_S
    if tls:
        client.tls_set_context(tls)
    if config.username:
        client.username_pw_set(config.username, password)
    return client


def _explained(fault: str) -> str:
    """What paho says of a socket, and whom TLS refused: it tells nobody else why the broker ended a connection."""
    if "ALERT" in fault:
        return f"the broker refuses this device's certificate (revoked, ended, or of another authority): {fault}"
    if "violation of protocol" in fault:  # the alert was lost with the connection
        return f"the broker ended TLS, perhaps because it refuses this device's certificate: {fault}"
    return fault


def _credentials(config: EdgeConfig) -> tuple[ssl.SSLContext | None, str | None]:
    """For TLS and for a user name; None where the configuration has none.

    Raises:
        ConfigError: If a file cannot be used.
    """
    try:
        tls = client_context(config.credentials, "device") if config.mqtt.tls else None
        return tls, read_password(config.credentials / "mqtt-password") if config.mqtt.username else None
    except OSError as error:
        raise ConfigError(str(error)) from error


def probe(config: EdgeConfig) -> str:
    """Connect, publish the state `stopped` and have it back; what was found, for `check`.

    Raises:
        BrokerError: With the reason, if the broker does not accept the connection, or gives nothing back.
        ConfigError: If a file of the credentials cannot be used.
    """
    state = State(
        state="stopped", reason="check", version="", model=None, min_faces=0, boot=secrets.token_hex(4)
    ).to_json()
    _visit(config, state, back=True)
    where = f"{config.mqtt.host}:{config.mqtt.port}"
    return f"{where} takes {config.device.client_id} in, {'TLS' if config.mqtt.tls else 'without TLS'}"


def publish_stopped(config: EdgeConfig, state: bytes) -> None:
    """The retained `state` of a daemon that cannot start; a broker that cannot be reached is only logged."""
    try:
        _visit(config, state)
    except (BrokerError, ConfigError) as error:
        log.warning("the broker does not get the state: %s", error)


def _visit(config: EdgeConfig, state: bytes, *, back: bool = False) -> None:
    """Connect as the device, publish `state`, have it `back`, and disconnect; to be called while no daemon runs.

    The device's session stays as it is: what the broker keeps there is received, but not acknowledged, so that it comes
    again. A client id of our own would not do: some brokers take the name of the certificate in its place.

    Raises:
        BrokerError: With the reason, if the broker does not accept the connection, or does not acknowledge.
        ConfigError: If a file of the credentials cannot be used.
    """
    where = f"{config.mqtt.host}:{config.mqtt.port}"
    client = new_client(config.mqtt, config.device.client_id, *_credentials(config), manual_ack=True)
    answers: list[ReasonCode] = []
    pubacks: list[int] = []
    client.on_connect = lambda _client, _data, _flags, reason, _more: answers.append(reason)
    client.on_publish = lambda _client, _data, mid, _reason, _more: pubacks.append(mid)
    faults: list[str] = []
    client.on_log = lambda _client, _data, level, text: faults.extend([_explained(text)] * (level == MQTT_LOG_ERR))
    try:
        client.connect(config.mqtt.host, config.mqtt.port, config.mqtt.keepalive_s)
        _serve(client, until=answers)
        if not answers or answers[0].is_failure:
            raise BrokerError(f"{where}: {f'refused: {answers[0]}' if answers else (faults or ['no answer'])[0]}")
        topic, heard = config.device.topic("state"), [] if back else [state]
        if back:
            client.on_message = lambda _client, _data, message: heard.extend({bytes(message.payload)} & {state})
            client.subscribe(topic)
        client.publish(topic, state, qos=1, retain=True)
        _serve(client, until=pubacks)
        if not pubacks:
            raise BrokerError(f"{where}: no PUBACK")
        _serve(client, until=heard)
        if not heard:
            raise BrokerError(
                f"{where}: {topic} does not come back: its access list must let the device write and read"
            )
    except OSError as error:
        raise BrokerError(f"{where}: {error}") from error
    finally:
        client.disconnect()


def _serve(client: Client, until: Sized) -> None:
    """Serve the network until something is in `until`, the connection ends, or too much time has passed."""
    end_s = time.monotonic() + CONNECT_S
    while not until and time.monotonic() < end_s and client.loop(0.1) == MQTTErrorCode.MQTT_ERR_SUCCESS:
        pass
