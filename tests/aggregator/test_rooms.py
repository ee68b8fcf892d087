"""Rules of what is known of the rooms now, for the daemon and for the page."""

import tracemalloc
from itertools import chain
from random import Random

import pytest
from msgspec.structs import replace

from aggregator.analysis.lesson import Cut
from aggregator.analysis.mix import Estimator
from aggregator.analysis.rooms import Rooms, RoomState
from aggregator.config import AttentionConfig
from aggregator.store.windows import NOTHING, Key, PackedWindows, add, fold, sum_row
from contract.labels import EMOTIONS
from contract.message import State
from contract.topics import Device, Room

EVERY_S = 2.0
ROOM = Room("school", "r1")


@pytest.fixture
def rooms() -> Rooms:
    """Nothing known yet."""
    return Rooms(Estimator({}), AttentionConfig())


@pytest.fixture
def note(rooms, device, now):
    """`note(message, …)`: a batch of these messages was committed at `now`."""

    def arrive(*messages, at=now):
        windows = {}
        for message in messages:
            for key, sums in fold(device, message).items():
                add(windows, key, sums)
        newest = [(device, max(frame.time.timestamp() for frame in each.frames)) for each in messages if each.synced]
        rooms.add(windows, newest, {}, at)

    return arrive


@pytest.fixture
def state():
    """A room of which nothing is known."""
    return RoomState(ROOM, Estimator({}), AttentionConfig(enabled=False))


def window(start, device="cam", happy=6, neutral=4, *, synced=True):
    """A window of ten equal frames."""
    counts = tuple({"happy": happy, "neutral": neutral}.get(label, 0) * 10 for label in EMOTIONS)
    sums = replace(NOTHING, frames=10, faces=sum(counts), counts=counts)
    return Key("school", "r1", device, "3f9c1a77", start, synced=synced), sums


def has(state, now, *starts, **options):
    """Give the state these windows, as a store holds them."""
    for start in starts:
        state.replace(*window(start, **options), now)


def lesson_start(state, now):
    """Seconds since 1970, or None."""
    starts = state._lesson_starts(now)
    assert (state.summary(now).lesson_start is not None) == (len(starts) > 0)
    return starts[0] if len(starts) else None


def test_a_changed_room_is_due_soon_and_an_unchanged_one_later(rooms, note, message, now):
    """Every two seconds after a change, every ten without."""
    note(message(0))
    assert [summary.room for summary in rooms.due(now, EVERY_S)] == ["r1"]
    assert not list(rooms.due(now + 9, EVERY_S))

    note(message(1))
    assert list(rooms.due(now + 9, EVERY_S))
    assert not list(rooms.due(now + 18, EVERY_S))
    assert list(rooms.due(now + 19, EVERY_S))


def test_a_clock_that_is_set_back_silences_no_room(rooms, note, message, counted, now):
    """Summaries go on, whatever the server's clock does."""
    note(message(0))
    list(rooms.due(now, EVERY_S))
    note(message(1, counted(now - 3600, 0, 0, 0, 1)), at=now - 3600)

    assert list(rooms.due(now - 3600, EVERY_S))


def test_the_newest_frame_is_that_of_a_clock_that_can_be_trusted(rooms, note, message, counted, device, now):
    """A clock ten years ahead, or not set, does not make a room look fresh for ten years."""
    note(message(0, counted(now, 1)))
    note(message(1, counted(now + 10 * 365 * 86400, 1)), message(2, counted(now + 5, 1), synced=False))

    summary = rooms[device.where].summary(now)

    assert (rooms[device.where].newest, summary.age_s) == (now, 0)
    assert summary.recent.frames == 1


def test_windows_older_than_the_longest_lesson_are_dropped(rooms, note, message, counted, device, now):
    """Memory holds hours, not months."""
    note(*(message(seq, counted(now + 10 * seq, 1)) for seq in range(300)), at=now)

    rooms[device.where].summary(now + 24 * 3600)

    assert not rooms[device.where]._windows


