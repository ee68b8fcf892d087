"""The courier: live messages at once, everything until it is confirmed, and a broker that is silent is left."""

from datetime import UTC, datetime, timedelta

import pytest

from contract.message import CountsMessage, FrameCounts, Health, State, instant, stored_to_json
from contract.topics import Device
from edge.config import CameraConfig, EdgeConfig, MqttConfig, OutboxConfig, PublishConfig
from edge.health import Vitals
from edge.uplink.courier import CONNECTING_S, SILENT_S, About, Courier, Frames, Status, Surroundings
from edge.uplink.outbox import Outbox
from edge.uplink.publisher import Acked, Down, Heard, Up

T0 = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
BOOT = "0000000b"


class ListLink:
    """A connection that writes down what it is told to do."""

    def __init__(self) -> None:
        self.connection = 0
        self.sent: list[tuple[Acked, str, bytes, bool]] = []
        self.log: list[str] = []

    def open(self):
        """Begin another connection."""
        self.connection += 1
        self.log.append("open")

    def send(self, kind, payload, *, retain):
        """Write a message down."""
        receipt = Acked(self.connection, len(self.sent) + 1)
        self.sent.append((receipt, kind, payload, retain))
        return receipt

    def drop(self):
        """Write it down; nothing that this connection still tells is heard."""
        self.connection += 1
        self.log.append("drop")

    def close(self):
        """Write it down."""
        self.log.append("close")


class Desk:
    """A courier between a real outbox and a ListLink, and a clock set by hand."""

    def __init__(self, tmp_path, boot: str = BOOT, confirm: str = "stored", **mqtt: float) -> None:
        self.now = 0.0
        self.link = ListLink()
        self.orders: list[str] = []
        self.ledger: list[bytes] = []
        self.config = EdgeConfig(
            device=Device("s", "r", "d"),
            camera=CameraConfig("pi"),
            mqtt=MqttConfig(host="broker", **mqtt),
            publish=PublishConfig(health_s=30),
            outbox=OutboxConfig(confirm=confirm),
        )
        self.outbox = Outbox(tmp_path / "outbox.sqlite", self.config.outbox, boot, 0.0)
        around = Surroundings(lambda: (T0 + timedelta(seconds=self.now), True), self.orders.append, self.ledger.append)
        about = About(version="0.1", model=None, min_faces=5, boot=boot)
        vitals = Vitals(boot, confirm, lambda: 0, 0.0)
        self.courier = Courier(self.config, about, self.outbox, self.link, vitals, around)

    def connect(self) -> None:
        """Have it connect, and the broker accept."""
        self.courier.tick(self.now)
        self.take(Up(self.link.connection))

    def take(self, *events) -> None:
        """Let things happen now."""
        for event in events:
            self.courier.take(event, self.now)

    def frame(self) -> None:
        """Count a frame."""
        self.take(Frames((FrameCounts(t=instant(T0 + timedelta(seconds=self.now)), faces=3),), synced=True))

    def pass_s(self, seconds: float, step_s: float = 0.2) -> None:
        """Let time pass, with a tick at every step."""
        until = self.now + seconds
        while self.now < until:
            self.now = round(self.now + step_s, 3)
            self.courier.tick(self.now)

    def ack(self) -> None:
        """PUBACK for everything sent over this connection."""
        for receipt, *_ in list(self.link.sent):
            self.take(receipt)

    def payloads(self, kind: str = "counts") -> list[bytes]:
        """What was sent to a topic."""
        return [payload for _, sent, payload, _ in self.link.sent if sent == kind]

    def states(self) -> list[str]:
        """The states that were published."""
        return [State.from_json(payload).state for payload in self.payloads("state")]


@pytest.fixture
def desk(tmp_path):
    """One at its defaults."""
    return Desk(tmp_path)


def test_a_message_is_sent_when_it_is_accepted_and_written_into_the_ledger(desk):
    """No tick between frame and broker."""
    desk.connect()

    desk.frame()

    assert desk.payloads() == desk.ledger
    assert desk.courier.accepted == 1


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
    desk.take(Status("ready", ""))
    desk.connect()
    desk.frame()
    desk.ack()
    desk.pass_s(31)

    retained = {kind: retain for _, kind, _, retain in desk.link.sent}
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
    dropped = "drop" in desk.link.log
    desk.pass_s(3)
    desk.connect()
    desk.pass_s(1)

    assert dropped
    assert desk.link.log.count("open") >= 2
    assert desk.payloads().count(desk.ledger[0]) == 2


def test_an_end_that_is_told_twice_is_one_end(desk, caplog):
    """A refusal is followed by a disconnect; neither the log nor the waiting doubles."""
    desk.courier.tick(0.0)

    desk.take(Down(1, "refused: Not authorized"), Down(1, "connection lost"))

    assert caplog.text.count("next attempt") == 1


def test_an_attempt_without_an_answer_is_given_up(desk):
    """A broker that accepts the connection and says nothing."""
    desk.courier.tick(0.0)

    desk.pass_s(CONNECTING_S + 5)

    assert desk.link.log[:3] == ["open", "drop", "open"]


def test_an_answer_that_comes_after_it_was_given_up_is_not_heard(desk):
    """There is no connection to send anything over."""
    desk.courier.tick(0.0)
    late = desk.link.connection
    desk.pass_s(CONNECTING_S + 0.2)

    desk.take(Up(late), Status("ready", ""))

    assert desk.link.log == ["open", "drop"]
    assert desk.link.sent == []


