"""Rooms as Home Assistant sees them."""

import json
from datetime import UTC, datetime

import pytest
from jinja2 import Environment

from aggregator.analysis.attention import Event
from aggregator.analysis.mix import Estimator
from aggregator.analysis.rooms import RoomState
from aggregator.config import AttentionConfig
from aggregator.ingest.home_assistant import discovery
from contract.labels import EMOTIONS, GROUPS
from contract.message import COMMANDS
from contract.topics import Room

NOW = 1_795_000_000.0
ROOM = Room("school", "r1")


@pytest.fixture
def told():
    """What is published for a room."""
    topic, payload = discovery(ROOM, ["cam1"], GROUPS, "homeassistant", "hub")
    assert topic == "homeassistant/device/classpulse_school_r1/config"
    return json.loads(payload)


def shown(told, name, summary):
    """A sensor's value, worked out by the template engine that Home Assistant uses."""
    template = told["components"][name]["value_template"]
    return Environment(autoescape=True).from_string(template).render(value_json=json.loads(summary))


def test_the_sensors_read_a_summary(told):
    """Faces and shares; nothing where nothing is known."""
    empty = RoomState(ROOM, Estimator({}), AttentionConfig()).summary(NOW).to_json()

    assert {"faces", "unsure", "event", "pause cam1", *EMOTIONS, *GROUPS} == told["components"].keys()
    assert told["state_topic"] == "classpulse/1/school/r1/summary"
    sensors = ("faces", "unsure", *EMOTIONS, *GROUPS)
    assert {shown(told, name, empty) for name in sensors} == {"None"}


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
    assert shown(told, "unpleasant", json.dumps(estimated)) == "100.0"
    assert shown(told, "unpleasant", made) == "None"


def test_an_event_is_one_of_home_assistants(told):
    """The payload of `events`, with the type that Home Assistant asks for."""
    event = told["components"]["event"]
    since = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
    made = Event(t=since, since=since, changes={}, labels={"sad": (0.1, 0.4)}).to_json(ROOM)

    text = Environment(autoescape=True).from_string(event["value_template"]).render(value_json=json.loads(made))

    assert event["state_topic"] == "classpulse/1/school/r1/events"
    assert json.loads(text)["event_type"] in event["event_types"]
    assert json.loads(text)["changes"] == {"sad": [0.1, 0.4]}


@pytest.mark.parametrize(("word", "on"), [("paused", True), ("ready", False), ("degraded", False), ("lost", False)])
def test_a_switch_pauses_a_camera(told, word, on):
    """By the topic and the words that the camera obeys; nothing is retained, or it would be paused for ever."""
    switch = told["components"]["pause cam1"]

    assert (switch["command_topic"], switch["retain"]) == ("classpulse/1/school/r1/cam1/set", False)
    assert {switch["payload_on"], switch["payload_off"]} == set(COMMANDS)
    state = shown(told, "pause cam1", json.dumps({"state": word}))
    assert state == switch["state_on" if on else "state_off"]


def test_a_room_is_available_with_the_aggregator_that_speaks_for_it(told):
    """Whatever site the room is of."""
    (availability,) = told["availability"]

    assert availability["topic"] == "classpulse/1/hub/aggregator/state"


def test_ids_are_unique_over_sites_and_rooms():
    """`a-b` in `c` is not `a` in `b-c`."""
    assert discovery(Room("a-b", "c"), [], {}, "x", "hub")[0] != discovery(Room("a", "b-c"), [], {}, "x", "hub")[0]
