"""What the devices page says of a camera."""

import re

import pytest

from aggregator.store.types import Batch, DeviceStatus
from aggregator.web.devices import device_line, table
from contract.message import State
from contract.topics import Device
from tests.health import health_at

NOW = 1_795_000_000.0
CAMERA = Device("north", "r101", "cam1")


def said(word="ready", reason="", age_s=5.0, ahead_s=0.0, **fields):
    """A state and a health that came `age_s` ago, from a clock that is ahead."""
    state = State(state=word, reason=reason, version="1.2", model="3f9c1a77", min_faces=5, boot="9f3a2c41")
    health = health_at(NOW - age_s + ahead_s, **fields)
    return DeviceStatus(state, NOW - age_s, health, NOW - age_s)


def test_a_line_has_what_the_camera_says():
    """In the units that people use."""
    status = said(rate_hz=4.95, temperature_c=61.2, outbox_messages=12, outbox_oldest_s=40, ahead_s=3)

    line = device_line(CAMERA, status, 25.7, 3, NOW)

    assert str(line.status) == "● ready"
    assert tuple(line.cells.values()) == (
        "5.0/s",
        "26",
        "61 °C",
        "12, oldest 40 seconds",
        "3",
        "+3 s",
        "5 seconds ago",
        "1.2, model 3f9c1a77",
    )
    assert device_line(CAMERA, said(ahead_s=-0.2), None, 0, NOW).cells["clock"] == "+0 s"


def test_what_an_outbox_gave_up_is_lost():
    """Also where the store cannot know, as in a cluster."""
    assert device_line(CAMERA, said(outbox_dropped={"size": 4, "age": 5}), None, 3, NOW).cells["lost"] == "9"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (said("lost"), "lost"),
        (said("degraded", "the disk is full"), "degraded: the disk is full"),
        (said(age_s=400), "connected, but silent for 7 minutes"),
        (said(outbox_messages=9, outbox_oldest_s=600), "messages are not confirmed since 10 minutes"),
        (said(temperature_c=81.0), "too hot: 81 °C"),
        (said(throttled="0x50005"), "too little power, or slowed down (0x50005)"),
        (said(throttled="warm"), "throttled is 'warm'"),
        (said(certificate_end="2026-11-30T00:00:00.000Z"), "its certificate ends on Monday, 30 November 2026"),
        (said(ahead_s=-7200), "its clock is 2 hours behind, so its data has the wrong time"),
        (DeviceStatus(None, 0.0, said().health, NOW), "it has never said how it is"),
    ],
)
def test_a_fault_is_told_also_where_the_camera_does_not(status, text):
    """In one line."""
    assert device_line(CAMERA, status, None, 0, NOW).status.text == text
    assert device_line(CAMERA, status, None, 0, NOW).status.kind == "fault"


@pytest.mark.parametrize("status", [said(throttled="0x50000"), said(temperature_c=79.0), said("paused", age_s=400)])
def test_what_is_over_or_meant_is_no_fault(status):
    """Low power an hour ago, a warm day, a pause."""
    assert device_line(CAMERA, status, None, 0, NOW).status.kind != "fault"


def test_faults_stand_first_and_nothing_from_a_device_is_markup():
    """Then those that are silent or paused, then the others, by name."""
    names = {"cam1": said(), "cam2": said("paused"), "cam3": said("degraded", "<img src=x>"), "cam4": said()}

    drawn = table([device_line(Device("a", "b", name), each, None, 0, NOW) for name, each in names.items()], "/pulse")

    assert re.findall(r"<br>(cam\d)", drawn) == ["cam3", "cam2", "cam1", "cam4"]
    assert "<img" not in drawn
    assert '<a href="/pulse/room/a/b">' in drawn


def test_lost_messages_are_known_after_a_restart(store, device, keep, message, counted):
    """Holes below what the device still has; what it may still send is not lost, nor what came before the first."""
    keep(*(message(seq, counted(NOW)) for seq in (3, 4, 7, 9, 20)))
    assert store.lost() == {}

    health = said(outbox_first={"9f3a2c41": 12}).health
    store.commit(Batch(healths={device: (health, NOW)}))

    assert store.lost() == {device: 5}
