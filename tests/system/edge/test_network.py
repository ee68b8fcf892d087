"""A network that is away, frozen, cut off or lossy delays messages; it loses none and counts none twice."""

import random
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest

from contract.message import CountsMessage
from tests.system.broker import until
from tests.system.edge.lab import DEVICE
from tests.system.edge.proxy import Proxy

pytestmark = [pytest.mark.system, pytest.mark.broker, pytest.mark.timeout(240)]


def nft_works() -> bool:
    """Whether this process may drop packets."""
    return (
        bool(shutil.which("nft"))
        and subprocess.run(["nft", "list", "tables"], capture_output=True, check=False).returncode == 0
    )


@pytest.fixture
def proxy(mosquitto):
    """Between the device and the broker."""
    made = Proxy(mosquitto.port)
    yield made
    made.close()


@pytest.fixture
def far_lab(make_lab, proxy):
    """A laboratory whose device is behind the proxy."""
    laboratory = make_lab(edge_port=proxy.port)
    laboratory.start_aggregator()
    return laboratory


@contextmanager
def loss(port: int, percent: int):
    """Drop so many of the packets to and from a port of this machine."""
    table = f"classpulse_{port}"
    rules = f"""
        table inet {table} {{
            chain input {{
                type filter hook input priority 0
                tcp dport {port} numgen random mod 100 < {percent} drop
                tcp sport {port} numgen random mod 100 < {percent} drop
            }}
        }}
    """
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", table], check=True)


def test_a_broker_that_is_down_at_the_start_is_no_error(lab, mosquitto):
    """The daemon counts, and delivers when the broker comes."""
    mosquitto.stop()
    daemon = lab.start_daemon("rate=50")
    until(lambda: len(lab.accepted()) > 150, "three seconds of frames")
    mosquitto.start()
    time.sleep(3)
    lab.pause_daemon()

    lab.wait_until_stored()

    assert daemon.poll() is None


def test_thousands_of_messages_of_a_long_absence_are_replayed_and_live_ones_do_not_wait(lab, mosquitto):
    """While old messages flow, a live one is on its way within a second."""
    mosquitto.stop()
    lab.start_daemon("rate=400,after=4000", mqtt={"replay_hz": 500})
    until(lambda: len(lab.accepted()) == 4000, "4000 messages", within_s=60)
    lab.kill_daemon()
    old = {entry.message.boot for entry in lab.accepted()}
    mosquitto.start()
    delays: dict[int, float] = {}
    live = subscribe(mosquitto, old, delays)
    lab.start_daemon("rate=10", mqtt={"replay_hz": 500})
    time.sleep(6)
    lab.pause_daemon()

    print(lab.wait_until_stored(90))
    live.terminate()

    assert len(delays) >= 30
    assert max(delays.values()) < 1.0 + BUSY_S


BUSY_S = 1.0
"""What a busy test machine adds to a delay."""


def subscribe(mosquitto, old, delays):
    """Write the age of every live message into `delays` when it first passes."""
    command = ["mosquitto_sub", "-p", str(mosquitto.port), "-t", DEVICE.topic("counts")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def listen():
        for line in process.stdout:
            message = CountsMessage.from_json(line.rstrip(b"\n"))
            if message.boot not in old:
                delays.setdefault(message.seq, time.time() - message.frames[0].time.timestamp())

    threading.Thread(target=listen, daemon=True).start()
    return process


def test_a_frozen_broker_is_left_and_found_again(lab, mosquitto):
    """SIGSTOP: TCP stays up and nobody answers. The daemon notices by the missing PUBACKs."""
    lab.start_daemon("rate=20")
    until(lambda: len(lab.accepted()) > 20, "a second of frames")
    mosquitto.sigstop()
    until(lambda: "no PUBACK" in lab.log("edge"), "the daemon notices", within_s=40)
    mosquitto.sigcont()
    time.sleep(3)
    lab.pause_daemon()

    lab.wait_until_stored(90)


def test_a_network_that_swallows_everything_is_noticed(far_lab, proxy):
    """Connections stay open and new ones open, too; nothing comes through until it does."""
    far_lab.start_daemon("rate=20")
    until(lambda: len(far_lab.accepted()) > 20, "a second of frames")
    proxy.silence()
    until(lambda: "no PUBACK" in far_lab.log("edge"), "the daemon notices", within_s=40)
    time.sleep(2)
    proxy.speak()
    time.sleep(3)
    far_lab.pause_daemon()

    far_lab.wait_until_stored(90)


def test_connections_that_are_reset_again_and_again_lose_nothing(far_lab, proxy):
    """A reset in the middle of a message, some of them in the middle of a replay."""
    far_lab.start_daemon("rate=100")
    for _ in range(15):
        time.sleep(random.uniform(0.05, 0.8))  # noqa: S311 - a drill, no secret
        proxy.reset()
    far_lab.pause_daemon()

    far_lab.wait_until_stored(90)


def test_a_slow_link_delivers_everything(far_lab, proxy):
    """Half a second each way: every message is on disk before its PUBACK comes."""
    proxy.delay_s = 0.5
    far_lab.start_daemon("rate=20")
    until(lambda: len(far_lab.accepted()) >= 100, "a hundred frames")
    far_lab.pause_daemon()

    far_lab.wait_until_stored(90)


@pytest.mark.skipif(not nft_works(), reason="packets are dropped by nft (nftables), as root")
def test_lost_packets_lose_no_message(lab, mosquitto):
    """A third of all packets, in both directions, for ten seconds."""
    lab.start_daemon("rate=20")
    until(lambda: len(lab.accepted()) > 20, "a second of frames")
    with loss(mosquitto.port, 30):
        time.sleep(10)
    time.sleep(2)
    lab.pause_daemon()

    lab.wait_until_stored(90)
