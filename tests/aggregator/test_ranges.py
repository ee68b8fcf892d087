"""Rules of ranges."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from aggregator.store.ranges import contains, insert

NUMBERS = st.lists(st.lists(st.integers(0, 60), max_size=20), max_size=8)


@given(NUMBERS)
def test_ranges_hold_exactly_what_was_inserted(groups):
    """Ranges are a set of numbers: each is new exactly once, and none is invented."""
    ranges, known = [], set()

    for group in groups:
        ranges, fresh = insert(ranges, group)
        assert fresh == set(group) - known
        known |= fresh

    assert {number for low, high in ranges for number in range(low, high + 1)} == known
    assert all(contains(ranges, number) == (number in known) for number in range(-1, 63))


@given(NUMBERS)
def test_ranges_never_touch(groups):
    """Neighbours are one range, or a boot's row would not stay one."""
    ranges = []
    for group in groups:
        ranges, _ = insert(ranges, group)

    assert all(high + 1 < low for (_, high), (low, _) in pairwise(ranges))
