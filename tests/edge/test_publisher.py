"""What of the publisher needs no broker; tests/system has the rest."""

from edge.publisher import backoff_s


def test_waits_double_up_to_the_most_and_are_spread_over_all_of_it():
    """Full jitter: a hundred devices that lost one broker do not come back in one instant."""
    waits = {attempt: [backoff_s(attempt, 300.0) for _ in range(500)] for attempt in (1, 3, 6, 9, 1000)}

    for attempt, most in {1: 2, 3: 8, 6: 64, 9: 300, 1000: 300}.items():
        assert 0 <= min(waits[attempt]) < most * 0.1
        assert most * 0.9 < max(waits[attempt]) <= most
