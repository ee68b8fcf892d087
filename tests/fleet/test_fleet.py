"""A school of real hosts: deployed over ssh, then everything that goes wrong in schools. The tests run in this order.

Times are told in a table at the end of the run, not asserted. What the school then refuses, and how it changes, is in
test_fleet_refusals.py, test_fleet_releases.py and test_fleet_rooms.py, which follow in this order.
"""

import re
import shlex
import sys
import time

import pytest

from tests.fleet.fleet import EDGE
from tests.fleet.lab import ADMIN, SWITCH, call, ssh_options, wait_for

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(1800)]

LISTEN = "sudo XDG_CONFIG_HOME=/etc/classpulse/clients mosquitto_sub -v -t"
ORDER = "sudo XDG_CONFIG_HOME=/etc/classpulse/clients mosquitto_pub -q 1 -t"
ADD = "sudo classpulse-aggregator user add bert --rooms '*'"
VERIFY = "sudo /usr/bin/python3 /opt/classpulse/verify_release.py /opt/classpulse/current/ --installed"
NORTH = "classpulse/1/greenfield/room-north/cam-1"
KILL = "sudo systemctl kill --kill-whom=main -s"
SCAN = """
import socket, sys
def open_port(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex((sys.argv[1], port)) == 0
print(*[port for port in range(1, 65536) if open_port(port)])
"""


def test_one_playbook_deploys_a_school(first_deployment, tell):
    """From three empty hosts to counts that the broker has seen, over ssh, without internet."""
    first_deployment.succeed()

    tell("deploy of three hosts from nothing", f"{first_deployment.seconds:.0f} s")
    assert all(first_deployment.changed[host] for host in ("hub", "north", "south"))


def test_a_second_run_changes_nothing(fleet, tell):
    """Every task finds what it would do done."""
    again = fleet.play("site.yml").succeed()

    tell("deploy of three hosts again", f"{again.seconds:.0f} s")
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
    """Through ssh, as docs/deployment.md says; its first user, whom the role made, is asked who it is."""
    hub = fleet.hosts["hub"]
    fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/login').read().decode())"
    tunnel = ("ssh", *ssh_options(hub.key), "-f", "-L", "8080:localhost:8080", f"root@{hub.address}", "sleep 2")
    command = ("ip", "netns", "exec", SWITCH, "sh", "-c", f'{shlex.join(tunnel)}; python3 -c "{fetch}"')

    page = wait_for("the page", lambda: call(*command, check=False).stdout)

    assert "classpulse" in page


@pytest.mark.parametrize(
    ("host", "command", "shown"),
    [
        ("hub", f"timeout 5 {LISTEN} 'classpulse/#'", "room-north/cam-1/counts"),
        ("hub", f"timeout 5 {LISTEN} 'classpulse/1/+/+/+/state'", "cam-1/state"),
        ("hub", "sudo classpulse-seen greenfield/room-south/cam-1", "ready of version 0.5.0"),
        ("hub", f"echo a long word | {ADD}; sudo classpulse-aggregator user list", "bert: teacher, *"),
        ("north", VERIFY, "0.5.0 "),
        ("north", "sudo journalctl -u classpulse-edge -n 50", "ready"),
    ],
)  # fmt: skip
def test_a_command_of_the_documents_runs(fleet, host, command, shown):
    """As docs/deployment.md and docs/operations.md have it, typed by who may use sudo and is not root."""
    assert shown in fleet.hosts[host].run(command, user=ADMIN, check=False)


@pytest.mark.parametrize(
    ("host", "pause", "resume"),
    [
        ("north", "sudo touch /var/lib/classpulse/pause", "sudo rm /var/lib/classpulse/pause"),
        ("north", f"{KILL} USR1 classpulse-edge", f"{KILL} USR2 classpulse-edge"),
        ("hub", f"{ORDER} {NORTH}/set -m pause", f"{ORDER} {NORTH}/set -m resume"),
    ],
)
def test_a_room_is_paused_and_resumed_by_hand(fleet, host, pause, resume):
    """As docs/operations.md says; the broker is told."""
    fleet.hosts[host].run(pause, user=ADMIN)
    wait_for("paused", lambda: '"paused"' in fleet.retained(f"{fleet.identity('north')}/state"))

    fleet.hosts[host].run(resume, user=ADMIN)

    fleet.await_counts("north")


