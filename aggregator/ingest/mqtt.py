"""Messages from an MQTT broker in batches, acknowledged when they are in the store. The only importer of paho here.

One thread: the caller's. The network is served while the next batch is waited for, so callbacks touch nothing foreign.
"""

import logging
import ssl
import time
from collections.abc import Callable, Collection
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from aggregator.config import AmqpConfig, MqttConfig
from aggregator.ingest.batch import Acknowledge, RawMessage, Source
from contract.topics import every_device
from service.backoff import ReconnectBackoff
from service.tls import client_context, read_password

log = logging.getLogger(__name__)

_MAX_WAIT_S = 30.0
"""Greatest bound of the random wait before a reconnect."""
_MAX_UNSENT = 10_000
"""Own publications that may wait; they are retained, and the next ones replace them."""
_SUBSCRIBED = ("counts", "state", "health")


class MqttSource(Source):
    """A persistent session at the broker; open it with `with`."""

    def __init__(self, config: MqttConfig, credentials: Path, will: tuple[str, bytes]) -> None:
        """`will`: topic and payload that the broker publishes, retained, when this process is lost.

        Raises:
            OSError: If a file of `credentials` is needed and cannot be read.
        """
        super().__init__(config.batch)
        self._config = config
        self._authenticate = authentication(config, credentials)
        self._will = will
        self._client = self._new_client()
        self._refusal = ""
        self._connected = False
        self._backoff = ReconnectBackoff(_MAX_WAIT_S, "trying again until it answers")

    def __exit__(self, *exc: object) -> None:
        """Send what waits, and say goodbye: the session stays, the last will does not come."""
        deadline = time.monotonic() + 2.0
        while self._connected and self._client.want_write() and time.monotonic() < deadline:
            self._serve(0.05)
        self._client.on_disconnect = None
        self._client.disconnect()

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us."""
        return self._connected

    def publish(self, topic: str, payload: bytes, *, retain: bool, qos: int = 1) -> None:
        """Publish once; while the broker is away nothing is kept, because everything is published again."""
        if self._connected:
            self._client.publish(topic, payload, qos, retain)

    def _serve(self, span_s: float) -> None:
        if self._client.socket() is None:
            self._reconnect(span_s)
            return
        if len(self._messages) >= self._batch:  # the store is slow: what is not read stays in the broker
            time.sleep(min(span_s, 0.05))
            self._client.loop_misc()
            return
        code = self._client.loop(span_s)
        before = -1
        while code == MQTTErrorCode.MQTT_ERR_SUCCESS and before < len(self._messages) < self._batch:
            before = len(self._messages)
            code = self._client.loop_read()

    def _reconnect(self, span_s: float) -> None:
        wait_s = self._backoff.left_s(time.monotonic())
        if wait_s > 0:
            time.sleep(min(wait_s, span_s))
            return
        self._client = self._new_client()  # the old one would publish again what is outdated by now
        try:
            self._client.connect(self._config.host, self._config.port, self._config.keepalive_s)
        except OSError as error:
            problem = f"cannot reach the broker {self._config.host}:{self._config.port}: {error}"
            self._backoff.failed(problem, time.monotonic())

    def _acknowledge(self, ids: list[int]) -> Acknowledge:
        client = self._client

        def acknowledge(_rejected: Collection[int]) -> None:
            if client is not self._client:
                return  # the ids mean nothing on another connection, on which the messages come again
            for packet_id in filter(None, ids):  # one with QoS 0 has none
                client.ack(packet_id, 1)

        return acknowledge

    def _new_client(self) -> paho.Client:
        config = self._config
        client = paho.Client(
            CallbackAPIVersion.VERSION2, config.client_id, clean_session=False, protocol=paho.MQTTv311, manual_ack=True
        )
        client.will_set(*self._will, qos=1, retain=True)
        client.max_queued_messages_set(_MAX_UNSENT)
        client.max_inflight_messages_set(0)  # `stopped` must not wait for hundreds of acknowledgements
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        self._authenticate(client)
        return client

    def _on_connect(self, client: paho.Client, _data: object, _flags: object, code: ReasonCode, _more: object) -> None:
        if code.is_failure:
            self._refusal = f"the broker refused the connection: {code}"
            return
        self._connected, self._refusal, self.problem = True, "", ""
        self._backoff.connected(time.monotonic())
        log.info("connected to the broker %s:%s", self._config.host, self._config.port)
        client.subscribe([(every_device(kind), 1) for kind in _SUBSCRIBED])
        self.on_connected()

    def _on_disconnect(
        self, _client: paho.Client, _data: object, _flags: object, code: ReasonCode, _more: object
    ) -> None:
        self._discard()
        self._connected = False
        self._backoff.failed(self._refusal or f"lost the broker: {code}", time.monotonic())

    def _on_subscribe(
        self, _client: paho.Client, _data: object, _mid: int, codes: list[ReasonCode], _more: object
    ) -> None:
        refused = [every_device(kind) for kind, code in zip(_SUBSCRIBED, codes, strict=False) if code.is_failure]
        if refused:
            self.problem = f"the broker refused the subscription to {', '.join(refused)}"
            log.error("%s: its access list must let this client read them", self.problem)

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "not UTF-8"
        self._messages.append(RawMessage(topic, bytes(message.payload), time.time()))
        self._ids.append(message.mid)


def authentication(config: MqttConfig, credentials: Path) -> Callable[[paho.Client], None]:
    """What gives a client its name, password and TLS, where the configuration asks for them.

    Raises:
        OSError: If a file is missing or is not what it should be.
    """
    password, tls = password_and_tls(config, credentials)

    def authenticate(client: paho.Client) -> None:
        if config.username:
            client.username_pw_set(config.username, password)
        if tls:
            client.tls_set_context(tls)

    return authenticate


def password_and_tls(config: MqttConfig | AmqpConfig, credentials: Path) -> tuple[str | None, ssl.SSLContext | None]:
    """Password and TLS context, where the configuration asks for them.

    Raises:
        OSError: If a file is missing or is not what it should be.
    """
    kind = "mqtt" if isinstance(config, MqttConfig) else "amqp"
    password = read_password(credentials / f"{kind}-password") if config.username else None
    return password, client_context(credentials, "aggregator") if config.tls else None
