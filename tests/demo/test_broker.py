"""The broker from a pip package, on a machine without mosquitto."""

import socket
import subprocess
import sys
import time

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from demo.settings import HOST

SERVE = "import asyncio, sys; from demo import broker; asyncio.run(broker.serve(int(sys.argv[1])))"
CONNECT = bytes.fromhex("1010 0004 4d515454 04 02 003c 0004")
"""MQTT 3.1.1, clean session, keep-alive 60 s; four bytes of id follow. Source: section 3.1 of the standard."""
DISCONNECT = b"\xe0\x00"


@pytest.fixture
def port():
    """Of an embedded broker."""
    with socket.create_server((HOST, 0)) as free:
        number = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as broker:
        assert broker.stdout.readline() == f"{HOST}:{number}\n"
        yield number
        broker.terminate()


def test_what_a_client_publishes_before_it_leaves_at_once_is_delivered(port: int):
    """Clients publish with QoS 0 and are gone, as mosquitto_pub is; nothing is lost."""
    got: list[str] = []
    subscribed: list[bool] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: got.append(message.payload.decode())
    client.on_subscribe = lambda *_: subscribed.append(True)
    client.connect(HOST, port)
    client.subscribe("a/set", qos=1)
    client.loop_start()
    _wait_until(lambda: subscribed)

    for number in range(20):
        publishes = b"".join(b"\x30\x09\x00\x05a/set" + f"{number:02}"[-2:].encode() for _ in range(3))
        with socket.create_connection((HOST, port)) as goer:
            goer.sendall(CONNECT + b"go%02d" % number)  # an id of its own: a second client with it would end the first
            assert goer.recv(4) == b"\x20\x02\x00\x00"
            goer.sendall(publishes + DISCONNECT)

    _wait_until(lambda: len(got) >= 60)
    client.loop_stop()
    assert sorted(got) == sorted(f"{number:02}" for number in range(20) for _ in range(3))


def _wait_until(true, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
