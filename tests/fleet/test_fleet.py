"""A school of real hosts: deployed over ssh, then everything that goes wrong in schools. The tests run in this order.

Times are printed, not asserted: `pytest -s` shows them.
"""

import shlex
import sys
import time

import pytest

from tests.fleet.fleet import PROJECT, SITE, Fleet, next_release, resign
from tests.fleet.intruder import client, forge, keys_of, password_of, received
from tests.fleet.lab import SWITCH, call, wait_for

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(1800)]
EDGE = "classpulse-edge"

SCAN = """
import socket, sys
def open_port(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex((sys.argv[1], port)) == 0
print(*[port for port in range(1, 65536) if open_port(port)])
"""


def test_one_playbook_deploys_a_school(first_deployment):
    """From three empty hosts to counts that the broker has seen, over ssh, without internet."""
    first_deployment.succeed()

    print(f"\ndeploy of three hosts from nothing: {first_deployment.seconds:.0f} s")
    assert all(first_deployment.changed[host] for host in ("hub", "north", "south"))


def test_a_second_run_changes_nothing(fleet):
    """Every task finds what it would do done."""
    again = fleet.play("site.yml").succeed()

    print(f"\nand again: {again.seconds:.0f} s")
    assert again.changed == {"hub": 0, "north": 0, "south": 0}


def test_counts_of_both_rooms_are_stored(fleet):
    """Python 3.11 and 3.13, both through TLS, up to the aggregator's windows."""
    for host in ("north", "south"):
        wait_for(f"windows of {host}", lambda host=host: fleet.frames(host) > 0)

    assert any(faces for _, _, faces in fleet.windows())
    python = {host: fleet.hosts[host].run("/opt/classpulse/current/venv/bin/python -V") for host in ("north", "south")}
    assert python["north"].startswith("Python 3.11")
    assert python["south"].startswith("Python 3.13")


@pytest.mark.parametrize(("host", "ports"), [("north", ["22"]), ("hub", ["22", "8883"])])
def test_a_host_answers_ssh_and_what_it_is_for(fleet, host, ports):
    """Every TCP port, tried from the network: a room's host has ssh only, the broker's has MQTT over TLS too."""
    scan = call("ip", "netns", "exec", SWITCH, sys.executable, "-c", SCAN, fleet.hosts[host].address)

    assert scan.stdout.split() == ports


def test_the_page_is_served_on_the_brokers_machine(fleet):
    """To this machine only, until there are users."""
    fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/').read().decode())"

    page = wait_for("the page", lambda: fleet.hosts["hub"].run(f'python3 -c "{fetch}"', check=False))

    assert "classpulse" in page


def test_the_daemon_is_nobody_and_its_keys_are_not_for_others(fleet):
    """It runs as its own user; the key on disk is root's."""
    north = fleet.hosts["north"]

    assert north.run(f"stat -c %U /proc/{north.main_pid(EDGE)}").strip() == "classpulse"
    assert north.run("stat -c '%U %a' /etc/classpulse/keys /etc/classpulse/keys/device.key").split("\n")[:2] == [
        "root 700",
        "root 600",
    ]


def test_start_and_memory_of_the_service_are_told(fleet):
    """Printed, not asserted: the process's start to READY=1, and its resident memory."""
    for name in ("north", "south"):
        host = fleet.hosts[name]
        shown = host.run(f"systemctl show -p ExecMainStartTimestampMonotonic -p ActiveEnterTimestampMonotonic {EDGE}")
        times = dict(line.split("=") for line in shown.split())
        start_s = (int(times["ActiveEnterTimestampMonotonic"]) - int(times["ExecMainStartTimestampMonotonic"])) / 1e6
        memory = host.run(f"grep VmRSS /proc/{host.main_pid(EDGE)}/status").split()[1]

        print(f"\n{name}: start to ready {start_s:.1f} s, {int(memory) / 1024:.0f} MiB resident")


