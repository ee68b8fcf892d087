"""Faults between devices and store, with a real mosquitto: afterwards every window in the store equals the truth."""

import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import Arrival, Batch
from contract.message import CountsMessage, FrameCounts, instant, utc
from contract.topics import Device

pytestmark = [pytest.mark.system, pytest.mark.broker, pytest.mark.timeout(240)]

DICE = random.Random()  # noqa: S311 - kills at other moments in every run


def test_kill_9_of_the_aggregator_under_load(aggregator, sender, wait_until):
    """Killed in the middle of batches, it counts everything once, and no device has to send anything again."""
    for _ in range(6):
        for _ in range(300):
            sender.accept()
        time.sleep(DICE.uniform(0.0, 0.6))
        aggregator.end(signal.SIGKILL)
        aggregator.start()
    wait_until(sender.confirmed, "confirmation without sending again", within_s=90)

    assert aggregator.windows() == sender.truth


def test_kill_9_of_the_broker_under_load(mosquitto, aggregator, sender, until_confirmed):
    """What a broker acknowledged and lost comes again from the device."""
    for _ in range(3):
        for _ in range(300):
            sender.accept()
        time.sleep(DICE.uniform(0.0, 0.5))
        mosquitto.kill9()
        mosquitto.start()
    until_confirmed(sender)

    assert aggregator.windows() == sender.truth


def test_what_comes_while_the_aggregator_is_away_waits_in_the_broker(mosquitto, aggregator, sender, wait_until):
    """The session is persistent: nobody has to send anything again."""
    sender.accept()
    wait_until(sender.confirmed, "the first message's confirmation", within_s=90)
    aggregator.end(signal.SIGTERM)

    for _ in range(500):
        sender.accept()
    wait_until(lambda: not sender.client.want_write(), "everything at the broker")
    aggregator.start()

    wait_until(sender.confirmed, "confirmation without sending again", within_s=90)
    assert aggregator.windows() == sender.truth


def test_duplicates_and_disorder_change_nothing(aggregator, sender, wait_until, make_frame):
    """Every message three times in a random order is every message once."""
    payloads = [sender.accept(make_frame(time.time() - DICE.uniform(0, 3600)), send=False) for _ in range(400)] * 3
    DICE.shuffle(payloads)
    for payload in payloads:
        sender.send(payload)

    wait_until(sender.confirmed, "confirmation of everything", within_s=90)
    assert aggregator.windows() == sender.truth


def test_a_full_disk_stops_the_acknowledgements_until_there_is_room(  # noqa: PLR0917 - fixtures
    mosquitto, sender, tmp_path, wait_until, make_frame, make_aggregator, until_confirmed
):
    """It says degraded, keeps nothing that it cannot store, and goes on by itself."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("a small tmpfs needs root")
    aggregator = make_aggregator(mosquitto, store=disk / "store.sqlite").start()
    aggregator.wait(mosquitto)
    try:
        sender.accept()
        wait_until(sender.confirmed, "confirmation while there is room", within_s=90)
        ballast = disk / "ballast"
        fill(ballast)

        for second in range(600):
            sender.accept(make_frame(time.time() - 10 * second))
        wait_until(lambda: "degraded" in {said.state for said in sender.states()}, "the word that it is degraded")
        assert not sender.confirmed()
        assert "full" in sender.states()[-1].reason

        ballast.unlink()
        until_confirmed(sender)
        assert sender.states()[-1].state == "ready"
        assert aggregator.windows() == sender.truth
    finally:
        aggregator.end(signal.SIGKILL)
        subprocess.run(["umount", disk], check=True)


def test_the_log_of_writes_gives_a_full_disk_its_room_back(tmp_path, make_frame):
    """The windows are few and the file is small; its log, which grows with every batch, must not fill the disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], check=False).returncode:
        pytest.skip("a small tmpfs needs root")
    (disk / "ballast").write_bytes(b"x" * 200_000)
    frames, device = (make_frame(),), Device("school", "r1", "cam")
    try:
        with SqliteStore(disk / "store.sqlite") as store:
            for seq in range(500):
                message = CountsMessage(boot="9f3a2c41", seq=seq, model=None, clock="synced", frames=frames)
                store.commit(Batch(counts=[Arrival.of(device, message, time.time())]))
            assert store.stored(device) == {"9f3a2c41": 499}
    finally:
        subprocess.run(["umount", disk], check=True)


