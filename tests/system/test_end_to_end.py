"""Pictures of known faces in at the camera, counts out of a real broker: the daemon as a device runs it."""

import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from aggregator.analysis.summary import Summary
from contract.labels import EMOTIONS
from contract.message import Health, State, stored_from_json
from contract.topics import aggregator_state
from demo import scene
from edge.camera.source import Frame
from edge.config import EdgeConfig
from edge.vision.pipeline import open_pipeline
from service.config import load
from tests.needs import need
from tests.system.classroom import DEVICE, MODEL, Arrival, Classroom

pytestmark = pytest.mark.system
ONCE = {"loop": False, "realtime": False}
"""`[camera]`: every picture once, as fast as it is read."""


@pytest.fixture
def room(tmp_path, mosquitto, wait_until) -> Iterator[Classroom]:
    """A classroom at a broker that lets everybody in."""
    with Classroom(tmp_path, wait_until, mosquitto.port) as classroom:
        yield classroom


@pytest.fixture
def room_at(tmp_path, wait_until) -> Iterator[Callable[[int], Classroom]]:
    """`room_at(port)`: a classroom at a broker of the test's own."""
    rooms: list[Classroom] = []

    def make(port: int) -> Classroom:
        rooms.append(Classroom(tmp_path, wait_until, port))
        return rooms[-1]

    yield make
    for classroom in rooms:
        classroom.close()


def test_the_counts_of_known_faces_arrive(room, wait_until):
    """One message per picture, in order, with as many faces as are in it and the emotions that the pipeline reads."""
    source, subscriber = room.pictures(8, 6, 10), room.subscribe()

    room.daemon(source, camera=ONCE, publish={"min_faces": 1})
    wait_until(lambda: len(subscriber.counts()) >= 3, "three messages")

    messages, frames = subscriber.counts(), subscriber.frames()
    assert [message.seq for message in messages] == [0, 1, 2]
    assert all(message.synced and message.model == sha8(MODEL) for message in messages)
    assert [frame.faces for frame in frames] == [8, 6, 10]
    assert [frame.unsure + sum(frame.counts.values()) for frame in frames] == [8, 6, 10]
    assert [(frame.counts, frame.expected) for frame in frames] == readings(room.folder / "edge.toml", source)
    for frame in frames:
        assert sum(frame.expected.values()) == pytest.approx(frame.faces, abs=0.04)


def test_a_frame_with_few_readable_faces_says_only_that_it_was_taken(room, wait_until):
    """Below min_faces, 5 by default, no number of the frame leaves the device."""
    source, subscriber = room.pictures(4, 0, 28), room.subscribe()

    room.daemon(source, camera=ONCE)
    wait_until(lambda: len(subscriber.counts()) >= 3, "three messages")

    few, none, many = (json.loads(each.payload)["frames"][0] for each in subscriber.of("counts"))
    assert few == {"t": few["t"], "withheld": True}
    assert none == {"t": none["t"], "withheld": True}
    assert many["faces"] == 28


def test_every_topic_speaks_and_only_lasting_words_are_retained(room, wait_until):
    """State, health, stored and the room's summary wait for who comes later; the stream of counts does not."""
    early, summary = room.subscribe(), DEVICE.where.topic("summary")
    room.aggregator()
    room.daemon(room.pictures(20))
    wait_until(lambda: early.of("stored") and stored_from_json(early.of("stored")[-1].payload), "a frame, confirmed")
    wait_until(lambda: early.of("health"), "health")
    wait_until(lambda: any(map(recent_faces, early.on(summary))), "a summary with faces")

    late = room.subscribe()
    wait_until(lambda: late.on(summary) and late.of("stored"), "what was retained")

    kept = {each.topic: each.payload for each in late.arrivals if each.retain}
    ours = {DEVICE.topic(kind) for kind in ("state", "health", "stored")}
    assert kept.keys() == {*ours, summary, aggregator_state(DEVICE.site)}
    state, health = State.from_json(kept[DEVICE.topic("state")]), Health.from_json(kept[DEVICE.topic("health")])
    boot = early.counts()[0].boot
    assert (state.state, state.model, state.min_faces, state.boot, health.boot) == ("ready", sha8(MODEL), 5, boot, boot)
    assert stored_from_json(kept[DEVICE.topic("stored")]).keys() == {boot}
    assert not any(each.retain for each in early.arrivals)


def test_the_store_holds_each_message_once(room, wait_until):
    """The aggregator's windows add up to what was published."""
    room.aggregator()
    source, subscriber = room.pictures(8, 3, 6, 10), room.subscribe()

    room.daemon(source, camera=ONCE)
    wait_until(lambda: room.stored().frames >= 4, "four stored frames")

    shown = [frame for frame in subscriber.frames() if frame.counts]
    sums = room.stored()
    assert (sums.frames, sums.withheld, sums.faces) == (4, 4 - len(shown), sum(frame.faces for frame in shown))
    assert sums.counts == tuple(sum(frame.counts[label] for frame in shown) for label in EMOTIONS)


def test_sigterm_says_stopped_at_once(room, wait_until):
    """The goodbye comes in seconds (two, on a machine of its own), not as the last will, and is a success."""
    subscriber = room.subscribe()
    daemon = room.daemon(room.pictures(20))
    wait_until(subscriber.counts, "a first frame")

    daemon.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    wait_until(lambda: subscriber.state() == "stopped", "stopped")

    assert time.monotonic() - asked < 5
    assert daemon.wait(20) == 0
    assert subscriber.state() == "stopped"


