"""Rooms as Home Assistant sees them."""

import json

import pytest
from jinja2 import Environment

from aggregator.analysis.mix import Estimator
from aggregator.analysis.rooms import RoomState
from aggregator.config import AttentionConfig
from aggregator.ingest.home_assistant import discovery
from contract.labels import EMOTIONS
from contract.topics import Room

NOW = 1_795_000_000.0
ROOM = Room("school", "r1")


@pytest.fixture
def told():
    """What is published for a room."""
    topic, payload = discovery(ROOM, "homeassistant")
    assert topic == "homeassistant/device/classpulse_school_r1/config"
    return json.loads(payload)


def shown(told, name, summary):
    """A sensor's value, worked out by the template engine that Home Assistant uses."""
    template = told["components"][name]["value_template"]
    return Environment(autoescape=True).from_string(template).render(value_json=json.loads(summary))


def test_the_sensors_read_a_summary(told):
    """Faces and shares; nothing where nothing is known."""
    empty = RoomState(ROOM, Estimator({}), AttentionConfig()).summary(NOW).to_json()

    assert {"faces", "unsure", *EMOTIONS} == told["components"].keys()
    assert told["state_topic"] == "classpulse/1/school/r1/summary"
    assert [shown(told, name, empty) for name in told["components"]] == ["None"] * 9


def test_faces_and_shares_are_whole_numbers(told, store, keep, message, counted):
    """Without a model's card the shares stay unknown."""
    keep(message(0, counted(NOW, 0, 0, 0, 6, 2)))
    room = RoomState(ROOM, Estimator({}), AttentionConfig())
    for key, sums in store.windows("school", "r1", int(NOW) - 60, int(NOW) + 60):
        room.replace(key, sums, NOW + 1)
    made = room.summary(NOW + 1).to_json()
    estimated = json.loads(made)
    estimated["recent"]["estimate"] = {label: [0.25, 0.1, 0.5] for label in EMOTIONS}

    assert shown(told, "faces", made) == "8.0"
    assert shown(told, "happy", made) == "None"
    assert shown(told, "happy", json.dumps(estimated)) == "25.0"


def test_ids_are_unique_over_sites_and_rooms():
    """`a-b` in `c` is not `a` in `b-c`."""
    assert discovery(Room("a-b", "c"), "x")[0] != discovery(Room("a", "b-c"), "x")[0]