def fill(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


def test_broken_payloads_are_dropped_and_logged_by_reason(aggregator, sender, wait_until):
    """Whatever is published, the good messages between are counted and the daemon stays up."""
    good = sender.accept()
    for payload in (b"", b"{", b"\xff", b"x" * 100_000, good.replace(b'"schema":1', b'"schema":2'), b"[1]"):
        sender.send(payload)
        sender.accept()
    broken = sender.accept(send=False).replace(b'"unsure":0', b'"unsure":-7')
    sender.send(broken)
    sender.send(b'<script>alert("state")</script>', "state")
    sender.client.publish("classpulse/1/school/<b>room/cam/counts", good, qos=1)
    sender.accept()

    reasons = ("empty", "json", "encoding", "huge", "schema", "counts", "topic")
    wait_until(lambda: all(f" x {reason}," in aggregator.said() for reason in reasons), f"all of {reasons} in the log")
    wait_until(sender.confirmed, "confirmation, the settled message's included", within_s=90)
    assert aggregator.process.poll() is None
    assert (
        sum(sums.frames for sums in aggregator.windows().values())
        == sum(sums.frames for sums in sender.truth.values()) - 1
    )


def test_clocks_ten_years_off_lose_nothing_that_can_be_kept(aggregator, sender, wait_until, make_frame):
    """Ahead is stored with a warning; unsynchronised is stored apart; behind the horizon is refused as too_old."""
    ten_years = 10 * 365 * 86400
    sender.accept(make_frame(time.time() + ten_years))
    sender.accept(make_frame(time.time() - ten_years), synced=False)
    sender.accept()
    late = CountsMessage(
        boot="00000001",
        seq=0,
        model=None,
        clock="synced",
        frames=(FrameCounts(t=instant(utc(time.time() - ten_years)), withheld=True),),
    )
    sender.send(late.to_json())

    wait_until(sender.confirmed, "confirmation", within_s=90)
    wait_until(lambda: "x ahead," in aggregator.said() and "x too_old," in aggregator.said(), "both warnings")
    assert aggregator.windows() == sender.truth


def test_two_devices_with_one_id_are_both_counted_and_noticed(
    mosquitto, aggregator, sender, wait_until, make_frame, make_sender
):
    """Nothing is lost, and the log says whose id it is."""
    twin = make_sender(mosquitto, boot="00000002")
    start = time.time()
    for second in range(12):
        sender.accept(make_frame(start + second))
        twin.accept(make_frame(start + second))

    wait_until(lambda: "school/r1/cam is two devices" in aggregator.said(), "the warning")
    wait_until(lambda: sender.confirmed() and twin.confirmed(), "confirmation of both")
    twin.client.disconnect()
    twin.client.loop_stop()
    both = Counter({key.start: sums.frames for key, sums in sender.truth.items()})
    both.update({key.start: sums.frames for key, sums in twin.truth.items()})
    assert {key.start: sums.frames for key, sums in aggregator.windows().items()} == both


def test_a_frozen_broker_is_left_and_found_again(mosquitto, aggregator, sender, wait_until, until_confirmed):
    """A broker that keeps the connection open and says nothing is noticed within the keep-alive."""
    sender.accept()
    wait_until(sender.confirmed, "the first confirmation", within_s=90)
    mosquitto.sigstop()
    wait_until(lambda: "lost the broker" in aggregator.said(), "the loss in the log", within_s=30)
    mosquitto.sigcont()
    sender.accept()
    until_confirmed(sender)

    assert aggregator.windows() == sender.truth


def test_its_end_is_published_and_its_death_too(mosquitto, aggregator, sender, wait_until):
    """`stopped` after SIGTERM within two seconds; `lost`, by the broker, after SIGKILL."""
    states = lambda: [said.state for said in sender.states()]  # noqa: E731 - read again and again
    wait_until(lambda: states()[-1:] == ["ready"], "ready")
    began = time.monotonic()
    assert aggregator.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 5
    wait_until(lambda: states()[-1] == "stopped", "stopped")

    aggregator.start()
    wait_until(lambda: states()[-1] == "ready", "ready again")
    aggregator.end(signal.SIGKILL)
    wait_until(lambda: states()[-1] == "lost", "lost")
