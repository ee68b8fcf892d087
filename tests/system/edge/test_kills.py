"""Whatever is killed and whenever: what the outbox accepted is stored exactly once, window by window."""

import random
import time

import pytest

from tests.system.broker import until
from tests.system.edge.lab import kill_at_random

pytestmark = [pytest.mark.system, pytest.mark.broker, pytest.mark.timeout(300)]


def test_everything_arrives_when_nothing_happens(lab):
    """The yardstick itself."""
    assert lab.start_daemon("rate=50,after=200").wait(30) == 0

    lab.wait_until_stored()

    assert len(lab.accepted()) == 200


@pytest.mark.parametrize(
    "together",
    ["daemon broker", "daemon aggregator", "broker aggregator", "daemon broker aggregator", "daemon broker, later"],
)
def test_parts_that_are_cut_together_cost_the_last_second_at_most(lab, together):
    """Such as by one power strip; `later` cuts them four seconds after the aggregator ended."""
    lab.start_daemon()
    until(lambda: lab.lines() > 200 and lab.stored()[0], "some seconds of counting")
    if "later" in together:
        lab.kill_aggregator()
        time.sleep(4)
    cut = {"daemon": lab.kill_daemon, "broker": lab.broker.kill9, "aggregator": lab.kill_aggregator}
    for name, kill in cut.items():
        if name in together:
            kill()

    if "broker" in together:
        lab.broker.start()
    if "aggregator" in together or "later" in together:
        lab.start_aggregator()
    if "daemon" in together:
        lab.start_daemon()
    time.sleep(2)
    lab.pause_daemon()
    print(lab.wait_until_stored(90))


def test_a_dozen_kills_lose_nothing_but_the_youngest(lab):
    """SIGKILL of daemon, broker and aggregator in any order; the soak does the same for hours."""
    seed = time.time_ns()
    print("seed", seed)
    lab.start_daemon()

    kill_at_random(lab, 12, random.Random(seed))  # noqa: S311 - a drill, no secret
    time.sleep(2)
    lab.pause_daemon()

    print(lab.wait_until_stored(90))
