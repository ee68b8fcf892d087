"""How a daemon begins and ends: exit codes, the watchdog, what the broker is told, and why it refuses."""

import contextlib
import fcntl
import os
import socket
import subprocess
import time
from datetime import UTC, datetime

import pytest

from contract.message import State
from edge.schedule import DAYS
from tests.system.broker import until
from tests.system.edge.lab import DEVICE, retained

pytestmark = [pytest.mark.system, pytest.mark.broker, pytest.mark.timeout(120)]


def state(port: int) -> tuple[str, str]:
    """The device's state and its reason."""
    said = State.from_json(retained(port, "state"))
    return said.state, said.reason


class Supervisor:
    """What systemd is to a service: a socket that hears READY=1 and WATCHDOG=1."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.setblocking(False)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        """Everything heard so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard += self.socket.recv(4096).decode().split("\n")
        return self.heard


@pytest.fixture
def supervisor(tmp_path):
    """At tmp_path/notify."""
    made = Supervisor(str(tmp_path / "notify"))
    yield made
    made.socket.close()


def test_sigterm_says_stopped_and_ends_with_0_within_two_seconds(lab, mosquitto):
    """And not by the last will."""
    lab.start_daemon("rate=20")
    until(lambda: len(lab.accepted()) > 5, "some frames")

    seconds = lab.stop_daemon()

    assert seconds < 2.0 + 1.0  # a second for a busy test machine
    assert state(mosquitto.port) == ("stopped", "told to stop")


def test_a_killed_daemon_is_lost(lab, mosquitto):
    """The last will."""
    lab.start_daemon("rate=20")
    until(lambda: len(lab.accepted()) > 5, "some frames")

    lab.kill_daemon()

    until(lambda: state(mosquitto.port)[0] == "lost", "the last will")


@pytest.mark.parametrize(
    ("script", "reason"), [("rate=20,after=10,then=raise", "cable is out"), ("rate=20,after=10,then=stall", "no frame")]
)
def test_a_camera_that_fails_or_stalls_ends_the_daemon_with_74(lab, mosquitto, script, reason):
    """Never an endless silent wait; everything counted before is stored."""
    daemon = lab.start_daemon(script)

    assert daemon.wait(30) == 74
    said = state(mosquitto.port)
    assert said[0] == "stopped"
    assert reason in said[1]
    lab.start_daemon("rate=20")
    until(lambda: len(lab.accepted()) > 15, "the next daemon's frames")
    lab.pause_daemon()
    lab.wait_until_stored()


def test_garbage_from_the_camera_is_counted_or_ends_the_daemon_but_never_hangs_it(lab):
    """Noise of any size through the real detector."""
    daemon = lab.start_daemon("rate=20,after=1,then=garbage")
    until(lambda: len(lab.accepted()) > 20 or daemon.poll() is not None, "frames, or an end")
    if daemon.poll() is None:
        lab.pause_daemon()

    lab.wait_until_stored()


