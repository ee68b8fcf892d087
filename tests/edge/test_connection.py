"""The connection to a small broker of this file; tests/system has a real one."""

import contextlib
import dataclasses
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import pytest

from contract.topics import Device
from edge.config import EdgeConfig, MqttConfig, OutboxConfig, load_partly
from edge.uplink.connection import BrokerError, Connection, probe, publish_stopped
from tests.device import edge_config

CONNECT, PUBLISH, SUBSCRIBE = 0x10, 0x30, 0x80
RETAINED = 0x01
ACCEPTED, NOT_AUTHORIZED = b"\x20\x02\x00\x00", b"\x20\x02\x00\x05"


class SmallBroker:
    """Accepts clients, acknowledges what they send, and keeps every packet: its first byte and the rest."""

    def __init__(
        self,
        connack: bytes = ACCEPTED,
        suback: bytes = b"\x01\x00\x00",
        tls: ssl.SSLContext | None = None,
        *,
        echo: bool = False,
    ) -> None:
        """`echo`: give what is published back."""
        self._server = socket.create_server(("127.0.0.1", 0))
        self._tls, self._echo = tls, echo
        self.port = self._server.getsockname()[1]
        self._connack, self._suback = connack, suback
        self.packets: list[tuple[int, bytes]] = []
        self.ended = threading.Event()
        """A client has ended its connection."""
        threading.Thread(target=self._accept, daemon=True).start()

    def kinds(self) -> list[int]:
        """The types of all packets."""
        return [kind & 0xF0 for kind, _ in self.packets]

    def _accept(self) -> None:
        while True:
            client, _ = self._server.accept()
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self._tls:
            client = self._tls.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
            try:
                client.do_handshake()
            except OSError:
                with contextlib.suppress(OSError), client:  # the alert would be lost with what was not read
                    while socket.socket.recv(client, 4096):
                        pass
                return
        with contextlib.suppress(ConnectionResetError), client, client.makefile("rb") as stream:
            while head := stream.read(1):
                kind, length = head[0], stream.read(1)[0]
                if length & 0x80:
                    length = (length & 0x7F) + 128 * stream.read(1)[0]
                body = stream.read(length)
                client.sendall(self._answer(kind & 0xF0, body))
                self.packets.append((kind, body))
        self.ended.set()

    def _answer(self, kind: int, body: bytes) -> bytes:
        if kind == CONNECT:
            return self._connack
        if kind == SUBSCRIBE:
            return b"\x90" + bytes([2 + len(self._suback)]) + body[:2] + self._suback
        topic = 2 + int.from_bytes(body[:2])
        echo = body[:topic] + body[topic + 2 :]  # with QoS 0
        length = bytes([len(echo) & 0x7F | 0x80, len(echo) >> 7]) if self._echo else b""
        echoed = bytes([PUBLISH]) + length + echo if self._echo else b""
        return b"\x40\x02" + body[topic : topic + 2] + echoed if kind == PUBLISH else b""


class LateBroker:
    """A broker whose queue is full: a connection to it hangs until `begin`, and is then accepted."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port = self._server.getsockname()[1]
        self.ended = threading.Event()
        """A client that was accepted has ended its connection."""
        self._clients = [socket.socket() for _ in range(3)]
        for client in self._clients:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", self.port))

    def begin(self) -> None:
        """Accept everybody who asks."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._server.accept()
            self._clients.append(client)
            threading.Thread(target=self._greet, args=[client], daemon=True).start()

    def _greet(self, client: socket.socket) -> None:
        if client.recv(1000):
            client.sendall(ACCEPTED)
            while client.recv(1000):
                pass
            self.ended.set()


class Owner:
    """Who owns a connection, as an uplink does: writes down what happens, and drops a connection that ended."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple] = []
        self.inbox: SimpleQueue = SimpleQueue()
        self.connection = Connection(config(port), b"lost", self.inbox.put)

    def connected(self, now):
        """Write it down."""
        self.heard.append(("connected",))

    def disconnected(self, reason, now):
        """Write it down, and drop the connection."""
        self.heard.append(("disconnected", reason))
        self.connection.drop()

    def acked(self, mid, now):
        """Write it down."""
        self.heard.append(("acked", mid))

    def received(self, kind, payload, retained, now):
        """Write it down."""
        self.heard.append(("received", kind, payload))

    def work(self) -> None:
        """Do what is in the inbox."""
        while not self.inbox.empty():
            self.inbox.get()(0.0)

    def work_until(self, *heard) -> None:
        """Do what comes into the inbox until this was heard."""
        until(lambda: (self.work(), heard in self.heard)[1])


def config(port: int, **mqtt: object) -> EdgeConfig:
    """A device at a broker of this machine."""
    return edge_config(
        device=Device("school", "r1", "cam"),
        mqtt=MqttConfig(**{"host": "127.0.0.1", "port": port, "tls": False, **mqtt}),
    )


def until(condition) -> None:
    """Wait, at most twenty seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def accepted(owner: Owner, server: socket.socket) -> tuple[socket.socket, bytes]:
    """A connection of the owner's that was accepted, and the answer that its subscriptions still wait for."""
    owner.connection.open(owner)
    client, _ = server.accept()
    client.recv(1000)
    client.sendall(ACCEPTED)
    subscribe = client.recv(1000)
    return client, b"\x90\x05" + subscribe[2:4] + b"\x01\x00\x00"


