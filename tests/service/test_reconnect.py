"""Rules of trying a connection again."""

import logging

from service.backoff import ReconnectBackoff


def longest(failures: int, most_s: float = 10.0) -> float:
    """The longest of many waits after so many failures."""
    found = 0.0
    for _ in range(200):
        backoff = ReconnectBackoff(most_s, "trying again")
        for _ in range(failures):
            backoff.failed("away", 0.0)
        found = max(found, backoff.left_s(0.0))
    return found


def test_waits_grow_up_to_the_greatest():
    """Half a second at first, twice as long each time."""
    assert 0.3 < longest(1) <= 0.5
    assert 1.2 < longest(3) <= 2.0
    assert 6.0 < longest(20) <= 10.0


def test_the_first_attempt_waits_for_nothing():
    """Nothing has failed yet."""
    assert ReconnectBackoff(10.0, "").left_s(0.0) <= 0


def test_a_connection_that_lasted_makes_the_waits_short_again():
    """One that ended at once does not."""
    after = {}
    for lasted_s in (1.0, 31.0):
        waits = []
        for _ in range(200):
            backoff = ReconnectBackoff(10.0, "")
            for _ in range(10):
                backoff.failed("away", 0.0)
            backoff.connected(100.0)
            backoff.failed("lost", 100.0 + lasted_s)
            waits.append(backoff.left_s(100.0 + lasted_s))
        after[lasted_s] = max(waits)

    assert after[31.0] <= 0.5
    assert after[1.0] > 6.0


def test_a_trouble_is_told_once_until_it_is_over(caplog):
    """Three nodes that are away in turn fill no journal."""
    backoff = ReconnectBackoff(10.0, "trying the others")
    caplog.set_level(logging.WARNING)

    for _ in range(3):
        for node in ("one", "two", "three"):
            backoff.failed(f"{node} is away", 0.0)
    first = len(caplog.records)
    backoff.connected(1.0)
    backoff.failed("one is away", 2.0)

    assert first == 3
    assert caplog.messages[-1] == "one is away; trying the others"
    assert len(caplog.records) == 4
