"""Windows to mix and summary."""

import re

import pytest

from aggregator.analysis import mix
from aggregator.analysis.mix import Estimator
from aggregator.analysis.rooms import RoomState
from aggregator.analysis.summary import DeviceState, Summary
from aggregator.config import AttentionConfig
from aggregator.store.windows import Key, Sums, table_of
from contract.card import ModelCard
from contract.labels import EMOTIONS
from contract.message import MessageError, State
from contract.topics import Room

ROOM = Room("north", "r101")
MODEL = "3f9c1a77"
CARD = ModelCard(
    sha256=MODEL * 8,
    unsure_below=0.4,
    soft_confusion=tuple(tuple(0.7 if i == j else 0.05 for j in range(7)) for i in range(7)),
    hard_confusion=tuple(tuple(7.0 if i == j else 0.5 for j in range(7)) for i in range(7)),
    document={},
)


def row(start, *, device="cam1", frames=10, withheld=0, happy=6, neutral=4, unsure=1, model=MODEL, synced=True):
    """A window whose frames show all the same: happy, neutral and unsure faces."""
    read = frames - withheld
    counts = tuple({"happy": happy, "neutral": neutral}.get(label, 0) * read for label in EMOTIONS)
    sums = Sums(
        frames, withheld, (happy + neutral + unsure) * read, unsure * read, counts, tuple(c * 100 for c in counts)
    )
    return Key("north", "r101", device, model, start, synced), sums


def mix_of(rows, estimator):
    """The mix of these windows."""
    return mix.mix_of(table_of(rows), estimator)


def test_mix_is_per_frame_so_a_fast_camera_weighs_no_more():
    """Ten times the frames of the same faces give the same faces."""
    slow, fast = row(0, frames=10), row(0, frames=100, device="cam2", happy=2, neutral=8)

    told = mix_of([slow, fast], Estimator({}))

    assert told.faces == pytest.approx(22)
    assert told.counts["happy"] == pytest.approx(8)
    assert told.counts["neutral"] == pytest.approx(12)
    assert told.unsure == pytest.approx(2 / 22)


def test_withheld_frames_do_not_thin_the_mix():
    """What was withheld is told as a share and left out of every average."""
    told = mix_of([row(0, frames=10, withheld=5)], Estimator({}))

    assert told.withheld == 0.5
    assert told.faces == pytest.approx(11)


def test_a_room_that_only_withholds_has_no_shares():
    """Without one readable frame there are no counts, not zeros."""
    told = mix_of([row(0, frames=10, withheld=10)], Estimator({MODEL: CARD}))

    assert (told.counts, told.estimate, told.shares) == (None, None, None)


@pytest.mark.parametrize(("shown", "withheld"), [(1, 1.0), (4, 1.0), (5, 0.975)])
def test_the_few_frames_among_withheld_ones_show_nothing(shown, withheld):
    """A minute of which 199 of 200 frames are withheld would be a single frame, of few people."""
    told = mix_of([row(0, frames=200, withheld=200 - shown)], Estimator({MODEL: CARD}))

    assert told.withheld == withheld
    assert (told.counts is None, told.estimate is None, told.faces == 0) == (shown < 5,) * 3


def test_each_device_must_show_enough_frames():
    """One that shows the class does not carry along another that saw five people for a moment."""
    few, many = row(0, frames=200, withheld=199, happy=5, neutral=0, unsure=0), row(0, device="cam2", frames=200)

    assert mix_of([few, many], Estimator({})).counts == mix_of([many], Estimator({})).counts


def test_emotions_switched_off_leave_faces_only():
    """A device without a model counts faces and nothing else."""
    key, sums = row(0, model="", happy=0, neutral=0, unsure=12)

    told = mix_of([(key, sums)], Estimator({MODEL: CARD}))

    assert told.faces == pytest.approx(12)
    assert (told.counts, told.estimate) == (None, None)


def test_an_unknown_model_gives_raw_counts_only():
    """An estimate needs the card of every model that read a face."""
    rows = [row(0), row(10, model="00000000")]

    assert mix_of(rows, Estimator({MODEL: CARD})).estimate is None
    assert mix_of(rows, Estimator({MODEL: CARD})).shares["happy"] == pytest.approx(0.6)
    assert mix_of(rows[:1], Estimator({MODEL: CARD})).estimate is not None


def test_noise_that_averages_out_is_counted_less():
    """Devices draw it anew every 20 s: a minute is known better than one window, and two windows as well as one."""
    one, two, minute = (
        mix_of([row(10 * number) for number in range(windows)], Estimator({MODEL: CARD}, epsilon=2.0)).estimate["happy"]
        for windows in (1, 2, 6)
    )

    assert one == two
    assert minute[2] - minute[1] < 0.9 * (one[2] - one[1])