def test_messages_are_published_with_qos_1_and_their_pubacks_are_heard():
    """Over a session that lasts, with the last will, after the device has subscribed."""
    broker = SmallBroker()
    owner = Owner(broker.port)
    owner.connection.open(owner)
    owner.work_until("connected")
    mid = owner.connection.publish("health", b"fine", retain=True)
    owner.work_until("acked", mid)
    owner.connection.close()

    (_, connect), (_, subscribe), (kind, publish), *_ = broker.packets
    assert connect[7] == 0b0010_1100  # no clean session; a will, retained, of QoS 1
    assert b"classpulse/1/school/r1/cam/state" in connect
    assert [name in subscribe for name in (b"cam/set\x01", b"cam/stored\x00", b"cam/state\x00")] == [True] * 3
    assert (kind, publish[2:34], publish[-4:]) == (
        PUBLISH | 0x02 | RETAINED,
        b"classpulse/1/school/r1/cam/healt",
        b"fine",
    )
    assert owner.heard == [("connected",), ("acked", mid)]


def test_a_refusal_is_heard_once_and_says_why():
    """Paho tells of it, and then of the end of the connection."""
    broker = SmallBroker(connack=NOT_AUTHORIZED)
    owner = Owner(broker.port)
    owner.connection.open(owner)
    until(lambda: owner.inbox.qsize() == 2)

    owner.work()

    assert owner.heard == [("disconnected", "refused: Not authorized")]


def test_a_refused_subscription_is_an_error_in_the_log_that_names_the_topic(caplog):
    """A device that must not hear `stored` would keep everything for ever, and nobody would know why."""
    broker = SmallBroker(suback=b"\x01\x80\x00")
    owner = Owner(broker.port)
    owner.connection.open(owner)

    until(lambda: caplog.records)

    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "classpulse/1/school/r1/cam/stored: the broker refuses the subscription")
    ]
    owner.connection.close()


@pytest.mark.parametrize(
    ("confirm", "qos_of"), [("stored", {"set": 1, "stored": 0, "state": 0}), ("puback", {"set": 1, "state": 1})]
)
def test_in_a_cluster_nothing_is_subscribed_in_vain_and_all_with_one_qos(confirm, qos_of):
    """Each QoS costs a cluster a queue for each device, and each subscription a binding."""
    broker = SmallBroker()
    owner = Owner(broker.port)
    device = dataclasses.replace(config(broker.port), outbox=OutboxConfig(confirm=confirm))
    owner.connection = Connection(device, b"", owner.inbox.put)

    owner.connection.open(owner)
    until(lambda: SUBSCRIBE in broker.kinds())

    (wanted,) = [body for kind, body in broker.packets if kind & 0xF0 == SUBSCRIBE]
    topics = {f"/cam/{kind}".encode(): qos for kind, qos in qos_of.items()}
    assert [wanted[wanted.index(topic) + len(topic)] for topic in topics] == list(topics.values())
    assert wanted.count(b"/cam/") == len(topics)


def test_a_connection_is_there_when_the_subscriptions_are_answered():
    """A broker to which a fleet returns makes sessions slowly: nothing may be sent, and no silence counted, before."""
    server = socket.create_server(("127.0.0.1", 0))
    owner = Owner(server.getsockname()[1])
    client, suback = accepted(owner, server)
    owner.work()
    assert owner.heard == []

    client.sendall(suback)

    owner.work_until("connected")
    owner.connection.close()
    client.close()


def test_what_an_old_connection_still_says_is_not_heard():
    """A late PUBACK must not confirm a message of the next connection with the same number."""
    broker = SmallBroker()
    owner = Owner(broker.port)
    owner.connection.open(owner)
    owner.work_until("connected")
    owner.connection.publish("counts", b"1", retain=False)
    until(lambda: not owner.inbox.empty())

    owner.connection.open(owner)
    owner.work_until("connected")
    owner.work()

    assert set(owner.heard) == {("connected",)}
    owner.connection.close()


def test_a_connection_that_is_accepted_after_it_was_dropped_is_ended_and_not_heard():
    """Nothing could be sent over it, and it would take the next one's place at the broker."""
    broker = LateBroker()
    owner = Owner(broker.port)
    owner.connection.open(owner)
    time.sleep(0.3)

    owner.connection.drop()
    broker.begin()
    until(broker.ended.is_set)
    owner.work()

    assert owner.heard == []


