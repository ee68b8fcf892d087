"""Rules of the aggregator's loop, with a source made of lists."""

from dataclasses import replace
from pathlib import Path

import pytest

from aggregator.analysis.cards import read_cards
from aggregator.analysis.mix import Estimator
from aggregator.analysis.rooms import Rooms
from aggregator.analysis.summary import Summary
from aggregator.config import (
    AggregatorConfig,
    AmqpConfig,
    HomeAssistantConfig,
    MqttConfig,
    PostgresqlConfig,
    StoreConfig,
    SummaryConfig,
)
from aggregator.ingest import daemon
from aggregator.ingest.batch import RawMessage
from aggregator.ingest.daemon import Aggregator, own_state
from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import StoreUnavailableError
from contract.message import State, stored_from_json
from tests.health import health_at

NOW = 1_795_000_000.0


class Script:
    """A source that gives these batches and ends, and writes down what is published and acknowledged."""

    connected = True
    problem = ""

    def __init__(self, *batches: list[RawMessage]) -> None:
        self.events: list[str] = []
        self.published: list[tuple[str, bytes, bool]] = []
        self._batches = batches
        self.on_connected = lambda: None

    def batches(self):
        """The batches, then SIGTERM's SystemExit."""
        self.on_connected()
        for number, items in enumerate(self._batches):
            yield items, lambda _dropped, number=number: self.events.append(f"acknowledged {number}")
        raise SystemExit(0)

    def publish(self, topic: str, payload: bytes, *, retain: bool, qos: int = 1) -> None:
        """Write it down."""
        self.published.append((topic, payload, retain))

    def serve(self, span_s: float) -> None:
        """Wait for nobody."""
        self.events.append("waited")

    def states(self) -> list[State]:
        """What the aggregator said of itself."""
        return [State.from_json(payload) for topic, payload, _ in self.published if topic.endswith("aggregator/state")]


class SickStore(SqliteStore):
    """A store whose disk is full for the first `failures` commits."""

    failures = 0
    failing_reads = 0
    failing_starts = 0

    def commit(self, batch):
        """Fail, or not any more."""
        self._fail("failures", "database or disk is full")
        return super().commit(batch)

    def stored(self, device):
        """The same for reads."""
        self._fail("failing_reads", "database is locked")
        return super().stored(device)

    def devices(self):
        """The same at the start."""
        self._fail("failing_starts", "database is locked")
        return super().devices()

    def _fail(self, counter, text):
        if getattr(self, counter):
            setattr(self, counter, getattr(self, counter) - 1)
            raise StoreUnavailableError(f"store.sqlite: {text}")


@pytest.fixture
def config(tmp_path: Path) -> AggregatorConfig:
    """The smallest."""
    store = StoreConfig(path=tmp_path / "store.sqlite")
    return AggregatorConfig(site="school", mqtt=MqttConfig(host="-"), store=store, summary=SummaryConfig(every_s=0.2))


def run(config: AggregatorConfig, source: Script, failures: int = 0, now: float = NOW, clock=None) -> Aggregator:
    """Run until the script ends."""
    with SickStore(config.store.path) as store:
        store.failures = failures
        aggregator = Aggregator(
            config, store, source, Rooms(Estimator({}), config.attention), clock=clock or (lambda: now)
        )
        with pytest.raises(SystemExit):
            aggregator.run()
    return aggregator


def test_a_batch_is_acknowledged_once_it_is_stored_and_its_device_told(config, device, item, message):
    """After the commit come the acknowledgement, `stored` and the room's summary, the last two retained."""
    source = Script([item(device, message(0)), item(device, message(1))], [])

    aggregator = run(config, source)

    told = {topic: (payload, retain) for topic, payload, retain in source.published}
    assert source.events == ["acknowledged 0"]
    assert stored_from_json(told[device.topic("stored")][0]) == {"9f3a2c41": 1}
    assert Summary.from_json(told[device.where.topic("summary")][0]).where == device.where
    assert told[device.topic("stored")][1]
    assert told[device.where.topic("summary")][1]
    assert (aggregator.stats.messages, aggregator.stats.duplicates) == (2, 0)


def test_nothing_is_acknowledged_while_the_disk_is_full(config, device, item, message):
    """The batch waits, the state says why, and afterwards it is ready again."""
    source = Script([item(device, message(0))], [])

    aggregator = run(config, source, failures=2)

    assert source.events == ["waited", "waited", "acknowledged 0"]
    assert [said.state for said in source.states()] == ["ready", "degraded", "ready", "stopped"]
    assert "disk is full" in source.states()[1].reason
    assert aggregator.stats.messages == 1


class Seconds:
    """A monotonic clock that is a quarter of a second further at every batch of a script."""

    def __init__(self, source: Script) -> None:
        self._source = source

    def monotonic(self) -> float:
        """Seconds."""
        return len(self._source.events) / 4


