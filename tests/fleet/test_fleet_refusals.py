"""What a device, or somebody who is none, may not do to a school of real hosts.

Publications are retained, so that they can be looked for.
"""

import shlex

import pytest

from tests.fleet.fleet import SITE
from tests.fleet.intruder import client, forge, keys_of, password_of, received
from tests.fleet.lab import SWITCH, call

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(1800)]


def test_its_own_counts_are_taken(fleet):
    """The control: the same call, with its own topic, is received."""
    assert received(fleet, "north", f"{SITE}/room-north/cam-1/counts")


def test_another_devices_topic(fleet):
    """Of its own room."""
    assert not received(fleet, "north", f"{SITE}/room-north/cam-2/counts")


def test_the_same_device_name_of_another_room(fleet):
    """The identity holds site and room, not the device's name alone."""
    assert not received(fleet, "north", f"{SITE}/room-south/cam-1/counts")


def test_what_only_the_aggregator_says(fleet):
    """A device cannot confirm its own messages."""
    assert not received(fleet, "north", f"{SITE}/room-north/cam-1/stored")


def test_another_rooms_counts_cannot_be_read(fleet):
    """South counts once a second; north hears none of it."""
    heard = client(fleet, "mosquitto_sub", *keys_of(fleet, "north"), "-t", "classpulse/#", "-W", "5", "-R")

    assert f"{SITE}/room-south" not in heard.stdout


def test_a_foreign_authority(fleet, tmp_path):
    """The right name, signed by somebody else."""
    forge(tmp_path, f"{SITE}/room-north/cam-1")
    keys = ("--cert", tmp_path / "forged.crt", "--key", tmp_path / "forged.key")

    assert client(fleet, "mosquitto_pub", *keys, "-t", "x", "-m", "x").returncode


def test_no_certificate(fleet):
    """Nor does a password help."""
    assert client(fleet, "mosquitto_pub", "-t", "x", "-m", "x").returncode
    assert client(fleet, "mosquitto_pub", "-u", "fleet", "-P", password_of(fleet), "-t", "x", "-m", "x").returncode


@pytest.mark.parametrize("port", [1883, 8883])
def test_no_tls(fleet, port):
    """Plain MQTT gets no answer."""
    hub = fleet.hosts["hub"].address
    command = ("ip", "netns", "exec", SWITCH, "timeout", "10", "mosquitto_pub", "-h", hub, "-p", str(port))

    assert call(*command, "-t", "x", "-m", "x", check=False).returncode


def test_old_tls(fleet):
    """TLS 1.1 is refused."""
    hub = fleet.hosts["hub"].address
    command = f"openssl s_client -connect {hub}:8883 -tls1_1 -cipher 'ALL:@SECLEVEL=0' </dev/null"
    done = call("ip", "netns", "exec", SWITCH, "bash", "-c", command, check=False)

    assert "Cipher is (NONE)" in done.stdout


def test_a_wrong_password(fleet):
    """At the local socket of the fleet's own tools; the right one is let in."""
    command = "mosquitto_sub --unix /run/mosquitto/fleet.sock -u fleet -t 'classpulse/1/+/+/+/state' -C 1 -W 5 -P "
    hub = fleet.hosts["hub"]

    assert '"schema"' in hub.run(command + shlex.quote(password_of(fleet)), check=False)
    assert '"schema"' not in hub.run(f"{command} wrong", check=False)
