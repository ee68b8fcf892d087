"""Keys, rooms and identities of a school of real hosts, changed while others count. They run in this order, last."""

import pytest

from tests.fleet.fleet import EDGE
from tests.fleet.intruder import client, keys_of

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(1800)]


def test_a_key_is_rotated_without_touching_another_room(fleet):
    """A new key and certificate in north; south's process goes on."""
    south = fleet.hosts["south"].main_pid(EDGE)
    before = fleet.hosts["north"].run("sha256sum /etc/classpulse/keys/device.key")

    fleet.play("site.yml", "--limit", "north", "-e", "edge_rotate_keys=true").succeed()

    assert fleet.hosts["north"].run("sha256sum /etc/classpulse/keys/device.key") != before
    fleet.await_counts("north")
    assert fleet.hosts["south"].main_pid(EDGE) == south


def test_a_device_that_moves_leaves_nothing_behind(fleet):
    """It counts in the other room; what it had retained where it stood is gone; south's process goes on."""
    south = fleet.hosts["south"].main_pid(EDGE)
    old = fleet.identity("north")
    assert fleet.retained(f"{old}/state")

    fleet.room_vars["north"] = {"edge_room": "room-east"}
    fleet.play("site.yml", "--limit", "north").succeed()

    assert not fleet.retained(f"{old}/#")
    fleet.await_counts("north")
    assert fleet.hosts["south"].main_pid(EDGE) == south
    assert fleet.play("site.yml").succeed().changed == {"hub": 0, "north": 0, "south": 0}


def test_a_revoked_device_is_refused(fleet):
    """Its daemon cannot come back, its retained topics are gone, it gets no new certificate until it is reinstated."""
    device = fleet.identity("north")

    fleet.play("revoke.yml", "-e", f"device={device}").succeed()

    assert client(fleet, "mosquitto_pub", *keys_of(fleet, "north"), "-t", "x", "-m", "x").returncode
    assert not fleet.retained(f"{device}/#")
    fleet.await_counts("south")
    again = fleet.play("site.yml")
    assert again.failed == {"north"}
    assert "is revoked" in again.output

    fleet.play("site.yml", "--limit", "north", "-e", "edge_rotate_keys=true", "-e", "edge_reinstate=true").succeed()
    fleet.await_counts("north")