def test_a_device_is_told_twice_a_second_and_not_more_often(config, device, item, message, monkeypatch):
    """A fast camera does not make the broker write a retained message per batch."""
    source = Script(*([item(device, message(seq))] for seq in range(12)))
    monkeypatch.setattr(daemon, "time", Seconds(source))

    run(config, source)

    stored = [stored_from_json(payload) for topic, payload, _ in source.published if topic == device.topic("stored")]
    assert stored == [{"9f3a2c41": seq} for seq in (0, 2, 4, 6, 8, 10)]


def test_a_restart_says_what_is_stored(config, device, item, message):
    """A kill after the commit and before `stored` must not leave a device waiting."""
    run(config, Script([item(device, message(0))]))
    source = Script([])

    run(config, source)

    (told,) = [payload for topic, payload, _ in source.published if topic == device.topic("stored")]
    assert stored_from_json(told) == {"9f3a2c41": 0}


def test_what_is_dropped_is_counted_by_reason_and_acknowledged(config, device):
    """A poison message must not come back for ever."""
    source = Script([RawMessage(device.topic("counts"), b"{", 0.0), RawMessage("?", b"", 0.0)])

    aggregator = run(config, source)

    assert aggregator.stats.reasons == {"json": 1, "topic": 1}
    assert source.events == ["acknowledged 0"]


def test_a_restart_goes_on_with_the_lesson(config, device, item, counted, message, now):
    """Summaries after a restart know the windows from before."""
    run(config, Script([item(device, message(seq, counted(now, 5))) for seq in range(10)]))
    source = Script([])

    run(config, source)

    (summary,) = [payload for topic, payload, _ in source.published if topic.endswith("summary")]
    assert Summary.from_json(summary).recent.frames == 10


@pytest.mark.parametrize(("word", "cleared"), [("lost", True), ("stopped", True), ("paused", False)])
def test_a_room_without_lesson_and_camera_has_no_summary(config, device, word, cleared):
    """Nothing stays retained of a room whose device was revoked or moved; one that is paused may begin a lesson."""
    source = Script([RawMessage(device.topic("state"), own_state(word).to_json(), NOW)])

    run(config, source)

    (payload,) = {payload for topic, payload, _ in source.published if topic.endswith("summary")}
    assert (payload == b"") == cleared


def test_what_comes_right_after_a_restart_is_counted_once_and_with_the_lesson(
    config, device, item, counted, message, now
):
    """The room is read from the store after its first message was committed: the store has that, too."""
    run(config, Script([item(device, message(seq, counted(now, 5))) for seq in range(10)]))
    source = Script([item(device, message(10, counted(now, 5)))])

    run(config, source)

    summaries = [payload for topic, payload, _ in source.published if topic.endswith("summary")]
    assert {Summary.from_json(each).lesson.frames for each in summaries} == {11}


def test_a_room_that_waits_to_be_read_is_not_summarised_without_its_past(config, device, item, message, monkeypatch):
    """A thousand rooms are read one after another, and a summary without the lesson before would be wrong."""
    run(config, Script([item(device, message(seq)) for seq in range(10)]))
    monkeypatch.setattr("aggregator.ingest.daemon._PUBLISH_S", 0.0)  # no time for any room
    source = Script([item(device, message(10))], [])

    run(config, source)

    assert [topic for topic, _, _ in source.published if topic.endswith("summary")] == []


def test_files_that_are_no_cards_are_left_out(tmp_path, caplog):
    """A wrong card in the folder is said and does not keep the aggregator from starting."""
    (tmp_path / "metrics.json").write_text("{}")

    assert read_cards(tmp_path) == {}
    assert "metrics.json: missing key" in caplog.text
    assert read_cards(tmp_path / "missing") == {}


def test_a_lasting_change_is_published_once_and_not_retained(config, device, item, counted, message, now):
    """An event is news: who subscribes later does not get it."""
    mixes = [(10, 10)] * 90 + [(0, 20)] * 13
    times = [now - 10 * (len(mixes) - number) for number in range(len(mixes))]
    frames = [counted(at, 0, 0, 0, *mix[:1], 0, 0, *mix[1:]) for at, mix in zip(times, mixes, strict=True)]
    source = Script([item(device, message(seq, frame)) for seq, frame in enumerate(frames)], [])

    run(config, source)

    told = [retain for topic, _, retain in source.published if topic == device.where.topic("events")]
    assert told == [False]


def test_home_assistant_is_told_again_what_a_broker_has_lost(config, device, item, message):
    """Once a connection, for a broker that starts anew may have lost what it retained; and of each new camera."""
    now = [NOW]
    source = Script([item(device, message(0))], [])
    config = replace(config, home_assistant=HomeAssistantConfig(enabled=True))
    aggregator = run(config, source, clock=lambda: now[0])

    def discoveries():
        now[0] += 60
        aggregator._publish_rooms()
        return sum(topic.startswith("homeassistant/") for topic, _, _ in source.published)

    assert discoveries() == 1
    assert discoveries() == 1
    source.on_connected()
    assert discoveries() == 2
    aggregator._rooms[device.where].devices["cam2"] = source.states()[0]
    assert discoveries() == 3


