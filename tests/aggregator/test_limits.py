"""One device cannot fell the aggregator, and one that is only busy is not held back."""

from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from aggregator.ingest import limits
from aggregator.ingest.batch import RawMessage, read
from aggregator.ingest.limits import Limits
from contract.message import HORIZON_S
from contract.topics import Device

OTHER = Device("school", "r2", "cam")


@pytest.fixture
def bounds() -> Limits:
    """Of a device of nothing yet; one model has its card here."""
    return Limits({"3f9c1a77"})


@dataclass
class Sent:
    """What became of messages."""

    kept: int
    rejected: list[str]


def send(bounds, *messages: RawMessage) -> Sent:
    """Read them as one batch."""
    batch = read(list(messages), bounds)
    return Sent(len(batch.counts), [each.reason for each in batch.rejected])


def test_a_device_that_floods_is_cut_to_its_rate_and_its_neighbour_is_not(bounds, device, item, message, now):
    """After its burst it may send RATE a second; what is too much is rejected, for it comes again."""
    bounds._uses[device] = limits._Use(now)
    bounds._uses[device].messages = 10

    flood = send(bounds, *(item(device, message(seq)) for seq in range(50)))
    neighbour = send(bounds, *(item(OTHER, message(seq)) for seq in range(50)))
    later = send(bounds, *(item(device, message(seq), now + 1) for seq in range(50, 500)))

    assert (flood.kept, flood.rejected) == (10, ["rate"] * 40)
    assert (neighbour.kept, neighbour.rejected) == (50, [])
    assert (later.kept, len(later.rejected)) == (300, 150)


def test_what_is_too_much_is_not_settled(bounds, device, item, message, now):
    """It must come again: the device keeps it."""
    bounds._uses[device] = limits._Use(now)
    bounds._uses[device].messages = 0

    assert read([item(device, message(0))], bounds).settled == []


def test_the_bytes_of_a_device_are_bounded(bounds, device, now):
    """Few messages can be large; unreadable ones count, too."""
    bounds._uses[device] = limits._Use(now)
    bounds._uses[device].bytes = 100_000
    large = RawMessage(device.topic("counts"), b"x" * 40_000, now)

    assert send(bounds, large, large, large).rejected == ["json", "json", "rate"]


def test_a_day_without_the_aggregator_is_no_flood(bounds, device, now):
    """What waited at the broker comes at once: a message a second for a day."""
    for _ in range(86_400):
        bounds.admit(device, 2000, now)


def test_invented_models_are_one_other(bounds, device, item, message):
    """Each model has windows of its own, so a device that invents hundreds would fill the store."""
    sent = [item(device, replace(message(seq), model=f"{seq:08x}")) for seq in range(750)]
    known = item(device, message(1000))

    batch = read([*sent, known], bounds)

    models = [arrival.message.model for arrival in batch.counts]
    assert sorted(set(models)) == ["00000000", "00000001", "00000002", "00000003", "3f9c1a77", "other"]
    assert models[-1] == "3f9c1a77"
    assert len(models) == 751


@pytest.mark.parametrize("clock", ["unsynced", "far ahead", "old frames beside a new one"])
def test_windows_of_times_that_are_not_believed_are_bounded(  # noqa: PLR0917 - fixtures
    bounds, device, item, message, counted, now, clock
):
    """The believed ones lie in a week; the others could be any of a hundred thousand years."""

    def sent(seq: int, received: float) -> RawMessage:
        frames = [counted(now + 86400 + 10 * seq, 1)]
        if clock == "old frames beside a new one":
            frames = [counted(received, 1), counted(now - HORIZON_S - 3600 - 10 * seq, 1)]
        return item(device, message(seq, *frames, synced=clock != "unsynced"), received)

    flood = send(bounds, *(sent(seq, now) for seq in range(2000)))
    next_hour = send(bounds, *(sent(seq, now + 3601) for seq in range(2000, 2010)))

    assert limits.STRAY_WINDOWS - 2 <= flood.kept <= limits.STRAY_WINDOWS
    assert set(flood.rejected) == {"rate"}
    assert next_hour.rejected == []


def test_a_replay_opens_as_many_windows_as_it_needs(bounds, device, item, message, counted, now):
    """A device whose network was down for a week sends all of it as fast as it may."""
    week = (item(device, message(seq, counted(now - 200 * seq, 1)), now) for seq in range(3000))

    assert send(bounds, *week).rejected == []
