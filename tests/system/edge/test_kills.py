"""Whatever is killed and whenever: what the outbox accepted is stored exactly once, window by window."""

import random
import time

import pytest

from tests.system.broker import until
from tests.system.edge.lab import COMBINATIONS, kill_at_random

pytestmark = [pytest.mark.system, pytest.mark.broker, pytest.mark.timeout(300)]


def test_everything_arrives_when_nothing_happens(lab):
    """The yardstick itself."""
    assert lab.start_daemon("rate=50,after=200").wait(30) == 0

    lab.wait_until_stored()

    assert len(lab.accepted()) == 200


@pytest.mark.parametrize("together", COMBINATIONS, ids=" ".join)
def test_parts_that_are_cut_together_cost_the_last_second_at_most(lab, together):
    """Such as by one power strip; what they cost is told."""
    lab.start_daemon()
    until(lambda: lab.lines() > 100 and lab.stored()[0], "some seconds of counting")

    cut(lab, together)

    print(finish(lab))


@pytest.mark.parametrize("later_s", [0.5, 1.0, 1.9, 4.0])
def test_device_and_broker_that_are_cut_after_the_aggregator_cost_no_more(lab, later_s):
    """The broker acknowledges, and nobody stores: the device does not rely on it."""
    lab.start_daemon()
    until(lambda: lab.lines() > 100 and lab.stored()[0], "some seconds of counting")
    lab.kill_aggregator()
    time.sleep(later_s)

    cut(lab, ("daemon", "broker"))

    lab.start_aggregator()
    print(finish(lab))


def test_a_dozen_kills_lose_nothing_but_the_youngest(lab):
    """SIGKILL of daemon, broker and aggregator, of some together, in any order; `make soak` makes 315."""
    seed = time.time_ns()
    print("seed", seed)
    lab.start_daemon()

    kill_at_random(lab, 12, random.Random(seed))  # noqa: S311 - a drill, no secret

    print(finish(lab))


def cut(lab, together):
    """Kill these parts at one moment, and start them again."""
    kill = {"daemon": lab.kill_daemon, "broker": lab.broker.kill9, "aggregator": lab.kill_aggregator}
    for name in together:
        kill[name]()
    if "broker" in together:
        lab.broker.start()
    if "aggregator" in together:
        lab.start_aggregator()
    if "daemon" in together:
        lab.start_daemon()


def finish(lab) -> str:
    """Let the last daemon count for a while, and compare."""
    time.sleep(2)
    lab.pause_daemon()
    figures = lab.wait_until_stored(90)
    assert lab.untold() == []
    return figures