def test_two_devices_add_their_noise():
    """Each has its own."""
    one = mix_of([row(0, happy=12, neutral=8)], Estimator({MODEL: CARD}, epsilon=2.0)).estimate["happy"]
    two = mix_of([row(0), row(0, device="cam2")], Estimator({MODEL: CARD}, epsilon=2.0)).estimate["happy"]

    assert two[2] - two[1] > one[2] - one[1]


def test_without_noise_the_interval_is_as_wide_for_one_window_as_for_six():
    """Devices that tell what they counted are known as well as the faces are."""
    one, six = (mix_of([row(10 * n) for n in range(m)], Estimator({MODEL: CARD})).estimate["happy"] for m in (1, 6))

    assert one == pytest.approx(six)


def test_a_change_of_model_leaves_one_estimate():
    """Two models with the same card say together what one says."""
    both = mix_of([row(0), row(10, model="00000000")], Estimator({MODEL: CARD, "00000000": CARD}))

    assert sum(share for share, _, _ in both.estimate.values()) == pytest.approx(1)
    assert all(low <= share <= high for share, low, high in both.estimate.values())


def test_more_frames_of_the_same_faces_do_not_narrow_the_interval():
    """25 people seen a thousand times are 25 people."""
    once, often = (mix_of([row(0, frames=frames)], Estimator({MODEL: CARD})).estimate for frames in (1, 1000))

    assert all(once[label] == pytest.approx(often[label]) for label in EMOTIONS)


def summary(*rows, now=105):
    """A summary of these windows at `now`."""
    state = RoomState(ROOM, Estimator({MODEL: CARD}), AttentionConfig())
    state.devices["cam1"] = State(state="ready", reason="", version="1", model=MODEL, min_faces=5, boot="00000001")
    for key, sums in rows:
        state.replace(key, sums, now - 3)
    return state.summary(now)


def test_summary_survives_json():
    """What is published is what is read back, to four decimals."""
    made = summary(row(0), row(100))

    read = Summary.from_json(made.to_json())

    assert read.to_json() == made.to_json()
    assert (read.where, read.t, read.devices) == (ROOM, made.t, {"cam1": DeviceState("ready", "")})
    assert (read.age_s, read.newest) == (3.0, "1970-01-01T00:01:42.000Z")


def test_a_summary_is_written_as_in_version_0_1():
    """The same fields in the same order, null where nothing is known, four decimals."""
    made = RoomState(ROOM, Estimator({}), AttentionConfig()).summary(0)
    assert made.to_json() == (
        b'{"schema":1,"t":"1970-01-01T00:00:00.000Z","site":"north","room":"r101","newest":null,"age_s":null,'
        b'"recent":null,"lesson":null,"lesson_start":null,"trend":null,"devices":{}}'
    )

    text = summary(row(100, happy=1, neutral=2, unsure=0)).to_json().decode()

    assert '"age_s":3.0,"recent":{"frames":10,"withheld":0.0,"faces":3.0,"unsure":0.0,"counts":{"angry":0.0' in text
    assert '"devices":{"cam1":{"state":"ready","reason":""}}}' in text
    assert not re.search(r"\d\.\d{5}", text)


def test_a_room_without_data_has_an_empty_summary():
    """Nothing is known, and that is what it says."""
    made = RoomState(ROOM, Estimator({}), AttentionConfig()).summary(0)

    assert Summary.from_json(made.to_json()) == made
    assert (made.recent, made.lesson, made.age_s, made.trend) == (None, None, None, None)


@pytest.mark.parametrize(
    "change",
    [
        (b'"site":"north"', b'"site":"<b>"'),
        (b'"schema":1', b'"schema":2'),
        (b'"devices":{', b'"devices":{"x":1,'),
        (b'"frames":', b'"frames":"a","x":'),
        (b'"trend":{', b'"trend":{"joy":1,'),
        (b'"t":"1970', b'"t":"now1970'),
        (b'"t":"1970-01', b'"t":"1970-13'),
        (b'"angry":[', b'"joy":['),
        (b'"estimate":{', b'"estimate":{"joy":1,'),
    ],
)
def test_a_broken_summary_is_refused(change):
    """Whatever is wrong, MessageError says it."""
    broken = summary(row(0), row(100)).to_json().replace(*change)

    with pytest.raises(MessageError):
        Summary.from_json(broken)
