"""What of the publisher needs no broker; tests/system has the rest."""

import socket
import threading
import time

from contract.topics import Device
from edge.config import CameraConfig, EdgeConfig, MqttConfig
from edge.uplink.publisher import Event, Publisher, Up, backoff_s

CONNACK = b"\x20\x02\x00\x00"


class LateBroker:
    """A broker whose queue is full: a connection to it hangs until `begin`, and is then accepted."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port = self._server.getsockname()[1]
        self._clients = [socket.socket() for _ in range(3)]
        for client in self._clients:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", self.port))

    def begin(self) -> None:
        """Take in everybody who asks."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._server.accept()
            self._clients.append(client)
            threading.Thread(target=self._greet, args=[client], daemon=True).start()

    def _greet(self, client: socket.socket) -> None:
        if client.recv(1000):
            client.sendall(CONNACK)


def publisher(port: int, tell) -> Publisher:
    """Of a device at a broker of this machine."""
    config = EdgeConfig(
        device=Device("school", "r1", "cam"),
        camera=CameraConfig("pi"),
        mqtt=MqttConfig(host="127.0.0.1", port=port, tls=False),
    )
    return Publisher(config, b"lost", tell)


def until(holds) -> None:
    """Wait, at most twenty seconds."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_waits_double_up_to_the_most_and_are_spread_over_all_of_it():
    """Full jitter: a hundred devices that lost one broker do not come back in one instant."""
    waits = {attempt: [backoff_s(attempt, 300.0) for _ in range(500)] for attempt in (1, 3, 6, 9, 1000)}

    for attempt, most in {1: 2, 3: 8, 6: 64, 9: 300, 1000: 300}.items():
        assert 0 <= min(waits[attempt]) < most * 0.1
        assert most * 0.9 < max(waits[attempt]) <= most


def test_a_connection_that_comes_to_be_after_it_was_dropped_is_old_news():
    """A broker that answers after the courier gave it up: nothing could be sent over what it then grants."""
    broker = LateBroker()
    told: list[Event] = []
    late = publisher(broker.port, told.append)
    late.open()
    given_up = late.connection
    time.sleep(0.3)

    late.drop()
    broker.begin()
    until(lambda: told)

    assert late.connection != given_up
    assert Up(late.connection) not in told
