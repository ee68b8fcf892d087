"""Releases that a school of real hosts takes, refuses, or takes back. The tests run in this order."""

import sys

import pytest

from tests.fleet.fleet import EDGE, PROJECT, ROOMS, next_release, resign
from tests.fleet.lab import call

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(1800)]
DIES_AT_ITS_FIRST_BATCH = """

def _broken(*_arguments: object) -> None:
    raise RuntimeError("broken on purpose")


Aggregator._ingest = _broken
"""
WRITE_KEY = "import sys; from pathlib import Path; from release.manifest import write_key; write_key(Path(sys.argv[1]))"


def kept(fleet, host: str) -> list[str]:
    """The releases on a host; AssertionError if a run has left anything else there, whatever became of it."""
    base = fleet.base(host)
    known = {"cards", "current", "install_release.py", "previous", "releases", "verify_release.py", "__pycache__"}
    assert set(fleet.hosts[host].run(f"ls -A {base}").split()) <= known
    return fleet.hosts[host].run(f"ls -A {base}/releases").split()


def received_while(fleet, act) -> int:
    """Bytes that the network brings to north meanwhile."""
    before = fleet.hosts["north"].received()
    act()
    return fleet.hosts["north"].received() - before


def test_a_broken_aggregator_goes_back_and_no_room_is_touched(fleet):
    """It is ready for a moment whenever it starts: the update waits until it stays so, and stops there."""
    rooms = {host: fleet.hosts[host].main_pid(EDGE) for host in ROOMS}
    broken = {"aggregator/ingest/daemon.py": DIES_AT_ITS_FIRST_BATCH}
    good, fleet.release = fleet.release, next_release(fleet.release, "0.8.0", fleet.key, broken)

    played = fleet.play("update.yml")
    fleet.release = good

    assert played.failed == {"hub"}
    assert "broken on purpose" in played.output
    assert kept(fleet, "hub") == [fleet.in_use("hub")] == [good.name.removeprefix("classpulse-")]
    fleet.await_counts("south")
    assert {host: fleet.hosts[host].main_pid(EDGE) for host in ROOMS} == rooms


def test_a_broken_release_stops_at_the_first_room_and_goes_back(fleet):
    """Its daemon ends at the start: north is back at the release before, south never heard of it."""
    south = fleet.hosts["south"].main_pid(EDGE)
    broken = {"edge/daemon.py": '\nraise RuntimeError("broken on purpose")\n'}
    good, fleet.release = fleet.release, next_release(fleet.release, "0.9.0", fleet.key, broken)

    played = fleet.play("update.yml")
    fleet.release = good

    assert played.failed == {"north"}
    assert "broken on purpose" in played.output
    assert kept(fleet, "north") == [fleet.in_use("north")] == [good.name.removeprefix("classpulse-")]
    fleet.await_counts("north")
    assert fleet.hosts["south"].main_pid(EDGE) == south


def test_a_good_release_reaches_every_room_and_can_be_taken_back(fleet, tell):
    """update.yml, then rollback.yml: the rooms, and the aggregator too."""
    before = {host: fleet.in_use(host) for host in fleet.hosts}
    fleet.release = next_release(fleet.release, "1.0.0", fleet.key, {})

    with_it = received_while(fleet, lambda: fleet.play("update.yml").succeed())
    assert {host: fleet.in_use(host) for host in fleet.hosts} == dict.fromkeys(fleet.hosts, "1.0.0")
    assert {host: kept(fleet, host) for host in ROOMS} == {host: [before[host], "1.0.0"] for host in ROOMS}
    assert kept(fleet, "hub") == [before["hub"], "1.0.0"]  # the release that was broken in the first room works here

    fleet.play("rollback.yml").succeed()
    assert {host: fleet.in_use(host) for host in fleet.hosts} == before

    without = received_while(fleet, lambda: fleet.play("update.yml").succeed())  # the hosts have it
    tell("the network to a room: new code, and ansible's tasks for it", f"{(with_it - without) / 1e6:.2f} MB")
    tell("a run of ansible without new code", f"{without / 1e6:.2f} MB")
    assert 0 < with_it - without <= 3_000_000


def test_an_older_release_is_refused_unless_asked_for(fleet):
    """Somebody's old folder does not take a room back by mistake."""
    new, fleet.release = fleet.release, next_release(fleet.release, "0.7.0", fleet.key, {})

    played = fleet.play("update.yml", "--limit", "north")
    fleet.release = new

    assert played.failed == {"north"}
    assert "0.7.0 is older than 1.0.0" in played.output
    assert (fleet.in_use("north"), kept(fleet, "north")) == ("1.0.0", ["0.5.0", "1.0.0"])


def test_an_older_release_that_is_asked_for_is_installed_and_the_oldest_goes(fleet):
    """A host keeps the release in use and the one before it, no third."""
    new, fleet.release = fleet.release, fleet.release.with_name("classpulse-0.7.0")
    fleet.play("update.yml", "-e", "edge_allow_older=true", "-e", "aggregator_allow_older=true").succeed()
    fleet.release = new

    assert {host: fleet.in_use(host) for host in fleet.hosts} == dict.fromkeys(fleet.hosts, "0.7.0")
    assert all(kept(fleet, host) == ["0.7.0", "1.0.0"] for host in fleet.hosts)
    fleet.play("rollback.yml").succeed()


@pytest.mark.parametrize("how", ["changed", "foreign"])
def test_a_release_that_does_not_verify_is_refused(fleet, tmp_path, how):
    """A file that is not the one signed, and a signature of another key."""
    version = {"changed": "1.1.0", "foreign": "1.2.0"}[how]
    new, fleet.release = fleet.release, next_release(fleet.release, version, fleet.key, {})
    if how == "changed":
        with next(fleet.release.glob("wheels/classpulse-*.whl")).open("ab") as wheel:  # what a host has is not brought
            wheel.write(b"spy")
    else:
        call(sys.executable, "-c", WRITE_KEY, tmp_path / "foreign.key", cwd=PROJECT)
        resign(fleet.release, tmp_path / "foreign.key")

    played = fleet.play("update.yml", "--limit", "north")
    fleet.release = new

    assert played.failed == {"north"}
    assert "release refused" in played.output
    assert (fleet.in_use("north"), kept(fleet, "north")) == ("1.0.0", ["0.7.0", "1.0.0"])
