"""Topics: built and taken apart in one place, so that no room can speak for another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.topics import DEVICE_KINDS, Device, Room, TopicError, aggregator_state, every_device, parse

PI = Device("lincoln", "b-12", "front-1")
ids = st.text("abcz019-", min_size=1, max_size=32)


def test_a_device_speaks_below_its_identity():
    """The identity stands in the topic as the broker's access list expects it."""
    assert PI.identity == "lincoln/b-12/front-1"
    assert PI.topic("counts") == "classpulse/1/lincoln/b-12/front-1/counts"


@pytest.mark.parametrize("kind", ["", "summary", "counts/x", "+", "#"])
def test_a_device_has_no_other_topics(kind):
    """What is no kind of topic is refused."""
    with pytest.raises(TopicError):
        PI.topic(kind)


def test_the_aggregator_has_topics_of_its_own():
    """Per room, and one for its own state."""
    assert Room("lincoln", "b-12").topic("summary") == "classpulse/1/lincoln/b-12/summary"
    assert aggregator_state("lincoln") == "classpulse/1/lincoln/aggregator/state"
    assert PI.where == Room("lincoln", "b-12")


def test_a_subscription_covers_every_device():
    """One kind of topic of all sites, rooms and devices."""
    assert every_device("health") == "classpulse/1/+/+/+/health"


@pytest.mark.parametrize(
    "wrong", ["", "A", "room 1", "room/1", "+", "#", "räume", "a" * 33, "a\n", "a.b", "a_b", None, 3], ids=repr
)
@pytest.mark.parametrize("part", ["site", "room", "device"])
def test_an_id_is_lower_case_letters_digits_and_hyphens(part, wrong):
    """Wildcards, separators and line ends have no way into a topic; the error names part and value."""
    with pytest.raises(TopicError, match=f"{part} = "):
        Device(**{"site": "a", "room": "b", "device": "c", part: wrong})


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "classpulse/1/lincoln/b-12/front-1",
        "classpulse/1/lincoln/b-12/front-1/counts/x",
        "classpulse/2/lincoln/b-12/front-1/counts",
        "/classpulse/1/lincoln/b-12/front-1/counts",
        "classpulse/1/lincoln/b-12/front-1/summary",
        "classpulse/1/lincoln//front-1/counts",
        "classpulse/1/lincoln/B-12/front-1/counts",
        "classpulse/1/lincoln/b-12/front-1/counts\n",
        "$SYS/broker/uptime",
    ],
)
def test_any_other_topic_is_none_of_a_device(topic):
    """Whatever else the broker hands over is refused by its name."""
    with pytest.raises(TopicError):
        parse(topic)


@given(ids, ids, ids, st.sampled_from(DEVICE_KINDS))
def test_a_topic_is_taken_apart_as_it_was_built(site, room, device, kind):
    """For every legal id."""
    assert parse(Device(site, room, device).topic(kind)) == (Device(site, room, device), kind)


@given(st.tuples(ids, ids, ids), st.tuples(ids, ids, ids))
def test_two_devices_never_share_a_client_id(one, other):
    """Or the broker would throw them out by turns."""
    assert (Device(*one).client_id == Device(*other).client_id) == (one == other)
