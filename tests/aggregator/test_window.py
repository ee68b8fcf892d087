"""Rules of windows."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from aggregator.store.windows import NOTHING, Key, add, fold, window_start
from contract.labels import EMOTIONS
from contract.message import CountsMessage, FrameCounts, instant, utc
from contract.topics import Device

DEVICE = Device("school", "r1", "cam")
T = 1_795_000_003.25


def frame(at: float, happy: int, unsure: int = 0) -> FrameCounts:
    """A frame of happy and unsure faces."""
    zero = dict.fromkeys(EMOTIONS, 0)
    return FrameCounts(
        t=instant(utc(at)),
        faces=happy + unsure,
        unsure=unsure,
        counts=zero | {"happy": happy},
        expected=zero | {"happy": happy},
    )


def of(*frames, **changes) -> CountsMessage:
    """A message of these frames."""
    return structs.replace(
        CountsMessage(boot="9f3a2c41", seq=0, model="3f9c1a77", clock="synced", frames=frames), **changes
    )


def test_a_window_sums_the_frames_of_its_ten_seconds():
    """Frames of one window add up, and a frame at the next window's start is not among them."""
    windows = fold(DEVICE, of(frame(T, 3, 1), frame(T + 1, 2), frame(T + 6.75, 5)))

    first = windows[Key("school", "r1", "cam", "3f9c1a77", 1_795_000_000)]
    second = windows[Key("school", "r1", "cam", "3f9c1a77", 1_795_000_010)]
    assert (first.frames, first.faces, first.unsure, first.counts[3], first.expected[3]) == (2, 6, 1, 5, 500)
    assert (second.frames, second.faces) == (1, 5)
    assert len(windows) == 2


def test_a_withheld_frame_counts_as_a_frame_and_nothing_else():
    """Withheld frames are visible as such."""
    (sums,) = fold(DEVICE, of(FrameCounts(t=instant(utc(T)), withheld=True))).values()

    assert (sums.frames, sums.withheld, sums.faces) == (1, 1, 0)


def test_faces_alone_add_frames_and_faces_under_no_model():
    """With emotions switched off there is a window without a model."""
    ((key, sums),) = fold(DEVICE, of(FrameCounts(t=instant(utc(T)), faces=9), model=None)).items()

    assert (key.model, sums.frames, sums.faces, sum(sums.counts)) == ("", 1, 9, 0)


def test_frames_of_a_clock_that_is_not_set_have_windows_of_their_own():
    """Unsynced frames never enter a lesson's windows."""
    (key,) = fold(DEVICE, of(frame(T, 1), clock="unsynced"))

    assert not key.synced


def test_hundredths_are_rounded_not_cut():
    """0.29 is 29 hundredths, although 0.29 * 100 is a little less."""
    uneven = structs.replace(frame(T, 1), expected=dict.fromkeys(EMOTIONS, 0.0) | {"sad": 0.29})

    (sums,) = fold(DEVICE, of(uneven)).values()

    assert sums.expected[4] == 29


def test_windows_start_at_multiples_of_ten_seconds_also_before_1970():
    """A clock that starts at the epoch, or before it, is no special case."""
    assert [window_start(utc(at)) for at in (0, 9.999, 10, -0.001)] == [0, 0, 10, -10]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20), st.integers(0, 5)), max_size=30), st.randoms())
def test_order_and_partition_do_not_matter(values, shuffler):
    """The same frames in any order, in any messages, give the same windows."""
    frames = [frame(T + second, happy, unsure) for second, happy, unsure in values]
    shuffled = list(frames)
    shuffler.shuffle(shuffled)

    assert total([of(each) for each in shuffled]) == total([of(*frames)] if frames else [])


def total(messages):
    """All their windows together."""
    windows = {}
    for message in messages:
        for key, sums in fold(DEVICE, message).items():
            add(windows, key, sums)
    return windows


def test_nothing_is_neutral():
    """Adding nothing changes nothing."""
    (sums,) = fold(DEVICE, of(frame(T, 3))).values()

    assert sums + NOTHING == sums
