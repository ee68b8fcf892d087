"""The uplink: live messages at once, everything until it is confirmed, and a broker that is silent is left."""

import sqlite3
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from contract.message import CountsMessage, FrameCounts, Health, State, instant, stored_to_json
from contract.topics import Device
from edge.config import MqttConfig, OutboxConfig, PublishConfig
from edge.health import HealthMonitor
from edge.uplink.outbox import Outbox
from edge.uplink.uplink import CONNECTING_S, SILENT_S, Hooks, Uplink, UplinkThread
from tests.device import edge_config

T0 = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
BOOT = "0000000b"


class ListConnection:
    """A connection that writes down what it is to do."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, str, bytes, bool]] = []
        self.log: list[str] = []

    def open(self, listener):
        """Write it down."""
        self.log.append("open")

    def publish(self, kind, payload, *, retain):
        """Write a message down; its number."""
        self.sent.append((len(self.sent) + 1, kind, payload, retain))
        return len(self.sent)

    def drop(self):
        """Write it down."""
        self.log.append("drop")

    def close(self):
        """Write it down."""
        self.log.append("close")


class Desk:
    """An uplink between a real outbox and a ListConnection, and a clock set by hand."""

    def __init__(self, tmp_path, boot: str = BOOT, confirm: str = "stored", **mqtt: float) -> None:
        self.now = 0.0
        self.connection = ListConnection()
        self.commands: list[str] = []
        self.ledger: list[bytes] = []
        config = edge_config(
            device=Device("s", "r", "d"),
            mqtt=MqttConfig(host="broker", **mqtt),
            publish=PublishConfig(health_s=30),
            outbox=OutboxConfig(confirm=confirm),
        )
        self.outbox = Outbox(tmp_path / "outbox.sqlite", config.outbox, boot, 0.0)
        hooks = Hooks(lambda: (T0 + timedelta(seconds=self.now), True), self.commands.append, self.ledger.append)
        monitor = HealthMonitor(boot, confirm, lambda: 0, 0.0)
        self.uplink = Uplink(config, lost(boot), self.outbox, self.connection, monitor, hooks)

    def connect(self) -> None:
        """Have it connect, and the broker accept."""
        self.uplink.tick(self.now)
        self.uplink.connected(self.now)

    def say(self, state: str) -> None:
        """Let the daemon have a state."""
        self.uplink.set_state(state, "", self.now)

    def receive(self, kind: str, *payloads: bytes, retained: bool = False) -> None:
        """Let the broker send messages."""
        for payload in payloads:
            self.uplink.received(kind, payload, retained, self.now)

    def lose(self) -> None:
        """Let the connection end."""
        self.uplink.disconnected("gone", self.now)

    def frame(self) -> None:
        """Count a frame."""
        self.uplink.publish((FrameCounts(t=instant(T0 + timedelta(seconds=self.now)), faces=3),), self.now, synced=True)

    def pass_s(self, seconds: float, step_s: float = 0.2) -> None:
        """Let time pass, with a tick at every step."""
        until = self.now + seconds
        while self.now < until:
            self.now = round(self.now + step_s, 3)
            self.uplink.tick(self.now)

    def ack(self) -> None:
        """PUBACK for everything sent so far."""
        for mid, *_ in list(self.connection.sent):
            self.uplink.acked(mid, self.now)

    def payloads(self, kind: str = "counts") -> list[bytes]:
        """What was sent to a topic."""
        return [payload for _, sent, payload, _ in self.connection.sent if sent == kind]

    def states(self) -> list[str]:
        """The states that were published."""
        return [State.from_json(payload).state for payload in self.payloads("state")]


def lost(boot: str = BOOT) -> State:
    """Of a device without a model."""
    return State(state="lost", reason="connection lost", version="0.1", model=None, min_faces=5, boot=boot)


@pytest.fixture
def desk(tmp_path):
    """One at its defaults."""
    return Desk(tmp_path)


def test_a_message_is_sent_when_it_is_accepted_and_written_into_the_ledger(desk):
    """No tick between frame and broker."""
    desk.connect()

    desk.frame()

    assert desk.payloads() == desk.ledger
    assert desk.uplink.accepted == 1


def test_before_the_broker_is_there_messages_wait_and_then_go_out(desk):
    """A broker absent at boot is no error."""
    for _ in range(5):
        desk.frame()
    desk.pass_s(1.0)
    desk.connect()
    desk.pass_s(1.0)

    assert desk.payloads() == desk.ledger


def test_state_and_health_are_retained_and_counts_are_not(desk):
    """Who comes later must see how the device is, and no old counts."""
    desk.say("ready")
    desk.connect()
    desk.frame()
    desk.ack()
    desk.pass_s(31)

    retained = {kind: retain for _, kind, _, retain in desk.connection.sent}
    healths = [Health.from_json(payload) for payload in desk.payloads("health")]

    assert retained == {"state": True, "health": True, "counts": False}
    assert [health.time for health in healths] == [T0, T0 + timedelta(seconds=30)]
    assert healths[1].outbox_first == {BOOT: 0}


def test_at_most_inflight_messages_are_unacknowledged(tmp_path):
    """The window is bounded; an acknowledgement makes room at once."""
    desk = Desk(tmp_path, inflight=4)
    desk.connect()
    for _ in range(10):
        desk.frame()
    held = len(desk.payloads())
    desk.ack()

    assert held == 3  # and one health
    assert desk.payloads() == desk.ledger[: len(desk.payloads())]
    assert len(desk.payloads()) > held


def test_a_connection_without_pubacks_is_given_up_and_everything_sent_again(desk):
    """Liveness is judged by acknowledgements, whatever paho believes."""
    desk.connect()
    desk.frame()
    desk.pass_s(SILENT_S + 1)
    dropped = "drop" in desk.connection.log
    desk.pass_s(3)
    desk.connect()
    desk.pass_s(1)

    assert dropped
    assert desk.connection.log.count("open") >= 2
    assert desk.payloads().count(desk.ledger[0]) == 2


def test_after_a_failure_silence_is_borne_for_longer_until_a_puback_comes(desk):
    """A broker to which a whole fleet returns is slow: who leaves it and comes again makes it slower."""
    desk.connect()
    desk.lose()
    desk.pass_s(3)
    desk.connect()
    desk.frame()
    desk.connection.log.clear()
    desk.pass_s(SILENT_S * 2 - 1)
    assert "drop" not in desk.connection.log
    desk.pass_s(2)
    assert "drop" in desk.connection.log

    desk.pass_s(5)
    desk.connect()
    desk.ack()
    desk.frame()
    desk.connection.log.clear()
    desk.pass_s(SILENT_S + 1)

    assert "drop" in desk.connection.log


def test_an_attempt_without_an_answer_is_given_up(desk):
    """A broker that accepts the connection and says nothing."""
    desk.uplink.tick(0.0)

    desk.pass_s(CONNECTING_S + 5)

    assert desk.connection.log[:3] == ["open", "drop", "open"]


def test_the_next_attempt_waits_and_not_long_once_a_message_was_acknowledged(tmp_path, caplog):
    """A broker that only accepts connections is left in peace for minutes; one that answers is tried at once."""
    desk = Desk(tmp_path, reconnect_max_s=300)
    waits_s = []
    for _ in range(12):
        desk.connect()
        desk.lose()
        waits_s.append(float(caplog.text.rpartition("next attempt in ")[2].split()[0]))
        opened = desk.connection.log.count("open")
        desk.uplink.tick(desk.now)
        assert desk.connection.log.count("open") == opened
        desk.pass_s(300, step_s=10)
    assert max(waits_s) > 5
    desk.uplink.connected(desk.now)
    desk.ack()
    desk.lose()
    opened = desk.connection.log.count("open")

    desk.pass_s(2.2)

    assert desk.connection.log.count("open") > opened


def test_what_was_acknowledged_is_on_disk_a_second_after_the_connection_ended(desk, tmp_path):
    """The broker may have ended with all that it had in memory."""
    desk.connect()
    desk.frame()
    desk.receive("stored", stored_to_json({BOOT: 0}))
    desk.frame()
    desk.ack()

    desk.lose()
    desk.pass_s(1.0)

    with sqlite3.connect(tmp_path / "outbox.sqlite") as db:
        assert db.execute("SELECT payload FROM message").fetchall() == [(desk.ledger[1],)]


def test_stored_ends_the_waiting(desk):
    """The aggregator's word, and nothing is sent again."""
    desk.connect()
    desk.frame()
    desk.frame()
    desk.ack()

    desk.receive("stored", stored_to_json({BOOT: 1}))

    assert desk.uplink.idle
    assert Health.from_json(desk.payloads("health")[0]).confirm == "stored"