def test_a_room_that_only_said_its_state_has_a_summary(rooms, device, now):
    """A camera that never sent a frame is visible."""
    said = State(state="degraded", reason="no camera", version="1", model=None, min_faces=5, boot="9f3a2c41")
    rooms.add({}, (), {device: said}, now)

    (summary,) = rooms.due(now, EVERY_S)

    assert (summary.devices["cam"].state, summary.devices["cam"].reason) == ("degraded", "no camera")
    assert (summary.newest, summary.recent, summary.lesson, summary.trend) == (None, None, None, None)


def test_a_lesson_ends_at_a_gap(state):
    """Windows before ten minutes without frames belong to another lesson."""
    has(state, 2205, 0, 10, 1000, 1600, 2200)

    assert lesson_start(state, 2205) == 1000
    assert state.summary(2205).lesson.frames == 30
    assert lesson_start(state, 2900) is None


def test_clocks_that_cannot_be_trusted_are_part_of_no_lesson(state):
    """Unsynchronised windows and those of next year are left out, also of the gaps."""
    has(state, 905, 0, 900, 10**9)
    has(state, 905, 500, synced=False)

    assert lesson_start(state, 905) == 900


def test_the_current_mix_is_of_the_last_minute(state):
    """Windows older than a minute, or ahead, are not current."""
    has(state, 103, 30, 40, 50, 90, 100, 2000)

    assert state.summary(103).recent.frames == 30


def test_the_lesson_has_all_windows_of_all_devices(state):
    """Added up by device, so that two cameras do not weigh more than one."""
    for number in range(200):
        has(state, 10 * number, 10 * number)
        has(state, 10 * number, 10 * number, device="two", happy=2)

    lesson = state.summary(2000).lesson

    assert lesson.frames == 200 * 2 * 10
    assert lesson.faces == pytest.approx(10 + 6)


def test_the_trend_is_now_less_the_lesson(state):
    """A class that turns happy trends up in happy and down in neutral."""
    has(state, 105, 0, happy=0, neutral=10)
    has(state, 105, 100, happy=10, neutral=0)

    trend = state.summary(105).trend

    assert trend["happy"] == pytest.approx(0.5)
    assert trend["neutral"] == pytest.approx(-0.5)


def test_a_window_that_is_read_again_is_replaced(state):
    """And one that grew says when the newest frame was taken, to the time of the last look."""
    key, sums = window(100)
    assert state.replace(key, sums, 101.0)
    assert state.newest == 101.0

    assert not state.replace(key, sums, 105.0)
    assert state.newest == 101.0
    assert state.replace(key, sums + sums, 106.0)
    assert (state.newest, state.summary(106).recent.frames) == (106.0, 20)


def test_the_timeline_has_windows_that_have_ended(state):
    """One that changed is worked out again."""
    has(state, 131, 0, 100, 110, 130)
    assert [moment.start for moment in state.timeline(131)] == [0, 100, 110]

    has(state, 131, 110, happy=20)

    assert [round(moment.mix.faces) for moment in state.timeline(131)] == [10, 10, 24]
    assert [moment.start for moment in state.timeline(700)] == [100, 110, 130]


def lesson(rooms, note, message, counted, now, *mixes):
    """A lesson of one frame every ten seconds with these (happy, neutral), summarised all along; the events found."""
    found = []
    for number, (happy, neutral) in enumerate(mixes):
        at = now + 10 * number
        note(message(number, counted(at, 0, 0, 0, happy, 0, 0, neutral)), at=at)
        list(rooms.due(at + 5, EVERY_S))
        found += chain.from_iterable(rooms.events(at + 5))
    return found


def test_a_lasting_change_is_published_once(rooms, note, message, counted, device, now):
    """From half happy to all neutral, for ten minutes: one event of that room."""
    found = lesson(rooms, note, message, counted, now, *[(10, 10)] * 40, *[(0, 20)] * 60)

    assert [room for room, _ in found] == [device.where]
    assert found[0][1].changes["neutral"][1] > found[0][1].changes["neutral"][0]


def test_a_change_long_ago_is_not_published_after_a_restart(rooms, note, message, counted, now, device):
    """The page shows it; nobody is called again."""
    for number in range(100):
        happy, neutral = (10, 10) if number < 40 else (0, 20)
        note(message(number, counted(now + 10 * number, 0, 0, 0, happy, 0, 0, neutral)), at=now + 1000)

    list(rooms.due(now + 1000, EVERY_S))

    assert not list(chain.from_iterable(rooms.events(now + 1000)))
    assert rooms[device.where].events(now + 1000)


