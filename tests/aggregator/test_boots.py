"""Two devices under one id are noticed, and ends without a goodbye."""

from aggregator.ingest.boots import DuplicateDevices, Goodbyes
from aggregator.ingest.daemon import own_state
from aggregator.store.types import Arrival

A, B = "0000000a", "0000000b"


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


def test_a_boot_that_is_followed_by_another_and_said_no_goodbye_was_cut(device):
    """Told once, although a broker that was killed may bring its old words again."""
    goodbyes = Goodbyes()
    said = [
        own_state("ready", boot=A),
        own_state("lost", boot=A),
        own_state("ready", boot=B),
        own_state("ready", boot=A),
    ]

    told = [goodbyes.check([(device, state)]) for state in said]

    assert told == [[], [], [(device, A, B)], []]


def test_a_boot_that_said_goodbye_was_not_cut(device):
    """Nor when goodbye and the next word come at once, or the last will comes late."""
    goodbyes = Goodbyes()
    said = [
        own_state("ready", boot=A),
        own_state("stopped", boot=A),
        own_state("lost", boot=A),
        own_state("ready", boot=B),
    ]

    assert goodbyes.check([(device, state) for state in said]) == []


def test_who_ended_while_the_aggregator_was_away_is_known_from_the_store(device):
    """The last word of each device is there."""
    goodbyes = Goodbyes()
    goodbyes.restore({device: own_state("paused", boot=A)})

    assert goodbyes.check([(device, own_state("ready", boot=B))]) == [(device, A, B)]
