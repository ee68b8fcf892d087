"""When a demonstration was a success, and what it says."""

import pytest

from aggregator.store.windows import NOTHING, Sums
from contract.topics import Device
from demo.verdict import arrived, complaint, in_words

SEEN = Sums(frames=4, withheld=1, faces=27, unsure=3, counts=(0, 0, 0, 18, 0, 0, 6), expected=(0,) * 7)


def test_counts_that_arrived_are_a_success():
    """Some frames may be withheld."""
    assert not complaint(SEEN, 5)
    assert in_words(SEEN) == "4 frames, 1 withheld, 9.0 faces a frame: happy 67%, neutral 22%, unsure 11%"


@pytest.mark.parametrize(
    ("sums", "min_faces", "reason"),
    [
        (NOTHING, 5, "no frame's counts arrived"),
        (Sums(3, 3, 0, 0, (0,) * 7, (0,) * 7), 5, "all 3 frames were withheld: none showed 5 faces .*MIN_FACES=1"),
        (Sums(3, 3, 0, 0, (0,) * 7, (0,) * 7), 1, "none showed 1 faces that could be read$"),
        (Sums(3, 0, 0, 0, (0,) * 7, (0,) * 7), 1, "no face was found"),
    ],
)
def test_no_counts_are_no_success_and_the_reason_is_told(sums: Sums, min_faces: int, reason: str):
    """The person learns what to change."""
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(complaint(sums, min_faces))


def test_a_store_that_is_not_there_yet_holds_nothing(tmp_path):
    """The aggregator makes it when it starts."""
    assert arrived(tmp_path / "store.sqlite", Device("demo", "room-1", "cam-1")) == NOTHING