def test_a_reconnect_sends_the_unconfirmed_again_byte_for_byte(desk):
    """PUBACK is not durability."""
    desk.connect()
    for _ in range(3):
        desk.frame()
    desk.ack()
    desk.receive("stored", stored_to_json({BOOT: 0}))
    desk.lose()
    desk.pass_s(3)
    first = len(desk.payloads())

    desk.connect()
    desk.pass_s(1)

    assert desk.payloads()[first:] == desk.ledger[1:]


def test_replay_is_rate_limited_and_live_messages_do_not_wait_for_it(tmp_path):
    """A thousand messages of an outage, a window that has room for all of them, and a broker that answers at once."""
    desk = Desk(tmp_path, replay_hz=100, inflight=1000)
    for _ in range(1000):
        desk.frame()
    desk.pass_s(1.0)
    desk.connect()
    since_s = desk.now
    for _ in range(50):
        desk.pass_s(0.1, step_s=0.1)
        desk.frame()
        assert desk.payloads()[-1] == desk.ledger[-1]
        desk.ack()

    replayed = len(desk.payloads()) - 50

    assert 0.9 <= replayed / (100 * (desk.now - since_s)) <= 1.01


def test_replay_does_not_catch_up_on_time_in_which_nothing_was_to_be_sent(tmp_path):
    """After a quiet time a burst is half a second's worth of messages."""
    desk = Desk(tmp_path, replay_hz=100, inflight=1000)
    desk.connect()
    desk.ack()
    desk.pass_s(9)
    for _ in range(200):
        desk.outbox.accept((FrameCounts(t=instant(T0), faces=3),), None, desk.now, synced=True)
    desk.outbox.tick(desk.now + 1.0)  # they go to disk

    desk.uplink.tick(desk.now)

    assert 50 <= len(desk.payloads()) <= 51


