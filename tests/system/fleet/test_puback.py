"""A device as a cluster wants it: a message a second, deleted by the broker's PUBACK, with no aggregator to confirm."""

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from contract.message import Health
from tests.system.edge.lab import DEVICE, Lab

pytestmark = [pytest.mark.system, pytest.mark.broker]
CLUSTER = {"publish": {"batch_s": 1.0, "health_s": 1.0}, "outbox": {"confirm": "puback", "resend_s": 5.0}}


@pytest.fixture
def lab(tmp_path, mosquitto):
    """A device at a running broker; no aggregator."""
    lab = Lab(tmp_path, mosquitto)
    yield lab
    lab.close()


class Listener:
    """What the broker passes on of the device: payloads of counts, and its last health."""

    def __init__(self, port: int) -> None:
        self.counts: list[bytes] = []
        self.healths: list[Health] = []
        # a session that lasts, or the broker would acknowledge what it then gives to nobody
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "listener", clean_session=False)
        self._client.on_message = self._hear
        self._client.on_connect = lambda client, *_: client.subscribe("classpulse/1/#", qos=1)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _hear(self, _client: paho.Client, _data: object, heard: paho.MQTTMessage) -> None:
        if heard.topic == DEVICE.topic("counts"):
            self.counts.append(bytes(heard.payload))
        elif heard.topic == DEVICE.topic("health"):
            self.healths.append(Health.from_json(heard.payload))

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def listener(mosquitto):
    """Subscribed."""
    listener = Listener(mosquitto.port)
    yield listener
    listener.close()


def test_a_message_holds_the_frames_of_a_second_and_goes_with_its_puback(lab, listener, mosquitto, wait_until):
    """Also what was counted while the broker was away; and health says that PUBACKs confirm."""
    lab.start_daemon("rate=20", **CLUSTER)
    wait_until(lambda: len(listener.counts) >= 3, "three messages")
    mosquitto.stop()
    away = lab.lines()
    wait_until(lambda: lab.lines() >= away + 3, "three messages without a broker")
    mosquitto.start()
    wait_until(lambda: len(set(listener.counts)) > away + 3, "all of them")

    lab.pause_daemon()
    wait_until(lambda: listener.healths and listener.healths[-1].outbox_messages == 0, "an empty outbox")

    accepted = lab.accepted()
    assert listener.healths[-1].confirm == "puback"
    wait_until(lambda: len(set(listener.counts)) >= len(accepted), "the rest")
    assert {entry.message.to_json() for entry in accepted} == set(listener.counts)
    assert max(len(entry.message.frames) for entry in accepted) >= 10
