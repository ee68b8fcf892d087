"""When a demonstration was a success, and what it says."""

import pytest

from aggregator.store.windows import NOTHING, Sums
from contract.topics import Device
from demo.result import describe, failure, since, stored

SEEN = Sums(frames=4, withheld=1, faces=27, unsure=3, counts=(0, 0, 0, 18, 0, 0, 6), expected=(0,) * 7)


def test_counts_are_a_success():
    """Some frames may be withheld."""
    assert not failure(SEEN, 5)
    assert describe(SEEN) == "4 frames, 1 withheld, 9.0 faces a frame: happy 67%, neutral 22%, unsure 11%"


@pytest.mark.parametrize(
    ("sums", "min_faces", "reason"),
    [
        (NOTHING, 5, "stored no frame"),
        (Sums(3, 3, 0, 0, (0,) * 7, (0,) * 7), 5, "all 3 frames were withheld: none had 5 readable faces.*MIN_FACES=1"),
        (Sums(3, 3, 0, 0, (0,) * 7, (0,) * 7), 1, "none had 1 readable faces$"),
        (Sums(3, 0, 0, 0, (0,) * 7, (0,) * 7), 1, "no face was found"),
    ],
)
def test_without_counts_the_reason_is_named(sums: Sums, min_faces: int, reason: str):
    """The person learns what to change."""
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(failure(sums, min_faces))


def test_what_an_earlier_demonstration_stored_is_not_counted_again():
    """The store is kept from run to run."""
    assert since(SEEN, SEEN + SEEN) == SEEN
    assert failure(since(SEEN, SEEN), 5) == "the aggregator stored no frame"


def test_a_store_that_is_not_there_yet_holds_nothing(tmp_path):
    """The aggregator makes it when it starts."""
    assert stored(tmp_path / "store.sqlite", Device("demo", "room-1", "cam-1")) == NOTHING
