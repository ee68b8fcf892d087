"""The simulated fleet at a real mosquitto, a real aggregator behind it: the store holds the expected windows."""

import subprocess
import sys
from pathlib import Path

import pytest

from aggregator.store.sqlite import SqliteStore
from benchmarks.fleet.expected import read, write
from demo.settings import ROOT
from service.config import dump
from tests.system.broker import Mosquitto

pytestmark = [pytest.mark.system, pytest.mark.broker]
FAULTS = ("--duplicates", "0.1", "--late", "0.1", "--late-s", "3", "--malformed", "0.05")
"""A tenth doubled, a tenth late, a message in twenty unreadable."""


class School:
    """An aggregator at a broker, and the commands that are run against both."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self.folder, self.broker = folder, broker
        self.expected, self.config, self.store = (folder / name for name in ("expected.csv", "a.toml", "store.sqlite"))
        mqtt = {"host": broker.host, "port": broker.port, "tls": False, "keepalive_s": 5}
        top = {"site": "sim-0000", "credentials": str(folder)}
        self.config.write_text(dump(top | {"mqtt": mqtt, "store": {"path": str(self.store)}}))
        self.aggregator: subprocess.Popen[bytes] | None = None

    def start_aggregator(self, wait_until) -> None:
        """Start it, and return when the broker keeps messages for it."""
        command = (sys.executable, "-m", "aggregator", "--config", self.config, "run")
        with (self.folder / "aggregator.log").open("ab") as log:
            self.aggregator = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        wait_until(lambda: b"aggregator/state" in self.broker.log.read_bytes(), "the aggregator")

    def fleet(self, *options: str) -> "subprocess.Popen[str]":
        """Start the simulator."""
        broker = f"{self.broker.host}:{self.broker.port}"
        usual = ("--broker", broker, "--expected", self.expected, "--devices", "60", "--rate", "5")
        command = (sys.executable, "-m", "benchmarks.fleet", *usual, *options)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)

    def check(self, within_s: float = 60) -> "subprocess.CompletedProcess[str]":
        """Compare the store with the expected windows."""
        command = (sys.executable, "-m", "benchmarks.fleet.check", self.expected, "--config", self.config)
        options = ("--within", str(within_s))
        return subprocess.run((*command, *options), capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture
def school(tmp_path, mosquitto, wait_until):
    """A running aggregator at a running broker."""
    school = School(tmp_path, mosquitto)
    school.start_aggregator(wait_until)
    yield school
    if school.aggregator:
        school.aggregator.kill()
        school.aggregator.wait(10)
    print((tmp_path / "aggregator.log").read_text())


def test_the_store_holds_what_is_expected_whatever_is_doubled_late_broken_or_cut(school):
    """Every window has its sums, and no message is counted twice."""
    fleet = school.fleet("--messages", "3000", "--disconnects", "3", *FAULTS)
    said, _ = fleet.communicate(timeout=100)

    assert fleet.returncode == 0, said
    found = school.check()
    assert found.returncode == 0, found.stdout + found.stderr + said
    assert "disconnected on purpose" in said
    assert sum(sums.frames for sums in read(school.expected).values()) == 3000


def test_devices_that_share_connections_say_the_same(school):
    """Sixty devices on seven connections, ten frames a message."""
    fleet = school.fleet("--messages", "600", "--frames", "10", "--rate", "50", "--connections", "7", *FAULTS)
    said, _ = fleet.communicate(timeout=100)

    assert fleet.returncode == 0, said
    assert "on 7 connections" in said
    found = school.check()
    assert found.returncode == 0, found.stdout + found.stderr + said


def test_what_a_killed_broker_forgot_is_sent_again_until_the_aggregator_has_it(school, wait_until):
    """With confirm = "stored" a PUBACK is not believed."""
    fleet = school.fleet("--messages", "3000", "--confirm", "stored", "--resend-s", "3", "--disconnects", "1", *FAULTS)
    wait_until(lambda: stored_frames(school.store) > 300, "the first frames")

    school.broker.kill9()
    school.broker.start()
    said, _ = fleet.communicate(timeout=100)

    assert fleet.returncode == 0, said
    found = school.check()
    assert found.returncode == 0, found.stdout + found.stderr + said


def test_a_store_that_lacks_a_frame_is_found(school):
    """The check can fail: one frame more is expected, and a window is not."""
    fleet = school.fleet("--messages", "300")
    fleet.communicate(timeout=100)
    assert school.check().returncode == 0
    windows = read(school.expected)
    keys = sorted(windows)
    windows[keys[0]] = windows[keys[0]] + windows[keys[1]]
    del windows[keys[2]]

    write(school.expected, windows)

    found = school.check(within_s=0)
    assert found.returncode == 1
    assert "1 unequal" in found.stdout
    assert "1 surplus" in found.stdout


def stored_frames(path: Path) -> int:
    """How many the store holds."""
    if not path.exists():
        return 0
    with SqliteStore(path, writable=False) as store:
        return sum(sums.frames for _, sums in store.recent(0))