def test_what_an_old_connection_still_tells_is_not_heard(desk):
    """A late PUBACK must not confirm a message of the next connection with the same number."""
    desk.connect()
    desk.take(Down(1, "gone"))
    desk.pass_s(3)
    desk.connect()
    desk.frame()

    desk.take(Down(1, "old news"), Acked(1, 1), Acked(1, 2), Acked(1, 3))
    drops = desk.link.log.count("drop")
    desk.pass_s(SILENT_S + 1)

    assert drops == 1
    assert desk.link.log.count("drop") == 2  # for want of a PUBACK


def test_stored_ends_the_waiting(desk):
    """The aggregator's word, and nothing is sent again."""
    desk.connect()
    desk.frame()
    desk.frame()
    desk.ack()

    desk.take(Heard(1, "stored", stored_to_json({BOOT: 1})))

    assert desk.courier.idle
    assert Health.from_json(desk.payloads("health")[0]).confirm == "stored"


def test_a_reconnect_sends_the_unconfirmed_again_byte_for_byte(desk):
    """PUBACK is not durability."""
    desk.connect()
    for _ in range(3):
        desk.frame()
    desk.ack()
    desk.take(Heard(1, "stored", stored_to_json({BOOT: 0})))
    desk.take(Down(1, "gone"))
    desk.pass_s(3)
    first = len(desk.payloads())

    desk.connect()
    desk.pass_s(1)

    assert desk.payloads()[first:] == desk.ledger[1:]


def test_replay_is_rate_limited_and_live_messages_do_not_wait_for_it(tmp_path):
    """A thousand messages of an outage: live ones are sent in the instant in which they are accepted."""
    desk = Desk(tmp_path, replay_hz=100)
    for _ in range(1000):
        desk.frame()
    desk.pass_s(1.0)
    desk.connect()
    for _ in range(50):
        desk.pass_s(0.1, step_s=0.1)
        desk.frame()
        assert desk.payloads()[-1] == desk.ledger[-1]
        desk.ack()

    replayed = len(desk.payloads()) - 50

    assert 400 <= replayed <= 600


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
    desk.take(Heard(1, "stored", stored_to_json({"0000000a": 0})))
    desk.pass_s(1.0)

    assert sent == ["0000000a"]
    assert desk.courier.idle


def test_its_own_last_will_is_contradicted_while_alive(desk):
    """The will of a connection that ended after this one began."""
    desk.take(Status("ready", ""))
    desk.connect()
    lost = About(version="0.1", model=None, min_faces=5, boot=BOOT).state("lost", "")
    own = desk.payloads("state")[0]

    desk.take(Heard(1, "state", own), Heard(1, "state", lost), Heard(1, "state", own))

    assert desk.states() == ["ready", "ready"]


def test_a_stop_that_another_process_said_is_contradicted_while_alive_and_its_own_is_not(desk):
    """A second daemon, started by hand with a faulty file, says `stopped` in this one's name."""
    desk.take(Status("ready", ""))
    desk.connect()
    other = About(version="0.1", model=None, min_faces=5, boot="0000000a").state("stopped", "no camera")

    desk.take(Heard(1, "state", other))
    desk.courier.leave("told to stop", desk.now)
    desk.take(Heard(1, "state", desk.payloads("state")[-1]))

    assert desk.states() == ["ready", "ready", "stopped"]


def test_the_state_is_said_again_on_every_connection_and_only_then(desk):
    """Retained: no need to repeat it."""
    desk.take(Status("ready", ""))
    desk.connect()
    desk.take(Status("ready", ""))
    desk.pass_s(5)
    desk.take(Down(1, "gone"))
    desk.pass_s(3)
    desk.connect()

    assert desk.states() == ["ready", "ready"]


def test_a_disk_that_cannot_be_written_is_a_degraded_state_until_it_can(tmp_path):
    """Somebody should look; the counting goes on. It can once nothing failed for five seconds after an attempt."""
    folder = tmp_path / "gone"
    desk = Desk(folder)
    desk.take(Status("ready", ""))
    desk.connect()
    folder.mkdir()
    desk.ack()
    desk.pass_s(11)

    assert desk.states() == ["degraded", "ready"]


def test_orders_are_passed_on_and_nonsense_is_not(desk):
    """`set` is plain text: pause or resume."""
    desk.connect()

    desk.take(*(Heard(1, "set", payload) for payload in (b"pause", b"explode", b"", b"\xff", b"resume\n")))
    desk.take(Heard(1, "stored", b"{"), Heard(1, "state", b"?"))

    assert desk.orders == ["pause", "resume"]


def test_leaving_says_stopped_and_keeps_what_waits_on_disk(desk, tmp_path):
    """`left` is true when the broker has the word, not before."""
    desk.take(Status("ready", ""))
    desk.connect()
    desk.frame()
    desk.courier.leave("told to stop", desk.now)
    before = desk.courier.left
    desk.ack()

    again = Desk(tmp_path, boot="0000000c")
    again.connect()
    again.pass_s(1.0)

    assert desk.states() == ["ready", "stopped"]
    assert (before, desk.courier.left) == (False, True)
    assert again.payloads() == desk.ledger


def test_puback_confirms_where_so_configured(tmp_path):
    """And health says which."""
    desk = Desk(tmp_path, confirm="puback")
    desk.connect()
    desk.frame()

    desk.ack()

    assert desk.courier.idle
    assert Health.from_json(desk.payloads("health")[0]).confirm == "puback"
