"""Two devices under one id are noticed."""

from aggregator.ingest.duplicates import DuplicateDevices
from aggregator.store.types import Arrival


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