class TestRefusals:
    """What a device, or somebody who is none, may not do. Publications are retained, so that they can be looked for."""

    def test_its_own_counts_are_taken(self, fleet):
        """The control: the same call, with its own topic, is received."""
        assert received(fleet, "north", f"{SITE}/room-north/cam-1/counts")

    def test_another_devices_topic(self, fleet):
        """Of its own room."""
        assert not received(fleet, "north", f"{SITE}/room-north/cam-2/counts")

    def test_the_same_device_name_of_another_room(self, fleet):
        """The identity holds site and room, not the device's name alone."""
        assert not received(fleet, "north", f"{SITE}/room-south/cam-1/counts")

    def test_what_only_the_aggregator_says(self, fleet):
        """A device cannot confirm its own messages."""
        assert not received(fleet, "north", f"{SITE}/room-north/cam-1/stored")

    def test_another_rooms_counts_cannot_be_read(self, fleet):
        """South counts once a second; north hears none of it."""
        heard = client(fleet, "mosquitto_sub", *keys_of(fleet, "north"), "-t", "classpulse/#", "-W", "5", "-R")

        assert f"{SITE}/room-south" not in heard.stdout

    def test_a_foreign_authority(self, fleet, tmp_path):
        """The right name, signed by somebody else."""
        forge(tmp_path, f"{SITE}/room-north/cam-1")
        keys = ("--cert", tmp_path / "forged.crt", "--key", tmp_path / "forged.key")

        assert client(fleet, "mosquitto_pub", *keys, "-t", "x", "-m", "x").returncode

    def test_no_certificate(self, fleet):
        """Nor does a password help."""
        assert client(fleet, "mosquitto_pub", "-t", "x", "-m", "x").returncode
        assert client(fleet, "mosquitto_pub", "-u", "fleet", "-P", password_of(fleet), "-t", "x", "-m", "x").returncode

    @pytest.mark.parametrize("port", [1883, 8883])
    def test_no_tls(self, fleet, port):
        """Plain MQTT gets no answer."""
        hub = fleet.hosts["hub"].address
        command = ("ip", "netns", "exec", SWITCH, "timeout", "10", "mosquitto_pub", "-h", hub, "-p", str(port))

        assert call(*command, "-t", "x", "-m", "x", check=False).returncode

    def test_old_tls(self, fleet):
        """TLS 1.1 is refused."""
        hub = fleet.hosts["hub"].address
        command = f"openssl s_client -connect {hub}:8883 -tls1_1 -cipher 'ALL:@SECLEVEL=0' </dev/null"
        done = call("ip", "netns", "exec", SWITCH, "bash", "-c", command, check=False)

        assert "Cipher is (NONE)" in done.stdout

    def test_a_wrong_password(self, fleet):
        """At the local socket of the fleet's own tools; the right one is let in."""
        command = "mosquitto_sub --unix /run/mosquitto/fleet.sock -u fleet -t 'classpulse/1/+/+/+/state' -C 1 -W 5 -P "
        hub = fleet.hosts["hub"]

        assert "ready" in hub.run(command + shlex.quote(password_of(fleet)), check=False)
        assert "ready" not in hub.run(f"{command} wrong", check=False)


def test_a_host_that_reboots_counts_again(fleet):
    """By itself, without anybody at a keyboard."""
    north, before = fleet.hosts["north"], fleet.hosts["north"].booted_at()

    north.run("systemctl reboot", check=False)
    wait_for("another boot of north", lambda: up_since(north) not in ("", before))

    assert_counting_again(fleet, "north")


def test_a_host_whose_power_is_cut_counts_again(fleet):
    """Whatever it was writing."""
    north = fleet.hosts["north"]

    north.cut_power()
    started = time.monotonic()
    north.start()
    north.wait_up()

    assert_counting_again(fleet, "north")
    print(f"\npower to counts: {time.monotonic() - started:.1f} s")


def test_a_hung_daemon_is_killed_and_started_again(fleet):
    """The watchdog sees a process that no longer counts."""
    north = fleet.hosts["north"]
    hung = north.main_pid(EDGE)

    north.run(f"kill -STOP {hung}")
    wait_for("another process", lambda: north.main_pid(EDGE) not in (0, hung), timeout_s=120)

    assert "watchdog" in north.run(f"journalctl --unit {EDGE} --no-pager --output cat").lower()
    assert_counting_again(fleet, "north")


def test_a_broken_release_stops_at_the_first_room_and_goes_back(fleet):
    """Its daemon ends at the start: north is back at the release before, south never heard of it."""
    south = fleet.hosts["south"].main_pid(EDGE)
    broken = {"edge/daemon.py": '\nraise RuntimeError("broken on purpose")\n'}
    good, fleet.release = fleet.release, next_release(fleet.release, "0.9.0", fleet.key, broken)

    played = fleet.play("update.yml")
    fleet.release = good

    assert played.failed == {"north"}
    assert "broken on purpose" in played.output
    assert in_use(fleet, "north") == good.name.removeprefix("classpulse-")
    assert_counting_again(fleet, "north")
    assert fleet.hosts["south"].main_pid(EDGE) == south


