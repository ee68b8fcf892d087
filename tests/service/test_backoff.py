"""Waits between attempts."""

from service.backoff import Backoff


def waits(failures: int, max_s: float = 300.0) -> list[float]:
    """Many waits after so many failures."""
    found = []
    for _ in range(500):
        backoff = Backoff(max_s, first_s=2.0)
        found.append([backoff.failed(0.0) for _ in range(failures)][-1])
    return found


def test_waits_double_up_to_the_greatest_and_are_spread_over_all_of_it():
    """Full jitter: a hundred devices that lost one broker do not come back in one instant."""
    for failures, bound in {1: 2, 3: 8, 6: 64, 9: 300, 1000: 300}.items():
        found = waits(failures)

        assert 0 <= min(found) < bound * 0.1
        assert bound * 0.9 < max(found) <= bound


def test_the_first_attempt_waits_for_nothing_and_the_next_as_long_as_was_said():
    """Nothing has failed yet; then the wait runs down with the caller's time."""
    backoff = Backoff(10.0)
    first_s = backoff.left_s(5.0)

    wait_s = backoff.failed(5.0)

    assert first_s <= 0
    assert abs(backoff.left_s(5.0) - wait_s) < 1e-9
    assert backoff.left_s(5.0 + wait_s) <= 0


def test_after_a_success_the_waits_are_short_again():
    """The trouble before it is over."""
    found = []
    for _ in range(200):
        backoff = Backoff(300.0, first_s=2.0)
        for _ in range(10):
            backoff.failed(0.0)
        backoff.succeeded()
        found.append(backoff.failed(0.0))

    assert max(found) <= 2.0


def test_an_answer_is_waited_for_longer_with_each_failure_until_something_succeeds():
    """A slow server gets slower by clients that leave it and come again."""
    backoff = Backoff(10.0)
    found = [backoff.patience]
    for _ in range(5):
        backoff.failed(0.0)
        found.append(backoff.patience)
    backoff.succeeded()

    assert found == [1, 2, 4, 8, 8, 8]
    assert backoff.patience == 1
