"""Rules of trying a connection again."""

import logging

from service.backoff import Patience


def longest(failures: int, most_s: float = 10.0) -> float:
    """The longest of many waits after so many failures."""
    found = 0.0
    for _ in range(200):
        patience = Patience(most_s, "trying again")
        for _ in range(failures):
            patience.failed("away", 0.0)
        found = max(found, patience.left_s(0.0))
    return found


def test_waits_grow_up_to_the_greatest():
    """Half a second at first, twice as long each time."""
    assert 0.3 < longest(1) <= 0.5
    assert 1.2 < longest(3) <= 2.0
    assert 6.0 < longest(20) <= 10.0


def test_the_first_attempt_waits_for_nothing():
    """Nothing has failed yet."""
    assert Patience(10.0, "").left_s(0.0) <= 0


def test_a_connection_that_lasted_makes_the_waits_short_again():
    """One that ended at once does not."""
    after = {}
    for lasted_s in (1.0, 31.0):
        waits = []
        for _ in range(200):
            patience = Patience(10.0, "")
            for _ in range(10):
                patience.failed("away", 0.0)
            patience.succeeded(100.0)
            patience.failed("lost", 100.0 + lasted_s)
            waits.append(patience.left_s(100.0 + lasted_s))
        after[lasted_s] = max(waits)

    assert after[31.0] <= 0.5
    assert after[1.0] > 6.0


def test_a_trouble_is_told_once_until_it_is_over(caplog):
    """Three nodes that are away in turn fill no journal."""
    patience = Patience(10.0, "trying the others")
    caplog.set_level(logging.WARNING)

    for _ in range(3):
        for node in ("one", "two", "three"):
            patience.failed(f"{node} is away", 0.0)
    first = len(caplog.records)
    patience.succeeded(1.0)
    patience.failed("one is away", 2.0)

    assert first == 3
    assert caplog.messages[-1] == "one is away; trying the others"
    assert len(caplog.records) == 4