def test_the_daemon_is_nobody_and_its_keys_are_not_for_others(fleet):
    """It runs as its own user; the key on disk is root's."""
    north = fleet.hosts["north"]

    assert north.run(f"stat -c %U /proc/{north.main_pid(EDGE)}").strip() == "classpulse"
    assert north.run("stat -c '%U %a' /etc/classpulse/keys /etc/classpulse/keys/device.key").split("\n")[:2] == [
        "root 700",
        "root 600",
    ]


def test_start_and_memory_of_the_service_are_told(fleet, tell):
    """The process's start to READY=1, and its resident memory."""
    for name in ("north", "south"):
        host = fleet.hosts[name]
        shown = host.run(f"systemctl show -p ExecMainStartTimestampMonotonic -p ActiveEnterTimestampMonotonic {EDGE}")
        times = dict(line.split("=") for line in shown.split())
        start_s = (int(times["ActiveEnterTimestampMonotonic"]) - int(times["ExecMainStartTimestampMonotonic"])) / 1e6
        memory = host.run(f"grep VmRSS /proc/{host.main_pid(EDGE)}/status").split()[1]

        assert start_s > 0
        tell(
            f"service on {host.suite}: start to ready, resident memory",
            f"{start_s:.1f} s, {int(memory) / 1024:.0f} MiB",
        )


def test_a_host_that_reboots_counts_again(fleet):
    """By itself, without anybody at a keyboard."""
    north, before = fleet.hosts["north"], fleet.hosts["north"].booted_at()

    north.run("systemctl reboot", check=False)
    wait_for("another boot of north", lambda: up_since(north) not in ("", before))

    fleet.await_counts("north")


def test_a_host_whose_power_is_cut_counts_again(fleet, tell):
    """Whatever it was writing; told is the time to counts of another start, which nothing from before can be."""
    north, before = fleet.hosts["north"], fleet.seen_boot("north")

    north.cut_power()
    started = time.monotonic()
    north.start()
    wait_for("counts of another start", lambda: fleet.seen_boot("north") not in ("", before))
    tell("systemd's start to the first counts at the broker", f"{time.monotonic() - started:.1f} s")

    north.wait_up()
    fleet.await_counts("north")


def test_a_hung_daemon_is_killed_and_started_again(fleet):
    """The watchdog sees a process that no longer counts."""
    north = fleet.hosts["north"]
    hung = north.main_pid(EDGE)

    north.run(f"kill -STOP {hung}")
    wait_for("another process", lambda: north.main_pid(EDGE) not in (0, hung), timeout_s=240)

    assert "watchdog" in north.run(f"journalctl --unit {EDGE} --no-pager --output cat").lower()
    fleet.await_counts("north")


def test_check_tells_of_a_tampered_model_and_the_next_run_brings_it_back(fleet):
    """As the daemon's user, with its keys; whoever knows what they do can say so."""
    north = fleet.hosts["north"]
    said = north.run("sudo systemctl stop classpulse-edge; sudo classpulse-check", user=ADMIN)
    assert said
    assert "FAIL" not in said

    north.run("echo >> /opt/classpulse/current/models/emotion_int8.json")
    told = north.run("classpulse-check", check=False)
    assert re.search(r"FAIL release: \S+/emotion_int8.json is not the file that was signed", told), told
    assert "FAIL" not in north.run("classpulse-check --allow-unsigned")

    fleet.play("site.yml", "--limit", "north").succeed()
    fleet.await_counts("north")


def test_a_name_that_no_certificate_can_hold_is_refused(fleet):
    """64 characters, before anything is changed."""
    fleet.room_vars["north"] = {"edge_room": "r" * 32, "edge_device": "d" * 32}

    played = fleet.play("site.yml", "--limit", "north")
    fleet.room_vars.clear()

    assert played.failed == {"north"}
    assert played.changed == {"north": 0}
    assert "a certificate names at most 64" in played.output


def up_since(host) -> str:
    """The running boot's id, "" while the host is not there."""
    return host.run("systemctl show --property=UserspaceTimestampMonotonic --value", check=False).strip()
