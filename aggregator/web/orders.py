"""Pause and resume, sent to devices for people at the page; paho's own thread serves the network."""

import logging
from pathlib import Path
from typing import Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from aggregator.config import MqttConfig
from aggregator.ingest.mqtt import secrets
from contract.message import COMMANDS
from contract.topics import Device

log = logging.getLogger(__name__)

ANSWER_S = 3.0
"""An order that the broker has not acknowledged after so long counts as not sent."""


class Orders:
    """A connection that only publishes; open it with `with`. The broker may be away: it comes back by itself."""

    def __init__(self, config: MqttConfig, credentials: Path) -> None:
        """Prepare the connection.

        Raises:
            OSError: If a file of `credentials` is needed and cannot be read.
        """
        password, tls = secrets(config, credentials)
        self._address = config.host, config.port, config.keepalive_s
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"{config.client_id}-page", protocol=paho.MQTTv311)
        self._client.on_connect = _on_connect
        self._client.max_queued_messages_set(10)
        self._client.reconnect_delay_set(1, 15)
        if config.username:
            self._client.username_pw_set(config.username, password)
        if tls:
            self._client.tls_set_context(tls)

    def __enter__(self) -> Self:
        self._client.connect_async(*self._address)
        self._client.loop_start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, device: Device, order: str) -> bool:
        """Whether the broker took the order; waits for that, ANSWER_S at most. False is final: nothing comes later."""
        if order not in COMMANDS:
            raise ValueError(f"{order!r} is none of {', '.join(COMMANDS)}")
        if not self._client.is_connected():
            return False
        sent = self._client.publish(device.topic("set"), order, qos=1)
        sent.wait_for_publish(ANSWER_S)
        return sent.is_published()


def _on_connect(_client: paho.Client, _data: object, _flags: object, code: ReasonCode, _more: object) -> None:
    if code.is_failure:
        log.error("the broker refused the page's connection: %s", code)
    else:
        log.info("the page can send orders")