def test_replay_leaves_half_of_the_window_free(tmp_path):
    """However slow the broker: a live message finds a place."""
    desk = Desk(tmp_path, inflight=10)
    for _ in range(100):
        desk.frame()
    desk.pass_s(1.0)
    desk.connect()
    desk.pass_s(2.0)

    desk.frame()

    assert desk.payloads() == [*desk.ledger[:4], desk.ledger[-1]]  # a health is in flight, too


def test_what_an_earlier_boot_left_is_sent_and_confirmed_by_its_own_mark(tmp_path):
    """Boots are confirmed one by one."""
    killed = Desk(tmp_path, boot="0000000a")
    killed.frame()
    killed.pass_s(1.0)
    desk = Desk(tmp_path)
    desk.connect()
    desk.pass_s(1.0)

    sent = [CountsMessage.from_json(payload).boot for payload in desk.payloads()]
    desk.receive("stored", stored_to_json({"0000000a": 0}))
    desk.pass_s(1.0)

    assert sent == ["0000000a"]
    assert desk.uplink.idle


def test_its_own_last_will_is_contradicted_while_alive(desk):
    """The will of a connection that ended after this one began."""
    desk.say("ready")
    desk.connect()
    own = desk.payloads("state")[0]

    desk.receive("state", own, lost().to_json(), own)

    assert desk.states() == ["ready", "ready"]


def test_a_stop_that_another_process_said_is_contradicted_while_alive_and_its_own_is_not(desk):
    """A second daemon, started by hand with a faulty file, says `stopped` in this one's name."""
    desk.say("ready")
    desk.connect()
    other = replace(lost("0000000a"), state="stopped", reason="no camera").to_json()

    desk.receive("state", other)
    desk.uplink.stop("told to stop", desk.now)
    desk.receive("state", desk.payloads("state")[-1])

    assert desk.states() == ["ready", "ready", "stopped"]


def test_the_state_is_said_again_on_every_connection_and_only_then(desk):
    """Retained: no need to repeat it."""
    desk.say("ready")
    desk.connect()
    desk.say("ready")
    desk.pass_s(5)
    desk.lose()
    desk.pass_s(3)
    desk.connect()

    assert desk.states() == ["ready", "ready"]


