"""A classroom for tests: pictures for a camera, daemons and an aggregator as processes, and who listens to them."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import cv2
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import StoreError
from aggregator.store.windows import NOTHING, Sums
from contract.message import CountsMessage, FrameCounts, State
from contract.topics import Device, aggregator_state
from demo import scene
from demo.settings import ROOT
from service.config import dump
from tests import yunet

DEVICE = Device("school", "room-1", "cam-1")
MODEL = ROOT / "models" / "emotion_int8.tflite"
Table = dict[str, object]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message as a subscriber got it."""

    topic: str
    payload: bytes
    retain: bool


@dataclass(slots=True)
class Subscriber:
    """Everything below classpulse/ from the moment of its subscription on."""

    client: paho.Client
    arrivals: list[Arrival] = field(default_factory=list)

    def on(self, topic: str) -> list[Arrival]:
        """What came on one topic."""
        return [each for each in self.arrivals if each.topic == topic]

    def of(self, kind: str) -> list[Arrival]:
        """What came on the device's topic `kind`."""
        return self.on(DEVICE.topic(kind))

    def counts(self) -> list[CountsMessage]:
        """The stream of counts, read."""
        return [CountsMessage.from_json(each.payload) for each in self.of("counts")]

    def frames(self) -> list[FrameCounts]:
        """The frames of the stream, in order."""
        return [frame for message in self.counts() for frame in message.frames]

    def state(self) -> str:
        """What the device last said of itself; "" before that."""
        said = self.of("state")
        return State.from_json(said[-1].payload).state if said else ""

    def publish(self, topic: str, payload: str) -> None:
        """Publish once."""
        self.client.publish(topic, payload, qos=1).wait_for_publish(10)


class Classroom:
    """Processes and subscribers around one broker; `close` ends them."""

    def __init__(self, folder: Path, wait_until: Callable[..., None], port: int) -> None:
        """`folder` gets configurations, state, logs and pictures; `port`: the broker's, on 127.0.0.1."""
        self.folder = folder
        self.port = port
        self._wait_until = wait_until
        self._processes: list[subprocess.Popen[bytes]] = []
        self._clients: list[paho.Client] = []

    def close(self) -> None:
        """End everything and print the logs, which pytest shows of a test that failed."""
        for client in self._clients:
            client.disconnect()
            client.loop_stop()
        for process in self._processes:
            process.kill()
            process.wait(10)
        for log in sorted(self.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()}")

    def subscribe(self) -> Subscriber:
        """A new subscriber to everything, already subscribed."""
        client = paho.Client(CallbackAPIVersion.VERSION2)
        subscriber, subscribed = Subscriber(client), []
        client.on_message = lambda _client, _data, each: subscriber.arrivals.append(
            Arrival(each.topic, bytes(each.payload), each.retain)
        )
        client.on_subscribe = lambda *_: subscribed.append(True)
        client.connect("127.0.0.1", self.port)
        client.subscribe("classpulse/#", qos=1)
        client.loop_start()
        self._clients.append(client)
        self._wait_until(lambda: subscribed, "a subscription")
        return subscriber

    def pictures(self, *faces: int) -> Path:
        """A folder of pictures with so many faces each, 1280x720."""
        known = scene.portraits()
        return self.save([known[:count] for count in faces])

    def save(self, classes: list[list[scene.Portrait]]) -> Path:
        """A folder with one picture of each list of faces, 1280x720."""
        folder = self.folder / "class"
        folder.mkdir()
        for number, faces in enumerate(classes):
            picture, _ = scene.still(faces, 1280, 720, 100)
            cv2.imwrite(str(folder / f"{number:03}.png"), picture)
        return folder

    def daemon(self, source: Path, **tables: Table) -> "subprocess.Popen[bytes]":
        """Start the daemon on a folder of pictures, shown again and again unless `camera` says else."""
        self.edge_toml(source, **tables)
        return self._start("edge")

    def aggregator(self) -> "subprocess.Popen[bytes]":
        """Start the aggregator, and return when it is ready."""
        top = {"site": DEVICE.site, "models_dir": str(MODEL.parent), "credentials": str(self.folder)}
        mqtt = {"host": "127.0.0.1", "port": self.port, "tls": False}
        tables = {"mqtt": mqtt, "store": {"path": str(self._store)}, "summary": {"every_s": 0.5}}
        (self.folder / "aggregator.toml").write_text(dump(top | tables))
        subscriber = self.subscribe()
        process = self._start("aggregator")
        self._wait_until(lambda: subscriber.on(aggregator_state(DEVICE.site)), "the aggregator's state")
        return process

    def edge_toml(self, source: Path, **tables: Table) -> Path:
        """The daemon's configuration; `tables` add to what is usual here."""
        usual: dict[str, Table] = {
            "device": {"site": DEVICE.site, "room": DEVICE.room, "device": DEVICE.device},
            "camera": {"source": f"file:{source}", "loop": True},
            "detector": detector(),
            "emotions": {"model": str(MODEL)},
            "runtime": {"package": "tflite_runtime"},
            "mqtt": {"host": "127.0.0.1", "port": self.port, "tls": False},
            "publish": {"health_s": 1.0, "span_s": 0.0},
            "clock": {"wait_s": 0.0, "synchronized": "/"},
        }
        merged = {name: {**table, **tables.get(name, {})} for name, table in usual.items()}
        path = self.folder / "edge.toml"
        path.write_text(dump({"state": str(self.folder / "edge"), "credentials": str(self.folder)} | merged))
        return path

    def log(self, package: str) -> str:
        """What `edge` or `aggregator` has logged, in small letters."""
        return (self.folder / f"{package}.log").read_text().lower()

    def stored(self) -> Sums:
        """What the aggregator's store adds up to; nothing before it is there."""
        try:
            with SqliteStore(self._store, writable=False) as store:
                windows = store.windows(DEVICE.site, DEVICE.room, 0, 2**40)
        except StoreError:
            return NOTHING
        return sum((sums for _, sums in windows), NOTHING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def _store(self) -> Path:
        return self.folder / "store.sqlite"

    def _start(self, package: str) -> "subprocess.Popen[bytes]":
        command = (sys.executable, "-m", package, "--config", self.folder / f"{package}.toml", "run")
        with (self.folder / f"{package}.log").open("ab") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT))
        return self._processes[-1]


def detector() -> Table:
    """`[detector]`: YuNet where its file is at hand, else Haar."""
    path = yunet.find()
    return {"name": "yunet", "model": str(path)} if path else {"name": "haar"}
