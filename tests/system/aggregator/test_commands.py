"""Pause and resume through a real broker that is there, away, frozen, or refuses."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from aggregator.config import MqttConfig
from aggregator.web.commands import CommandSender
from contract.topics import Device
from tests.system.broker import free_port

pytestmark = [pytest.mark.system, pytest.mark.broker]

CAMERA = Device("north", "r101", "cam1")


@pytest.fixture
def heard(mosquitto, wait_until):
    """What the camera is told, in order; `heard.append` is also how the test knows that it is subscribed."""
    commands, subscribed = [], []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: commands.append(message.payload.decode())
    client.on_subscribe = lambda *_: subscribed.append(True)
    client.connect(mosquitto.host, mosquitto.port)
    client.subscribe(CAMERA.topic("set"), 1)
    client.loop_start()
    wait_until(lambda: subscribed, "the camera's subscription")
    yield commands
    client.disconnect()
    client.loop_stop()


def sender(tmp_path, port):
    """As the page has it."""
    return CommandSender(MqttConfig(host="127.0.0.1", port=port, tls=False), tmp_path)


def test_a_command_arrives_once(tmp_path, mosquitto, heard, wait_until):
    """And it is said to be sent when the broker has it."""
    assert sender(tmp_path, mosquitto.port).send(CAMERA, "pause") == "sent"

    wait_until(lambda: heard, "the command")
    assert sender(tmp_path, mosquitto.port).send(CAMERA, "resume") == "sent"
    wait_until(lambda: len(heard) > 1, "the next one")
    assert heard == ["pause", "resume"]


def test_teachers_who_press_at_the_same_moment_are_all_heard(tmp_path, mosquitto, heard, wait_until):
    """They share one client id, of which a broker keeps the newer connection only."""
    commands, ready = sender(tmp_path, mosquitto.port), threading.Barrier(8)

    def press(command):
        ready.wait()
        return commands.send(CAMERA, command)

    with ThreadPoolExecutor(8) as teachers:
        outcomes = list(teachers.map(press, ["pause", "resume"] * 4))

    assert outcomes == ["sent"] * 8
    wait_until(lambda: len(heard) == 8, "all commands")
    assert sorted(heard) == ["pause"] * 4 + ["resume"] * 4


def test_what_was_not_sent_to_a_frozen_broker_never_arrives(tmp_path, mosquitto, heard, wait_until):
    """The broker is continued afterwards, as a machine that was suspended would be."""
    commands = sender(tmp_path, mosquitto.port)
    assert commands.send(CAMERA, "resume") == "sent"
    wait_until(lambda: heard, "the first command")
    mosquitto.sigstop()

    assert commands.send(CAMERA, "pause") == "not sent"

    mosquitto.sigcont()
    time.sleep(2)  # for what should not come
    assert commands.send(CAMERA, "resume") == "sent"
    wait_until(lambda: len(heard) > 1, "the last command")
    assert heard == ["resume", "resume"]


def test_a_broker_that_is_away_or_refuses_is_not_waited_for_in_vain(tmp_path, make_mosquitto):
    """No listener; and one that knows no anonymous client."""
    closed = make_mosquitto(("allow_anonymous false",)).start()

    assert sender(tmp_path, free_port()).send(CAMERA, "pause") == "not sent"
    assert sender(tmp_path, closed.port).send(CAMERA, "pause") == "not sent"