def test_the_watchdog_hears_of_accepted_frames_and_of_pauses(lab, supervisor, tmp_path):
    """And systemd of the start, once."""
    lab.start_daemon("rate=20", env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    until(lambda: supervisor.listen().count("WATCHDOG=1") >= 10, "signs of life")
    lab.pause_daemon()
    until(lambda: any("paused" in each for each in supervisor.listen()), "the pause")
    count = supervisor.listen().count("WATCHDOG=1")
    until(lambda: supervisor.listen().count("WATCHDOG=1") >= count + 2, "signs of life in the pause")

    assert supervisor.heard[0] == "READY=1"
    assert supervisor.heard.count("READY=1") == 1


def test_a_camera_that_hangs_without_a_word_starves_the_watchdog(lab, supervisor, tmp_path):
    """Its last frames are accepted, and then nothing is heard any more, so that systemd ends the daemon."""
    lab.start_daemon("rate=20,after=60,then=hang", env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    until(lambda: len(lab.accepted()) >= 60, "the last frames")
    time.sleep(1)

    assert_starved(supervisor)


def test_an_outbox_that_hangs_starves_the_watchdog_though_frames_come(lab, supervisor, tmp_path):
    """The ledger is a pipe that nobody empties: accepting blocks for ever, while the camera goes on."""
    os.mkfifo(lab.ledger)
    reader = os.open(lab.ledger, os.O_RDWR)  # a pipe without a reader could not even be opened
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    daemon = lab.start_daemon("rate=50", env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    until(lambda: supervisor.listen().count("WATCHDOG=1") >= 1, "a sign of life")
    time.sleep(3)  # some ten messages fill the pipe

    assert_starved(supervisor)
    assert daemon.poll() is None
    os.close(reader)


def assert_starved(supervisor: Supervisor) -> None:
    """For three seconds, which are many frames, the watchdog hears nothing."""
    count = supervisor.listen().count("WATCHDOG=1")
    time.sleep(3)
    assert supervisor.listen().count("WATCHDOG=1") == count


def test_without_an_aggregator_or_broker_the_watchdog_is_content(make_lab, mosquitto, supervisor, tmp_path):
    """A network that is away is no reason to restart."""
    mosquitto.stop()
    make_lab().start_daemon("rate=20", env={"NOTIFY_SOCKET": str(tmp_path / "notify")})

    until(lambda: supervisor.listen().count("WATCHDOG=1") >= 50, "signs of life")


def test_a_configuration_that_cannot_be_used_is_78_and_the_broker_is_told(lab, mosquitto):
    """Where the file still says where the broker is."""
    daemon = lab.start_daemon(publish={"min_faces": -3})

    assert daemon.wait(30) == 78
    assert state(mosquitto.port)[0] == "stopped"
    assert "min_faces = -3" in state(mosquitto.port)[1]
    assert "edge.toml" in lab.log("edge")


def test_a_model_that_cannot_be_used_is_65_and_the_broker_is_told(lab, mosquitto, tmp_path):
    """The reason names the file."""
    lab.start_daemon()  # writes the configuration
    lab.kill_daemon()
    config = (tmp_path / "edge.toml").read_text()
    (tmp_path / "edge.toml").write_text(config.replace("enabled = false", f'model = "{tmp_path}/missing.tflite"'))
    daemon = lab._start("edge", "edge", "--config", tmp_path / "edge.toml", "run")

    assert daemon.wait(30) == 65
    assert state(mosquitto.port)[0] == "stopped"
    assert "missing" in state(mosquitto.port)[1]


def test_a_second_daemon_leaves_the_first_alone(lab, mosquitto, tmp_path):
    """One at a time at camera and outbox."""
    first = lab.start_daemon("rate=20")
    until(lambda: len(lab.accepted()) > 5, "some frames")
    second = lab._start("edge", "tests.system.edge.scripted", tmp_path / "edge.toml", lab.ledger)

    assert second.wait(30) == 75
    assert first.poll() is None
    assert state(mosquitto.port)[0] == "ready"


def test_a_pause_ordered_by_mqtt_is_kept_over_a_restart(lab, mosquitto):
    """Until somebody says resume; nothing is accepted meanwhile."""
    lab.start_daemon("rate=20")
    until(lambda: len(lab.accepted()) > 5, "some frames")
    order(mosquitto, "pause")
    until(lambda: state(mosquitto.port) == ("paused", "ordered by MQTT"), "the pause")
    lab.stop_daemon()
    count = len(lab.accepted())
    lab.start_daemon("rate=20")
    until(lambda: state(mosquitto.port) == ("paused", "ordered by MQTT"), "the pause, again")
    held = len(lab.accepted()) == count
    order(mosquitto, "resume")

    until(lambda: len(lab.accepted()) > count + 5, "frames")
    assert held


def test_a_pause_ordered_while_the_device_was_away_reaches_it(lab, mosquitto):
    """The broker keeps an order for it."""
    lab.start_daemon("rate=20")
    until(lambda: len(lab.accepted()) > 5, "some frames")
    lab.stop_daemon()
    order(mosquitto, "pause")
    lab.start_daemon("rate=20")

    until(lambda: state(mosquitto.port) == ("paused", "ordered by MQTT"), "the pause")


def test_a_retained_command_does_not_undo_a_pause_at_a_reconnect_and_is_removed(lab, mosquitto):
    """Somebody published `resume` with the retain flag, months ago."""
    lab.start_daemon("rate=20")
    until(lambda: len(lab.accepted()) > 5, "some frames")
    publish(mosquitto, "set", b"resume", "-r")
    order(mosquitto, "pause")
    until(lambda: state(mosquitto.port) == ("paused", "ordered by MQTT"), "the pause")
    lab.stop_daemon()
    lab.start_daemon("rate=20")

    until(lambda: "a retained b'resume' is not obeyed" in lab.log("edge"), "the line in the log")
    command = ["mosquitto_sub", "-p", str(mosquitto.port), "-t", DEVICE.topic("set"), "-C", "1", "-W", "2"]
    until(lambda: subprocess.run(command, capture_output=True, check=False).stdout == b"", "the removal")
    assert state(mosquitto.port) == ("paused", "ordered by MQTT")


def test_outside_lesson_hours_nothing_is_counted_and_the_state_says_why(lab, mosquitto):
    """A lesson in three days: the daemon runs, the camera does not."""
    day = DAYS[(datetime.now(UTC).weekday() + 3) % 7]
    lab.start_daemon("rate=20", schedule={"time_zone": "UTC", "lessons": [f"{day} 08:00-09:00"]})

    until(lambda: state(mosquitto.port) == ("paused", "outside lesson hours"), "the state")
    time.sleep(1)
    assert lab.lines() == 0


def test_its_own_last_will_is_contradicted(lab, mosquitto):
    """Somebody else, or a late will, says that it is lost: it says that it is not."""
    lab.start_daemon("rate=20")
    until(lambda: len(lab.accepted()) > 5, "some frames")
    lost = retained(mosquitto.port, "state").replace(b'"ready"', b'"lost"')

    publish(mosquitto, "state", lost, "-r")

    until(lambda: state(mosquitto.port)[0] == "ready", "the contradiction")


def order(mosquitto, text: str) -> None:
    """Publish to the device's `set`."""
    publish(mosquitto, "set", text.encode())


def publish(mosquitto, kind: str, payload: bytes, *options: str) -> None:
    """Publish to one of the device's topics."""
    command = ["mosquitto_pub", "-p", str(mosquitto.port), "-q", "1", "-t", DEVICE.topic(kind), "-m", payload, *options]
    subprocess.run(command, check=True)
