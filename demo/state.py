"""Waiting until a part says on its retained `state` topic that it is ready. One thread: the caller's."""

import time
from collections.abc import Callable

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode


class NotReadyError(RuntimeError):
    """Somebody did not become ready in time; the text says who."""


def wait_until_ready(host: str, port: int, topic: str, check: Callable[[], None], within_s: float) -> None:
    """Return when a message with the word `ready` has come on `topic`.

    Args:
        host: The broker's.
        port: The broker's.
        topic: A retained `state` topic.
        check: Called while waiting; what it raises ends the wait.
        within_s: How long to wait.

    Raises:
        NotReadyError: If it does not come, or the broker cannot be reached.
    """
    said: list[bytes] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: said.append(bytes(message.payload))
    try:
        client.connect(host, port)
        client.subscribe(topic, qos=1)
    except OSError as error:
        raise NotReadyError(f"the broker {host}:{port} cannot be reached: {error}") from error
    deadline = time.monotonic() + within_s
    try:
        while b"ready" not in (said[-1] if said else b""):
            check()
            if (code := client.loop(0.1)) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise NotReadyError(f"the broker {host}:{port} ended the connection: {code.name}")
            if time.monotonic() > deadline:
                raise NotReadyError(f"no `ready` on {topic} within {within_s:.0f} s")
    finally:
        client.disconnect()