def test_a_disk_that_cannot_be_written_is_a_degraded_state_until_it_can(tmp_path):
    """Somebody should look; the counting goes on. It can once nothing failed for five seconds after an attempt."""
    folder = tmp_path / "gone"
    desk = Desk(folder)
    desk.say("ready")
    desk.connect()
    folder.mkdir()
    desk.ack()
    desk.pass_s(11)

    assert desk.states() == ["degraded", "ready"]


def test_commands_are_passed_on_and_nonsense_is_not(desk):
    """`set` is plain text: pause or resume."""
    desk.connect()

    desk.receive("set", b"pause", b"explode", b"", b"\xff", b"resume\n")
    desk.receive("stored", b"{")
    desk.receive("state", b"?")

    assert desk.commands == ["pause", "resume"]


def test_a_retained_command_is_told_and_removed_once_and_not_obeyed(desk, caplog):
    """It would undo a pause at every reconnect. The removal comes back to us, as an empty message."""
    desk.connect()

    desk.receive("set", b"resume", retained=True)
    desk.receive("set", b"")
    desk.receive("set", b"resume", retained=True)

    assert desk.commands == []
    assert [sent[1:] for sent in desk.connection.sent if sent[1] == "set"] == [("set", b"", True)]
    assert "cam/set: a retained b'resume' is not obeyed" in caplog.text.replace("1/s/r/d/", "cam/")


def test_a_mark_above_what_was_accepted_is_refused_and_told(desk, caplog):
    """Forged or mistaken: nothing is deleted, of this boot and of earlier ones."""
    desk.connect()
    desk.frame()

    desk.receive("stored", stored_to_json({BOOT: 2**53 - 1}))

    assert desk.uplink.idle is False
    assert "is refused: this boot has accepted 1 messages" in caplog.text


def test_what_is_acknowledged_and_not_stored_for_two_minutes_is_told_until_it_is(desk, caplog):
    """No aggregator, or a broker that swallows counts: an access list, or a limit of size."""
    desk.say("ready")
    desk.connect()
    desk.receive("stored", stored_to_json({}))
    desk.receive("state", desk.payloads("state")[-1])
    desk.frame()
    for _ in range(13):
        desk.ack()
        desk.receive("stored", stored_to_json({}))
        desk.pass_s(9)
    early = desk.states()
    desk.pass_s(5)
    desk.receive("stored", stored_to_json({BOOT: 0}))
    desk.pass_s(0.2)

    assert early == ["ready"]
    assert desk.states() == ["ready", "degraded", "ready"]
    assert "acknowledged but not stored for two minutes: does the aggregator run" in caplog.text


def test_a_device_that_may_not_read_its_topics_is_told_until_it_may(desk, caplog):
    """It could not be paused either. What is retained of an earlier boot proves nothing."""
    desk.say("ready")
    desk.connect()
    for _ in range(15):
        desk.ack()
        desk.pass_s(9)
    degraded = desk.states()
    desk.receive("state", desk.payloads("state")[-1])
    desk.pass_s(0.2)

    assert degraded == ["ready", "degraded"]
    assert desk.states() == ["ready", "degraded", "ready"]
    assert "our own state does not come back" in caplog.text


def test_stopping_publishes_stopped_and_keeps_what_waits_on_disk(desk, tmp_path):
    """`stopped` is true when the broker has acknowledged the state, not before."""
    desk.say("ready")
    desk.connect()
    desk.frame()
    desk.uplink.stop("told to stop", desk.now)
    before = desk.uplink.stopped
    desk.ack()

    again = Desk(tmp_path, boot="0000000c")
    again.connect()
    again.pass_s(1.0)

    assert desk.states() == ["ready", "stopped"]
    assert (before, desk.uplink.stopped) == (False, True)
    assert again.payloads() == desk.ledger


def test_puback_confirms_where_so_configured(tmp_path):
    """And health says which."""
    desk = Desk(tmp_path, confirm="puback")
    desk.connect()
    desk.frame()

    desk.ack()

    assert desk.uplink.idle
    assert Health.from_json(desk.payloads("health")[0]).confirm == "puback"


