"""Pause and resume, sent to devices by people at the page: one connection for each command."""

import logging
import threading
from pathlib import Path
from typing import Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from aggregator.config import MqttConfig
from aggregator.ingest.mqtt import authentication
from contract.message import COMMANDS
from contract.topics import Device

log = logging.getLogger(__name__)

ANSWER_S = 3.0
"""How long the broker may take to accept the connection, and to confirm the command."""

Outcome = Literal["sent", "not sent", "not confirmed"]


class CommandSender:
    """Sends commands to devices; may be used by several threads."""

    def __init__(self, config: MqttConfig, credentials: Path) -> None:
        """Read what the connections need.

        Raises:
            OSError: If a file of `credentials` is needed and cannot be read.
        """
        self._config = config
        self._authenticate = authentication(config, credentials)
        self._one_at_a_time = threading.Lock()  # a broker ends the older of two connections with one client id

    def send(self, device: Device, command: str) -> Outcome:
        """Send it; takes ANSWER_S twice at most.

        Returns:
            "sent" once the broker has confirmed it. "not sent" is final: the connection was not accepted and is thrown
            away, so that nothing arrives later from a broker that was only slow. "not confirmed" if the broker stopped
            answering between the two, which nobody can tell from here.
        """
        if command not in COMMANDS:
            raise ValueError(f"{command!r} is none of {', '.join(COMMANDS)}")
        with self._one_at_a_time:
            return self._send(device.topic("set"), command)

    def _send(self, topic: str, command: str) -> Outcome:
        accepted = threading.Event()
        client = self._client(accepted)
        try:
            client.connect(self._config.host, self._config.port, keepalive=5)  # also bounds the TLS handshake
            client.loop_start()
            if not accepted.wait(ANSWER_S):
                return "not sent"
            message = client.publish(topic, command, qos=1)
            message.wait_for_publish(ANSWER_S)
            return "sent" if message.is_published() else "not confirmed"
        except OSError as error:
            log.warning("no connection to the broker %s:%s: %s", self._config.host, self._config.port, error)
            return "not sent"
        finally:
            client.disconnect()
            client.loop_stop()

    def _client(self, accepted: threading.Event) -> paho.Client:
        def on_connect(_client: paho.Client, _data: object, _flags: object, code: ReasonCode, _more: object) -> None:
            if code.is_failure:
                log.error("the broker refused the page's connection: %s", code)
            else:
                accepted.set()

        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            f"{self._config.client_id}-page",
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.on_connect = on_connect
        client.connect_timeout = ANSWER_S
        self._authenticate(client)
        return client
