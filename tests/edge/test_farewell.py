"""A daemon that cannot start says so, and does nothing else at the broker."""

import socket
import threading

from contract.topics import Device
from edge.config import CameraConfig, EdgeConfig, MqttConfig
from edge.uplink.farewell import partly_load, say_stopped

CONNECT, PUBLISH, RETAINED, SUBSCRIBE = 0x10, 0x32, 0x01, 0x82
CONNACK, PUBACK = b"\x20\x02\x00\x00", b"\x40\x02"


class ListBroker:
    """Takes one client in, acknowledges what it publishes, and keeps every packet: its first byte and the rest."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.packets: list[tuple[int, bytes]] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        client, _ = self._server.accept()
        with client, client.makefile("rb") as stream:
            while head := stream.read(1):
                kind, length = head[0], stream.read(1)[0]
                if length & 0x80:
                    length = (length & 0x7F) + 128 * stream.read(1)[0]
                body = stream.read(length)
                self.packets.append((kind, body))
                if kind == CONNECT:
                    client.sendall(CONNACK)
                if kind & ~RETAINED == PUBLISH:
                    topic = 2 + int.from_bytes(body[:2])
                    client.sendall(PUBACK + body[topic : topic + 2])


def config(port: int) -> EdgeConfig:
    """A device at a broker of this machine."""
    return EdgeConfig(
        device=Device("school", "r1", "cam"),
        camera=CameraConfig("pi"),
        mqtt=MqttConfig(host="127.0.0.1", port=port, tls=False),
    )


def test_the_state_is_published_retained_and_the_device_s_own_session_is_left_alone():
    """Orders that the broker keeps for the device must reach the daemon that starts next, and nobody else."""
    broker = ListBroker()

    say_stopped(config(broker.port), b"the state")
    broker.thread.join(10)

    kinds = [kind for kind, _ in broker.packets]
    connect, publish = (next(body for kind, body in broker.packets if kind & 0xF0 == each) for each in (0x10, 0x30))
    assert SUBSCRIBE not in kinds
    assert PUBLISH | RETAINED in kinds
    assert connect[7] & 0b10  # a clean session
    assert not connect.endswith(b"school.r1.cam")
    assert publish[2:].startswith(b"classpulse/1/school/r1/cam/state")
    assert publish.endswith(b"the state")


def test_a_broker_that_cannot_be_reached_is_only_logged(caplog):
    """The daemon ends with what it had to say."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    say_stopped(config(port), b"the state")

    assert "nobody is told: " in caplog.text
    assert f"127.0.0.1:{port}" in caplog.text


def test_a_faulty_file_still_says_where_the_broker_is(tmp_path):
    """Device and broker are read; a file that lacks them tells nobody."""
    path = tmp_path / "edge.toml"
    path.write_text(
        '[device]\nsite = "s"\nroom = "r"\ndevice = "d"\n[mqtt]\nhost = "broker"\n[publish]\nmin_faces = -1\n'
    )

    loaded = partly_load(path)

    assert loaded is not None
    assert (loaded.mqtt.host, loaded.device.room) == ("broker", "r")
    path.write_text("[device\n")
    assert partly_load(path) is None