def test_a_clock_that_jumps_deletes_nothing_although_it_was_right_before(
    config, device, item, message, now, monkeypatch
):
    """A device agreed a moment ago, with another time: that is no agreement with this one."""
    monkeypatch.setattr("aggregator.ingest.daemon._EXPIRE_S", 0.0)
    later = now + 400 * 86400
    source = Script([item(device, message(0))], [], [item(device, message(1), later)], [])

    aggregator = run(config, source, clock=lambda: later if source.events else now)

    assert aggregator.stats.messages == 1  # the second is too old, by the clock that jumped
    with SqliteStore(config.store.path) as store:
        assert store.windows("school", "r1", 0, int(later))


def test_nothing_is_forgotten_before_a_device_agrees_with_the_clock(config, device, item, counted, message, now):
    """A server whose battery died must not take all lessons for ten years old."""
    later = now + 3650 * 86400
    run(config, Script([item(device, message(0))], []))

    run(config, Script([item(device, message(1), later)], []), now=later)
    with SqliteStore(config.store.path) as store:
        assert store.windows("school", "r1", 0, int(later))

    run(config, Script([item(device, message(2, counted(later, 1)), later)], []), now=later)
    with SqliteStore(config.store.path) as store:
        assert [key.start for key, _ in store.windows("school", "r1", 0, int(later) + 10)] == [int(later)]


def test_a_subscription_that_the_broker_refused_makes_it_degraded(config, device, item, message):
    """It would look healthy and get nothing."""
    source = Script([item(device, message(0))], [])
    source.problem = "the broker refused the subscription to x"

    run(config, source)

    assert [(said.state, said.reason) for said in source.states()][-2:] == [
        ("degraded", source.problem),
        ("stopped", ""),
    ]


def test_a_store_that_cannot_be_read_for_a_moment_delays_stored(config, device, item, message, monkeypatch):
    """One failed read is no reason to end: it is degraded, and what was not published stays due."""
    monkeypatch.setattr(SickStore, "failing_reads", 3)
    source = Script([item(device, message(0))], [], [], [])

    run(config, source)

    told = [payload for topic, payload, _ in source.published if topic == device.topic("stored")]
    assert [stored_from_json(payload) for payload in told] == [{"9f3a2c41": 0}]
    assert [said.state for said in source.states()] == ["ready", "degraded", "ready", "stopped"]


def test_a_store_that_cannot_be_read_at_the_start_is_waited_for(config, device, item, message, monkeypatch):
    """A lock at boot is no reason to end."""
    run(config, Script([item(device, message(0))]))
    monkeypatch.setattr(SickStore, "failing_starts", 2)
    source = Script([])

    run(config, source)

    assert source.events == ["waited", "waited"]
    assert [topic for topic, _, _ in source.published if topic == device.topic("stored")]


def test_lost_messages_are_counted_and_logged(config, device, item, message, caplog):
    """A hole is no secret: somebody restored a backup, or an outbox was deleted."""
    source = Script(
        [item(device, message(0)), item(device, message(5))],
        [RawMessage(device.topic("health"), health("stored", 5), NOW)],
    )

    aggregator = run(config, source)

    assert aggregator.stats.lost == {device: 4}
    assert "school/r1/cam: 4 messages are lost: not stored, and the device has them no more" in caplog.messages


def test_a_daemon_that_was_killed_is_told_even_if_the_aggregator_was_away(config, device, caplog):
    """What it took in its last second may be lost, and nobody knows how many messages that were."""
    said = [
        RawMessage(device.topic("state"), own_state("ready", boot=boot).to_json(), NOW) for boot in ("0a" * 4, "0b" * 4)
    ]
    run(config, Script(said[:1]))

    aggregator = run(config, Script(said[1:]))

    assert aggregator.stats.cuts == {device: 1}
    assert "school/r1/cam: boot 0a0a0a0a ended without a goodbye before boot 0b0b0b0b" in caplog.text


def health(confirm: str, first: int | None = None) -> bytes:
    """Of a device that is well."""
    return health_at(NOW, confirm=confirm, outbox_first={} if first is None else {"9f3a2c41": first}).to_json()


def test_a_device_that_waits_for_stored_is_named_in_a_cluster(config, device, caplog):
    """It would keep everything and send it again for ever; it is named once."""
    cluster = replace(config, amqp=AmqpConfig(hosts=("r1:5671",)), postgresql=PostgresqlConfig(host="db"))
    waiting = RawMessage(device.topic("health"), health("stored"), NOW)

    run(cluster, Script([waiting], [waiting]))
    run(cluster, Script([RawMessage(device.topic("health"), health("puback"), NOW)]))

    assert [record.message for record in caplog.records if "confirm" in record.message] == [
        'school/r1/cam needs [outbox] confirm = "puback": a cluster publishes no `stored`'
    ]