def test_a_lesson_that_outlasts_memory_keeps_its_events(now):
    """Its begin is forgotten bit by bit: to examine the rest anew each time cost a fifth of a second for every room."""
    state, begin = RoomState(ROOM, Estimator({}), AttentionConfig()), int(now) // 10 * 10
    mixes = [(10, 10)] * 2000 + [(0, 20)] * 100
    for number, (happy, neutral) in enumerate(mixes):
        state.replace(*window(begin + 10 * number, happy=happy, neutral=neutral), begin + 10 * number)
    end = begin + 10 * len(mixes)
    events, detector = state.events(end), state._detector

    for later in range(0, 3000, 100):
        has(state, end + later, *range(end + later - 90, end + later + 10, 10), happy=0, neutral=20)
        assert state.events(end + later + 20) == events
    assert len(events) == 1
    assert state._detector is detector
    assert state._lesson_starts(end + later)[0] > begin
    assert state._windows.starts()[0] > begin


def test_a_lesson_that_begins_later_than_was_thought_is_examined_anew(now):
    """Somebody said that a new one began there."""
    state, begin = RoomState(ROOM, Estimator({}), AttentionConfig()), int(now) // 10 * 10
    for number in range(200):
        state.replace(*window(begin + 10 * number, happy=10 * (number < 100), neutral=10), begin + 10 * number)
    assert state.events(begin + 2000)

    state.cut([Cut(begin + 1000, ends=False)])

    assert state.events(begin + 2000) == []


def test_a_room_that_is_given_up_is_forgotten(rooms, note, message, now):
    """Another daemon publishes its summaries from then on."""
    note(message(0))

    rooms.keep(lambda _: False)

    assert not list(rooms.due(now, EVERY_S))


def test_two_rooms_are_kept_apart(rooms, now):
    """By site and room."""
    for site in ("a", "b"):
        rooms.add({}, [(Device(site, "r1", "cam"), now)], {}, now)

    assert {summary.where for summary in rooms.due(now, EVERY_S)} == {Room("a", "r1"), Room("b", "r1")}


@pytest.mark.parametrize("seed", range(20))
def test_packed_windows_are_what_objects_were(seed):
    """Any order of writes, two devices, two models, forgetting; sums greater than 32 bits stay at the most."""
    chance = Random(seed)  # noqa: S311 - no secret
    packed, known = PackedWindows(), {}
    for _ in range(300):
        start = 1_700_000_000 + 10 * chance.randrange(60)
        key = Key("school", "r1", chance.choice(("cam", "east")), chance.choice(("3f9c1a77", "")), start)
        known[key] = replace(NOTHING, frames=chance.randrange(9), faces=chance.choice((3, 2**40)))
        packed.put(key, known[key])
        assert not packed.put(key, known[key])
        if not chance.randrange(50):
            packed.forget(start)
            known = {key: sums for key, sums in known.items() if key.start >= start}
    kept = {key: replace(sums, faces=min(sums.faces, 2**32 - 1)) for key, sums in known.items()}

    assert packed.starts().tolist() == sorted({key.start for key in kept})
    assert len(packed) == len(kept)
    assert {key: packed.get(key) for key in kept} == kept
    first, last = 1_700_000_100, 1_700_000_400
    inside = packed.table(first, last)
    assert {
        (*inside.parts[part], start): tuple(sums)
        for part, start, sums in zip(inside.part, inside.starts, inside.sums.tolist(), strict=True)
    } == {(key.device, key.model, key.start): sum_row(kept[key]) for key in kept if first <= key.start <= last}
    assert packed.get(Key("school", "r1", "west", "", first)) is None


def test_a_lesson_of_six_hours_takes_little_memory(state, now):
    """400 rooms of objects took more than a gigabyte."""
    begin = int(now) // 10 * 10 - 21_500
    state.summary(now)  # whatever is imported or cached once
    tracemalloc.start()
    try:
        has(state, now, *range(begin, begin + 21_500, 10))
        state.summary(now)
        state.events(now)
        assert tracemalloc.get_traced_memory()[0] < 230_000
    finally:
        tracemalloc.stop()