def test_pause_stops_the_stream_until_resume(room, wait_until):
    """An order on `set` is confirmed in `state`, and no frame is published in between."""
    subscriber = room.subscribe()
    room.daemon(room.pictures(20))
    wait_until(subscriber.counts, "a first frame")

    subscriber.publish(DEVICE.topic("set"), "pause")
    wait_until(lambda: subscriber.state() == "paused", "paused")
    time.sleep(0.5)  # a frame that was under way may still come
    before = len(subscriber.counts())
    time.sleep(1.5)
    after = len(subscriber.counts())
    subscriber.publish(DEVICE.topic("set"), "resume")
    wait_until(lambda: subscriber.state() == "ready" and len(subscriber.counts()) > after, "frames again")

    assert after == before


def test_a_killed_daemon_is_reported_lost(room, wait_until):
    """The broker speaks the last will, and whoever comes later hears it too."""
    subscriber = room.subscribe()
    daemon = room.daemon(room.pictures(20))
    wait_until(subscriber.counts, "a first frame")

    daemon.kill()
    wait_until(lambda: subscriber.state() == "lost", "lost")

    late = room.subscribe()
    wait_until(lambda: late.state() == "lost", "lost, retained")


def test_a_wrong_password_is_an_error_in_the_log(make_mosquitto, room_at, wait_until, tmp_path):
    """A refused connection is no connection: the log says so, the daemon goes on trying and ends when asked."""
    need("mosquitto_passwd")
    passwords = tmp_path / "passwords"
    subprocess.run(("mosquitto_passwd", "-b", "-c", passwords, DEVICE.identity, "right"), check=True)
    broker = make_mosquitto(listener=("allow_anonymous false", f"password_file {passwords}")).start()
    (tmp_path / "mqtt-password").write_text("wrong")
    room = room_at(broker.port)

    daemon = room.daemon(room.pictures(20), mqtt={"username": DEVICE.identity})

    wait_until(lambda: "not authori" in room.log("edge"), "the refusal in the log")
    assert daemon.poll() is None
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(20) == 0


def test_a_broker_of_an_unknown_authority_gets_nothing(make_mosquitto, room_at, wait_until, tmp_path):
    """A certificate that our authority did not sign is an error in the log, and no message is sent."""
    ours, theirs = authority(tmp_path / "ours"), authority(tmp_path / "theirs")
    lines = (f"cafile {theirs}/ca.crt", f"certfile {theirs}/server.crt", f"keyfile {theirs}/server.key")
    broker = make_mosquitto(listener=("allow_anonymous true", *lines)).start()
    shutil.copy(ours / "ca.crt", tmp_path)
    room = room_at(broker.port)

    daemon = room.daemon(room.pictures(20), mqtt={"tls": True})

    wait_until(lambda: "certificate" in room.log("edge"), "the refusal in the log")
    assert daemon.poll() is None
    assert DEVICE.client_id not in broker.log.read_text()
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(20) == 0


@pytest.mark.parametrize("label", ["happy", "surprise"])
def test_faces_of_a_known_label_keep_it_on_the_way(room, wait_until, label):
    """Faces of a dataset, drawn into pictures and found there again, are mostly read as what they are."""
    if not (data := os.environ.get("CLASSPULSE_TEST_DATA")):
        pytest.skip("CLASSPULSE_TEST_DATA names no folder or zip in FER2013's layout")
    folder = zipfile.Path(data) if Path(data).is_file() else Path(data)
    faces = scene.dataset(folder / "test", label, 60)
    source, subscriber = room.save([faces[first : first + 10] for first in range(0, 60, 10)]), room.subscribe()

    room.daemon(source, camera=ONCE, publish={"min_faces": 1})
    wait_until(lambda: len(subscriber.counts()) >= 6, "six messages")

    read = {name: sum(frame.counts[name] for frame in subscriber.frames()) for name in EMOTIONS}
    assert sum(read.values()) >= 20, "most faces are found and read"
    assert read[label] >= 0.7 * sum(read.values()), read


def sha8(model: Path) -> str:
    """What messages carry of a model: the beginning of its card's hash."""
    return str(json.loads(model.with_suffix(".json").read_text())["sha256"][:8])


def readings(config: Path, source: Path) -> list[tuple[dict[str, int] | None, dict[str, float] | None]]:
    """What the pipeline of a configuration reads in the pictures of a folder, without any daemon."""
    pipeline = open_pipeline(load(config, EdgeConfig))
    found = [pipeline.read(Frame(cv2.imread(str(file)), 0.0)) for file in sorted(source.iterdir())]
    return [(reading.counts, reading.expected) for reading in found]


def recent_faces(summary: Arrival) -> float:
    """Faces per frame in a summary's last minute."""
    recent = Summary.from_json(summary.payload).recent
    return recent.faces if recent else 0.0


def authority(folder: Path) -> Path:
    """A folder with ca.crt, and server.crt and server.key for 127.0.0.1 that it signed."""
    need("openssl")
    folder.mkdir()
    make = (
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "1",
    )
    own = ("-subj", f"/CN={folder.name}", "-keyout", folder / "ca.key", "-out", folder / "ca.crt")
    signed = ("-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-addext", "subjectAltName=IP:127.0.0.1")
    server = ("-subj", "/CN=127.0.0.1", "-keyout", folder / "server.key", "-out", folder / "server.crt")
    for what in (own, (*signed, *server)):
        subprocess.run((*make, *what), check=True, capture_output=True)
    return folder
