"""Rules of what is known of the rooms now, and of noticing two devices under one id."""

from itertools import chain

import pytest

from aggregator.analysis.alerts import Alerts
from aggregator.analysis.live import Live, condensed
from aggregator.config import AttentionConfig
from aggregator.ingest.duplicates import DuplicateDevices
from aggregator.store.types import Arrival, Batch
from aggregator.store.windows import add, fold
from contract.message import State
from contract.topics import Device


@pytest.fixture
def live() -> Live:
    """Nothing known yet; a summary every two seconds."""
    return Live(2.0, {}, Alerts(AttentionConfig(), {}))


@pytest.fixture
def note(live, device, now):
    """`note(message, …)`: these arrived at `now`."""

    def arrive(*messages, at=now):
        windows = {}
        for message in messages:
            for key, sums in fold(device, message).items():
                add(windows, key, sums)
        live.note(Batch(counts=[Arrival.of(device, message, at) for message in messages]), windows, at)

    return arrive


def test_a_changed_room_is_due_soon_and_a_quiet_one_later(live, note, message, now):
    """Every two seconds after a change, every ten without."""
    note(message(0))
    assert [summary.room.room for summary in live.due(now)] == ["r1"]
    assert not list(live.due(now + 9))

    note(message(1))
    assert list(live.due(now + 9))
    assert not list(live.due(now + 18))
    assert list(live.due(now + 19))


def test_a_clock_that_is_set_back_silences_no_room(live, note, message, counted, now):
    """Summaries go on, whatever the server's clock does."""
    note(message(0))
    list(live.due(now))
    note(message(1, counted(now - 3600, 0, 0, 0, 1)), at=now - 3600)

    assert list(live.due(now - 3600))


def test_the_newest_frame_is_that_of_a_believable_clock(live, note, message, counted, device, now):
    """A clock ten years ahead, or not set, does not make a room look fresh for ten years."""
    note(message(0, counted(now, 1)))
    note(message(1, counted(now + 10 * 365 * 86400, 1)), message(2, counted(now + 5, 1), synced=False))

    summary = live.summary(device.where, now)

    assert summary.newest.timestamp() == now
    assert summary.recent.frames == 1


def test_windows_older_than_the_longest_lesson_are_dropped(live, note, message, counted, device, now):
    """Memory holds hours, not months."""
    note(*(message(seq, counted(now + 10 * seq, 1)) for seq in range(300)), at=now)

    live.summary(device.where, now + 24 * 3600)

    assert not live._rows[device.where]


def test_a_room_that_only_said_its_state_has_a_summary(live, device, now):
    """A camera that never sent a frame is visible."""
    said = State(state="degraded", reason="no camera", version="1", model=None, min_faces=5, boot="9f3a2c41")
    live.note(Batch(states={device: (said, now)}), {}, now)

    (summary,) = live.due(now)

    assert summary.devices == {"cam": ("degraded", "no camera")}
    assert summary.newest is None


def test_condensed_windows_have_the_same_sums(device, message, counted, now):
    """A lesson's windows come to the same by device and model."""
    rows = [
        row
        for seq in range(5)
        for who in (device, Device("school", "r1", "two"))
        for row in fold(who, message(seq, counted(now + 10 * seq, seq, 1))).items()
    ]

    short = condensed(rows)

    assert len(short) == 2
    assert {key.start for key, _ in short} == {int(now)}
    assert sum(sums.counts[0] for _, sums in short) == 2 * sum(range(5))


def spans(device, message, counted, now, boot, *seconds):
    """Messages of one boot whose frames were taken at these seconds."""
    return [Arrival.of(device, message(second, counted(now + second, 1), boot=boot), now) for second in seconds]


def test_two_boots_at_the_same_time_are_two_devices(device, message, counted, now):
    """Told once, however long it goes on."""
    duplicates = DuplicateDevices()
    told = []
    for second in range(30):
        told += duplicates.check(spans(device, message, counted, now, "00000001", second))
        told += duplicates.check(spans(device, message, counted, now, "00000002", second))

    assert told == [device]


def test_a_restart_is_not_two_devices(device, message, counted, now):
    """What an earlier boot left in the outbox comes among the new boot's frames, but was taken before."""
    duplicates = DuplicateDevices()

    assert not duplicates.check(spans(device, message, counted, now, "00000001", 0, 1, 2, 20))
    assert not duplicates.check(spans(device, message, counted, now, "00000002", 25, 26, 40))
    assert not duplicates.check(spans(device, message, counted, now, "00000001", 21, 22))


def lesson(live, note, message, counted, now, *mixes):
    """A lesson of one frame every ten seconds with these (happy, neutral), summarised all along; the events told."""
    told = []
    for number, (happy, neutral) in enumerate(mixes):
        at = now + 10 * number
        note(message(number, counted(at, 0, 0, 0, happy, 0, 0, neutral)), at=at)
        list(live.due(at + 5))
        told += chain.from_iterable(live.events(at + 5))
    return told


def test_a_change_that_lasts_is_told_once(live, note, message, counted, device, now):
    """From half happy to all neutral, for ten minutes: one event of that room."""
    told = lesson(live, note, message, counted, now, *[(10, 10)] * 40, *[(0, 20)] * 60)

    assert [room for room, _ in told] == [device.where]
    assert told[0][1].changes["neutral"][1] > told[0][1].changes["neutral"][0]


def test_a_change_long_ago_is_no_news(live, note, message, counted, now, device):
    """After a restart the page shows it; nobody is called again."""
    for number in range(100):
        happy, neutral = (10, 10) if number < 40 else (0, 20)
        note(message(number, counted(now + 10 * number, 0, 0, 0, happy, 0, 0, neutral)), at=now + 1000)

    list(live.due(now + 1000))

    assert not list(chain.from_iterable(live.events(now + 1000)))
