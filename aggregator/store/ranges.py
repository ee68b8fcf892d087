"""Sets of whole numbers as ranges without gaps: what is known of a boot's `seq`. Pure.

A boot's messages fill one range almost always, so a week of them costs one row instead of a million keys.
"""

from bisect import bisect_right
from collections.abc import Iterable

Range = tuple[int, int]
"""Lowest and highest number, both included. Lists of ranges are sorted, and no two of them touch."""


def insert(ranges: list[Range], numbers: Iterable[int]) -> tuple[list[Range], set[int]]:
    """The ranges with `numbers` among them, and those numbers that were not."""
    fresh = {number for number in numbers if not contains(ranges, number)}
    merged: list[Range] = []
    for low, high in sorted([*ranges, *((number, number) for number in fresh)]):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged, fresh


def contains(ranges: list[Range], number: int) -> bool:
    """Whether a range has `number`."""
    position = bisect_right(ranges, number, key=lambda each: each[0])
    return position > 0 and ranges[position - 1][1] >= number