def test_a_good_release_reaches_every_room_and_can_be_taken_back(fleet):
    """update.yml, then rollback.yml."""
    old = fleet.release
    before = in_use(fleet, "south")
    fleet.release = next_release(old, "1.0.0", fleet.key, {})

    fleet.play("update.yml").succeed()
    assert [in_use(fleet, host) for host in ("north", "south")] == ["1.0.0", "1.0.0"]

    fleet.play("rollback.yml").succeed()
    assert [in_use(fleet, host) for host in ("north", "south")] == [before, before]

    fleet.play("update.yml").succeed()


def test_an_older_release_is_refused_unless_asked_for(fleet):
    """Somebody's old folder does not take a room back by mistake."""
    new, fleet.release = fleet.release, next_release(fleet.release, "0.8.0", fleet.key, {})

    played = fleet.play("update.yml", "--limit", "north")
    fleet.release = new

    assert played.failed == {"north"}
    assert "0.8.0 is older than 1.0.0" in played.output
    assert in_use(fleet, "north") == "1.0.0"


@pytest.mark.parametrize("how", ["changed", "foreign"])
def test_a_release_that_does_not_verify_is_refused(fleet, tmp_path, how):
    """A file that is not the one signed, and a signature of another key."""
    version = {"changed": "1.1.0", "foreign": "1.2.0"}[how]
    new, fleet.release = fleet.release, next_release(fleet.release, version, fleet.key, {})
    if how == "changed":
        model = fleet.release / "models/emotion_int8.json"
        text = model.read_text()
        model.unlink()  # it shares its bytes with the good release's
        model.write_text(text + "\n")
    else:
        call(sys.executable, "-c", WRITE_KEY, tmp_path / "foreign.key", cwd=PROJECT)
        resign(fleet.release, tmp_path / "foreign.key")

    played = fleet.play("update.yml", "--limit", "north")
    fleet.release = new

    assert played.failed == {"north"}
    assert "release refused" in played.output
    assert in_use(fleet, "north") == "1.0.0"


def test_a_key_is_rotated_without_touching_another_room(fleet):
    """A new key and certificate in north; south's process goes on."""
    south = fleet.hosts["south"].main_pid(EDGE)
    before = fleet.hosts["north"].run("sha256sum /etc/classpulse/keys/device.key")

    fleet.play("site.yml", "--limit", "north", "-e", "edge_rotate_keys=true").succeed()

    assert fleet.hosts["north"].run("sha256sum /etc/classpulse/keys/device.key") != before
    assert_counting_again(fleet, "north")
    assert fleet.hosts["south"].main_pid(EDGE) == south


def test_a_device_that_moves_leaves_nothing_behind(fleet):
    """It counts in the other room; what it had retained where it stood is gone; south's process goes on."""
    south = fleet.hosts["south"].main_pid(EDGE)
    old = fleet.identity("north")
    assert fleet.retained(f"{old}/state")

    fleet.room_vars["north"] = {"edge_room": "room-east"}
    fleet.play("site.yml", "--limit", "north").succeed()

    assert not fleet.retained(f"{old}/#")
    assert_counting_again(fleet, "north")
    assert fleet.hosts["south"].main_pid(EDGE) == south
    assert fleet.play("site.yml").succeed().changed == {"hub": 0, "north": 0, "south": 0}


def test_a_revoked_device_is_refused(fleet):
    """Its daemon cannot come back, its retained topics are gone, it gets no new certificate; south counts on."""
    device = fleet.identity("north")

    fleet.play("revoke.yml", "-e", f"device={device}").succeed()

    assert client(fleet, "mosquitto_pub", *keys_of(fleet, "north"), "-t", "x", "-m", "x").returncode
    assert not fleet.retained(f"{device}/#")
    assert_counting_again(fleet, "south")
    again = fleet.play("site.yml")
    assert again.failed == {"north"}
    assert "is revoked" in again.output


WRITE_KEY = "import sys; from pathlib import Path; from release.manifest import write_key; write_key(Path(sys.argv[1]))"


def in_use(fleet: Fleet, host: str) -> str:
    """The version of the release that a room runs."""
    return fleet.hosts[host].run("basename $(readlink /opt/classpulse/current)").strip()


def up_since(host) -> str:
    """The running boot's id, "" while the host is not there."""
    return host.run("systemctl show --property=UserspaceTimestampMonotonic --value", check=False).strip()


def assert_counting_again(fleet: Fleet, host: str) -> None:
    """The broker sees the room alive, and the aggregator stores frames that it did not have."""
    before = fleet.frames(host)
    fleet.seen(host, seconds=90)
    wait_for(f"more frames of {host}", lambda: fleet.frames(host) > before)