def test_a_dropped_connection_s_socket_is_shut_down_although_the_broker_reads_nothing():
    """What waits to be sent fills its buffers, so DISCONNECT cannot be sent: paho's thread must end all the same."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    server.bind(("127.0.0.1", 0))
    server.listen()
    owner = Owner(server.getsockname()[1])
    frozen, suback = accepted(owner, server)
    frozen.sendall(suback)
    owner.work_until("connected")
    client = owner.connection._client
    for _ in range(80):
        owner.connection.publish("counts", bytes(200_000), retain=False)

    owner.connection.drop()

    until(lambda: client.socket() is None)
    frozen.close()


def test_stopped_is_published_retained_and_the_device_s_own_session_is_left_alone():
    """Commands that the broker keeps for the device must reach the daemon that starts next, and nobody else."""
    broker = SmallBroker()

    publish_stopped(config(broker.port), b"the state")
    until(broker.ended.is_set)

    connect, publish = (next(body for kind, body in broker.packets if kind & 0xF0 == each) for each in (0x10, 0x30))
    assert SUBSCRIBE not in broker.kinds()
    assert (PUBLISH | 0x02 | RETAINED, publish) in broker.packets
    assert not connect[7] & 0b10  # a clean session would wipe the device's own
    assert connect.endswith(b"school.r1.cam")
    assert publish[2:].startswith(b"classpulse/1/school/r1/cam/state")
    assert publish.endswith(b"the state")


def test_a_broker_that_cannot_be_reached_is_only_logged(caplog):
    """The daemon ends with what it had to say."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    publish_stopped(config(port), b"the state")

    assert f"the broker does not get the state: 127.0.0.1:{port}: " in caplog.text


def test_a_check_wants_back_what_it_publishes(monkeypatch):
    """A device that may write and not read keeps everything for ever, and cannot be paused."""
    monkeypatch.setattr("edge.uplink.connection.CONNECT_S", 0.5)

    with pytest.raises(BrokerError, match="cam/state does not come back: its access list must let the device write"):
        probe(config(SmallBroker(suback=b"\x00").port))
    assert "takes school.r1.cam in" in probe(config(SmallBroker(suback=b"\x00", echo=True).port))


def openssl(folder: Path, *arguments: str) -> None:
    """Run it in a folder."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by openssl")
def test_only_ca_crt_is_trusted_and_not_the_system_s_store(tmp_path, monkeypatch):
    """Whoever has a certificate of a public authority is not the school's broker."""
    new_key = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3")
    for name in ("ca", "public"):
        signs = ("-addext", "keyUsage=critical,keyCertSign,digitalSignature")  # Python 3.13 demands it of what may sign
        openssl(tmp_path, *new_key, *signs, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")
    address = ("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE")
    signed = ("-CA", "public.crt", "-CAkey", "public.key")
    openssl(tmp_path, *new_key, *signed, *address, "-subj", "/CN=x", "-keyout", "server.key", "-out", "server.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    device = dataclasses.replace(config(SmallBroker(tls=context, echo=True).port, tls=True), credentials=tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "public.crt"))
    assert ssl.create_default_context().get_ca_certs(), "the system's store has the public authority"

    with pytest.raises(BrokerError, match="certificate verify failed"):
        probe(device)

    (tmp_path / "ca.crt").write_bytes((tmp_path / "public.crt").read_bytes())
    assert "TLS" in probe(device)


def test_a_faulty_file_still_says_where_the_broker_is(tmp_path):
    """Device and broker are read; a file that lacks them tells nobody."""
    path = tmp_path / "edge.toml"
    path.write_text(
        '[device]\nsite = "s"\nroom = "r"\ndevice = "d"\n[mqtt]\nhost = "broker"\n[publish]\nmin_faces = -1\n'
    )

    loaded = load_partly(path)

    assert loaded is not None
    assert (loaded.mqtt.host, loaded.device.room) == ("broker", "r")
    path.write_text("[device\n")
    assert load_partly(path) is None


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by openssl")
def test_a_device_whose_certificate_is_refused_says_so(tmp_path):
    """Revoked, ended or of another authority: paho alone says "Unspecified error" for ever."""
    new_key = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1")
    signs = ("-addext", "keyUsage=critical,keyCertSign,digitalSignature")  # Python 3.13 demands it of what may sign
    openssl(tmp_path, *new_key, *signs, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.crt")
    openssl(tmp_path, *new_key, "-subj", "/CN=other", "-keyout", "device.key", "-out", "device.crt")
    signed = (*signs, "-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1")
    openssl(tmp_path, *new_key, *signed, "-subj", "/CN=x", "-keyout", "server.key", "-out", "server.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    context.load_verify_locations(tmp_path / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    device = dataclasses.replace(config(SmallBroker(tls=context).port, tls=True), credentials=tmp_path)
    owner = Owner(device.mqtt.port)
    owner.connection = Connection(device, b"", owner.inbox.put)

    owner.connection.open(owner)
    until(lambda: (owner.work(), owner.heard)[1])

    assert "the broker refuses this device's certificate" in owner.heard[-1][1]
    with pytest.raises(BrokerError, match="the broker refuses this device's certificate"):
        probe(device)
