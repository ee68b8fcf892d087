"""A class, a daemon and a page for the tests and the benchmark of the page."""

import math
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from contract.card import beside, read
from contract.labels import EMOTIONS
from contract.message import CountsMessage, FrameCounts, State, instant, utc
from contract.topics import Device
from tests.health import health_at

ROOT = Path(__file__).parents[2]
CAMERA = Device("north", "r101", "cam1")
MODEL = read(beside(ROOT / "models" / "emotion_int8.tflite")).short
PASSWORD = "correct horse battery"  # noqa: S105 - of this test's users


def frame(at, people=25):
    """A class whose happiness comes and goes in ten minutes."""
    happy = 0.3 + 0.2 * math.sin(at / 95)
    shares = {"angry": 0.05, "disgust": 0.02, "fear": 0.07, "sad": 0.12, "surprise": 0.1, "happy": happy}
    counts = {label: round(people * shares.get(label, 0.0)) for label in EMOTIONS}
    counts["neutral"] = people - sum(counts.values())
    expected = {label: round(0.7 * counts[label] + 0.3 * people / 7, 2) for label in EMOTIONS}
    return FrameCounts(t=instant(utc(at)), faces=people + 1, unsure=1, counts=counts, expected=expected)


class Classroom:
    """A device's publications, and what it was told."""

    def __init__(self, port):
        self.orders = []
        self._seqs = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "classroom")
        self._client.on_message = lambda _client, _data, message: self.orders.append(message.payload.decode())
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(CAMERA.topic("set"), 1)
        self._client.loop_start()

    def count(self, *frames, device=CAMERA):
        """Publish frames as one message."""
        seq = self._seqs[device] = self._seqs.get(device, -1) + 1
        message = CountsMessage(boot="00000001", seq=seq, model=MODEL, clock="synced", frames=frames)
        self._client.publish(device.topic("counts"), message.to_json(), 1).wait_for_publish(10)

    def say(self, word, reason="", device=CAMERA):
        """Publish a state."""
        state = State(state=word, reason=reason, version="1", model=MODEL, min_faces=5, boot="00000001")
        self._client.publish(device.topic("state"), state.to_json(), 1, retain=True).wait_for_publish(10)

    def report(self, device=CAMERA, **fields):
        """Publish a health."""
        health = health_at(time.time(), **fields)
        self._client.publish(device.topic("health"), health.to_json(), 1, retain=True).wait_for_publish(10)

    def shout(self, topic, payload):
        """Publish anything."""
        self._client.publish(topic, payload, 1).wait_for_publish(10)

    def close(self):
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


class Stage:
    """Broker, daemon and page; `address` of the page."""

    def __init__(self, folder, broker, port):
        self.config = folder / "aggregator.toml"
        self.address = f"http://127.0.0.1:{port}"
        self.config.write_text(
            f'site = "north"\nmodels_dir = "{ROOT / "models"}"\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\ntls = false\n'
            f'[store]\npath = "{folder / "store.sqlite"}"\n'
            f'[page]\nport = {port}\nusers = "{folder / "users.json"}"\n'
        )
        self._processes = {}

    def command(self, *words, **options):
        """Run a command to its end."""
        whole = [sys.executable, "-m", "aggregator", "--config", self.config, *words]
        return subprocess.run(whole, cwd=ROOT, check=True, **options)

    def start(self, word):
        """Run a daemon until the stage is taken down."""
        whole = [sys.executable, "-m", "aggregator", "--config", self.config, word]
        self._processes[word] = subprocess.Popen(whole, cwd=ROOT)

    def process(self, word):
        """The daemon that runs."""
        return self._processes[word]

    def answers(self):
        """Whether the page does."""
        try:
            return self.get("/login")[0] in (200, 404)
        except OSError:
            return False

    def get(self, path, **headers):
        """Status and body of a request without a session."""
        request = urllib.request.Request(self.address + path, headers=headers)  # noqa: S310 - http, from above
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
                return answer.status, answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode("utf-8", "replace")

    def close(self):
        """End all processes."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            assert process.wait(20) == 0
