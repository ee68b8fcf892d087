"""A school's broker bridged to one above it, both as the roles set them up."""

import time
from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.fleet
pytest.importorskip("jinja2", reason="the fleet's tools are in .venv-fleet")

from tests.fleet.school import TOPIC, Above, School, connected, rendered  # noqa: E402
from tests.system.broker import until  # noqa: E402


@pytest.fixture
def above(tmp_path) -> Iterator[Above]:
    """Running."""
    broker = Above(tmp_path / "above")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def school(tmp_path, above) -> Iterator[School]:
    """Running, and connected upward."""
    broker = School(tmp_path / "school", above, above.folder / "ca.crt")
    broker.start()
    connected(broker, above)
    yield broker
    broker.stop()
    print(broker.log.read_text())


def test_what_a_room_says_goes_up_and_what_it_is_told_comes_down(school, above):
    """Counts, state and health one way, retained as they were; orders and confirmations the other."""
    school.publish("state", "ready", retain=True)
    school.publish("health", "well", retain=True)
    school.publish("counts", "25")
    with school.listener() as heard:
        above.publish("set", "pause")
        above.publish("stored", "1041")

        until(lambda: {f"{TOPIC}/set pause", f"{TOPIC}/stored 1041"} <= set(heard()), "both words below")

    until(lambda: above.retained() == [f"{TOPIC}/health well", f"{TOPIC}/state ready"], "both words above")
    assert f"'{TOPIC}/counts'" in above.log.read_text()


def test_no_message_goes_round(school, above):
    """Each crosses once, whatever is retained, also after both brokers have restarted."""
    school.publish("state", "ready", retain=True)
    above.publish("stored", "7", retain=True)
    above.publish("set", "pause", retain=True)
    until(lambda: above.retained() == [f"{TOPIC}/set pause", f"{TOPIC}/state ready", f"{TOPIC}/stored 7"], "the words")
    for number, broker in enumerate((school, above), start=2):
        broker.stop()
        broker.start()
        connected(school, above, number)
    time.sleep(2)
    before = above.log.read_text().count("PUBLISH")

    time.sleep(3)

    assert above.log.read_text().count("PUBLISH") == before
    assert above.retained() == [f"{TOPIC}/set pause", f"{TOPIC}/state ready", f"{TOPIC}/stored 7"]


def test_what_is_said_while_the_way_up_is_broken_waits(school, above):
    """Persistently: the school's broker keeps it for the bridge, also over its own restart."""
    above.stop()
    for number in range(20):
        school.publish("counts", f"message {number}")
    school.stop()
    school.start()
    above.start()

    until(lambda: above.log.read_text().count(f"{TOPIC}/counts") >= 20, "the twenty", 60)


def test_a_school_with_its_own_aggregator_takes_no_confirmation_from_above(tmp_path, above):
    """broker_bridge_stored: false, for two stores would confirm what only one of them has."""
    broker = School(tmp_path / "own", above, above.folder / "ca.crt", broker_bridge_stored=False)
    broker.start()
    connected(broker, above)

    with broker.listener() as heard:
        above.publish("stored", "7")
        above.publish("set", "pause")

        until(lambda: f"{TOPIC}/set pause" in heard(), "the order")
        assert heard() == [f"{TOPIC}/set pause"]
    broker.stop()


def test_without_a_bridge_the_configuration_says_nothing_of_one(tmp_path):
    """Off by default."""
    assert "connection" not in [line.partition(" ")[0] for line in rendered(tmp_path, 1).splitlines()]
