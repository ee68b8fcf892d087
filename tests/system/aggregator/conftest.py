"""An aggregator as a process, and a device that keeps what `stored` has not confirmed and sends it again."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from aggregator.store.sqlite import SqliteStore
from aggregator.store.windows import Key, Sums, add, fold
from contract.labels import EMOTIONS
from contract.message import CountsMessage, FrameCounts, State, instant, stored_from_json, utc
from contract.topics import Device, aggregator_state

DEVICE = Device("school", "r1", "cam")
DICE = random.Random()  # noqa: S311 - other faces in every run
AGGREGATOR_STATE = aggregator_state("school")


class Aggregator:
    """The daemon as a process of its own, with its files in `folder`."""

    def __init__(self, broker, folder: Path, store: Path | None = None, mqtt: str = "tls = false") -> None:
        self.store = store or folder / "store.sqlite"
        self.log = folder / "aggregator.log"
        self.config = folder / "aggregator.toml"
        self.config.write_text(
            f'site = "school"\ncredentials = "{folder}"\n[mqtt]\nhost = "{broker.host}"\nport = {broker.port}\n'
            f'keepalive_s = 5\n{mqtt}\n[store]\npath = "{self.store}"\n'
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Aggregator":
        """Start it and return at once."""
        command = [sys.executable, "-m", "aggregator", "--config", self.config, "run"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        return self

    def wait(self, broker) -> None:
        """Until it has subscribed: before its first time the broker keeps nothing for it."""
        command = [
            "mosquitto_sub",
            "-h",
            broker.host,
            "-p",
            str(broker.port),
            "-t",
            AGGREGATOR_STATE,
            "-C",
            "1",
            "-W",
            "30",
        ]
        subprocess.run(command, check=True, capture_output=True)

    def end(self, how: signal.Signals) -> int:
        """Send a signal and wait; the exit code."""
        self.process.send_signal(how)
        return self.process.wait(20)

    def said(self) -> str:
        """Its log."""
        return self.log.read_text() if self.log.exists() else ""

    def windows(self) -> dict[Key, Sums]:
        """What it has committed for the room."""
        if not self.store.exists():
            return {}
        with SqliteStore(self.store, writable=False) as store:
            return dict(store.windows("school", "r1", 0, 2**40, unsynced=True))


class Sender:
    """A device that keeps what is not confirmed; `truth` is the windows of everything it accepted."""

    def __init__(self, broker, device: Device = DEVICE, boot: str = "9f3a2c41") -> None:
        self.device, self.boot, self.seq = device, boot, 0
        self.truth: dict[Key, Sums] = {}
        self.waiting: dict[int, bytes] = {}
        self.heard: list[tuple[str, bytes]] = []
        self.lock = threading.Lock()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, f"sender-{device.client_id}-{boot}")
        self.client.max_queued_messages_set(0)
        self.client.on_connect = lambda client, *_: client.subscribe(
            [(device.topic("stored"), 1), (AGGREGATOR_STATE, 1)]
        )
        self.client.on_message = self._on_message
        self.client.reconnect_delay_set(1, 1)
        self.client.connect_async(broker.host, broker.port)
        self.client.loop_start()

    def accept(self, *frames, synced=True, send=True) -> bytes:
        """A new message, kept until it is confirmed; its payload."""
        message = CountsMessage(
            boot=self.boot,
            seq=self.seq,
            model="3f9c1a77",
            clock="synced" if synced else "unsynced",
            frames=frames or (frame(),),
        )
        with self.lock:
            self.waiting[self.seq] = message.to_json()
        self.seq += 1
        for key, sums in fold(self.device, message).items():
            add(self.truth, key, sums)
        if send:
            self.send(message.to_json())
        return message.to_json()

    def send(self, payload: bytes, kind: str = "counts") -> None:
        """Publish anything on a topic of the device."""
        self.client.publish(self.device.topic(kind), payload, qos=1)

    def resend(self) -> None:
        """Publish again what is not confirmed."""
        with self.lock:
            waiting = list(self.waiting.values())
        for payload in waiting:
            self.send(payload)

    def confirmed(self) -> bool:
        """Whether nothing waits."""
        with self.lock:
            return not self.waiting

    def states(self) -> list[State]:
        """What the aggregator said of itself, in order."""
        return [State.from_json(payload) for topic, payload in list(self.heard) if topic == AGGREGATOR_STATE]

    def _on_message(self, _client, _data, message) -> None:
        self.heard.append((message.topic, message.payload))
        if message.topic == self.device.topic("stored"):
            mark = stored_from_json(message.payload).get(self.boot, -1)
            with self.lock:
                self.waiting = {seq: payload for seq, payload in self.waiting.items() if seq > mark}


def frame(at: float | None = None) -> FrameCounts:
    """A frame of random faces, taken now or at `at`."""
    counts = {label: DICE.randrange(4) for label in EMOTIONS}
    faces = sum(counts.values())
    return FrameCounts(t=instant(utc(at or time.time())), faces=faces, unsure=0, counts=counts, expected=counts)


@pytest.fixture
def make_aggregator(tmp_path) -> Callable[..., Aggregator]:
    """`make_aggregator(broker, store=None, mqtt="tls = false")`: one that does not run yet."""
    return partial(Aggregator, folder=tmp_path)


@pytest.fixture
def aggregator(mosquitto, make_aggregator):
    """A running aggregator."""
    running = make_aggregator(mosquitto).start()
    running.wait(mosquitto)
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGTERM)


@pytest.fixture
def sender(mosquitto):
    """A device in the room."""
    made = Sender(mosquitto)
    yield made
    made.client.disconnect()
    made.client.loop_stop()


@pytest.fixture
def make_sender() -> Callable[..., Sender]:
    """`make_sender(broker, boot=…)`: another device."""
    return Sender


@pytest.fixture
def make_frame() -> Callable[..., FrameCounts]:
    """`make_frame(at=now)`: a frame of random faces."""
    return frame


@pytest.fixture
def until_confirmed(wait_until) -> Callable[[Sender], None]:
    """`until_confirmed(sender)`: send again every two seconds until everything is confirmed."""

    def wait(sender: Sender) -> None:
        resent = time.monotonic()

        def confirmed() -> bool:
            nonlocal resent
            if time.monotonic() - resent > 2:
                sender.resend()
                resent = time.monotonic()
            return sender.confirmed()

        wait_until(confirmed, "confirmation of everything", within_s=120)

    return wait