class Recorder:
    """Instead of an uplink: writes down what it is to do."""

    def __init__(
        self, fault: Exception | None = None, hang: threading.Event | None = None, busy_ticks: int = 0
    ) -> None:
        self.log: list[str] = []
        self.ticks = 0
        self.accepted = 0
        self.stopped = False
        self._fault = fault
        self._hang = hang
        self._busy_ticks = busy_ticks

    @property
    def idle(self) -> bool:
        """After so many ticks."""
        return self.ticks >= self._busy_ticks

    def set_state(self, state, reason, now):
        """Write it down, unless it is to fail or to hang."""
        if self._fault:
            raise self._fault
        if self._hang:
            self._hang.wait(20)
        self.log.append(reason)
        self.accepted += 1

    def tick(self, now):
        """Count."""
        self.ticks += 1

    def stop(self, reason, now):
        """Write it down."""
        self.log.append(f"stop: {reason}")

    def close(self):
        """Write it down."""
        self.log.append("close")


def until(condition):
    """Wait, at most ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_everything_enqueued_is_done_in_order_before_the_stop():
    """Nothing that was counted is left behind."""
    recorder = Recorder()

    with UplinkThread(lambda call: recorder) as thread:
        for number in range(100):
            thread.set_state("ready", str(number))
        thread.stop("told to stop", timeout_s=0.1)

    assert recorder.log == [*map(str, range(100)), "stop: told to stop", "close"]
    assert thread.accepted == 100


def test_the_end_of_a_file_waits_for_everything_to_be_confirmed():
    """Within what it may take."""
    patient, hurried = Recorder(busy_ticks=6), Recorder(busy_ticks=1000)
    for recorder, drain_s in ((patient, 20.0), (hurried, 0.1)):
        with UplinkThread(lambda call, recorder=recorder: recorder) as thread:
            thread.stop("the file has ended", timeout_s=0.0, drain_s=drain_s)

    assert patient.ticks >= 6
    assert (patient.log, hurried.log) == (["stop: the file has ended", "close"],) * 2


def test_ticks_go_on_however_much_there_is_to_take():
    """A storm of events must not keep messages from the disk."""
    recorder = Recorder()

    with UplinkThread(lambda call: recorder) as thread:
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            thread.set_state("ready", "")
        ticks = recorder.ticks

    assert ticks >= 2


def fail(then) -> None:
    """Let an uplink fail at what it takes; `then` is given the thread when that has happened."""
    with UplinkThread(lambda call: Recorder(fault=RuntimeError("broken"))) as thread:
        thread.set_state("ready", "")
        until(lambda: not thread._thread.is_alive())
        then(thread)


@pytest.mark.parametrize(
    "then",
    [
        lambda thread: thread.check(),
        lambda thread: thread.stop("the file has ended", timeout_s=0.1),
        lambda thread: sys.exit(0),
    ],
    ids=["while counting", "at the end of a file", "at SIGTERM"],
)
def test_an_error_in_the_thread_ends_the_daemon_however_that_ends(then):
    """No fault may leave a daemon that looks alive and does nothing, nor an end that looks orderly."""
    with pytest.raises(RuntimeError, match="broken"):
        fail(then)


def test_a_thread_that_does_not_end_is_logged(caplog):
    """An SD card whose writes hang: what was in memory may be lost, and the journal says so."""
    hang = threading.Event()
    with UplinkThread(lambda call: Recorder(hang=hang), spare_s=0.2) as thread:
        thread.set_state("ready", "")
        thread.stop("told to stop", timeout_s=0.0)
        hang.set()

    assert "does not end" in caplog.text


def test_an_error_at_the_start_is_raised_at_the_start():
    """Such as credentials that cannot be used."""

    def make(call):
        raise ValueError("ca.crt")

    with pytest.raises(ValueError, match=r"ca\.crt"), UplinkThread(make):
        pass


def test_a_disk_that_hangs_stops_the_ticks_that_the_watchdog_goes_by():
    """Neither a frame counts as accepted nor a pause as ticking."""
    hang = threading.Event()
    with UplinkThread(lambda call: Recorder(hang=hang)) as thread:
        until(lambda: thread.ticks > 1)
        thread.set_state("ready", "")
        time.sleep(0.5)
        before = (thread.ticks, thread.accepted)
        time.sleep(1.0)
        after = (thread.ticks, thread.accepted)
        hang.set()

    assert before == after
