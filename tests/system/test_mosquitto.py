"""The broker fixture itself: what the other system tests rely on."""

import time

import paho.mqtt.client as mqtt
import pytest

pytestmark = [pytest.mark.system, pytest.mark.broker]


def read_retained(port: int, topic: str) -> list[bytes]:
    """What a new subscriber to `topic` is given, waiting a few seconds."""
    found: list[bytes] = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: found.append(message.payload)
    client.on_connect = lambda *_: client.subscribe(topic, 1)
    client.connect("127.0.0.1", port)
    deadline = time.monotonic() + 5
    while not found and time.monotonic() < deadline:
        client.loop(0.1)
    client.disconnect()
    return found


def test_a_stopped_broker_comes_back_with_its_port_and_its_retained_messages(mosquitto):
    """stop() and start() keep port and database."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()
    client.publish("kept", b"yes", qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()

    mosquitto.stop()
    mosquitto.start()

    assert read_retained(mosquitto.port, "kept") == [b"yes"]
