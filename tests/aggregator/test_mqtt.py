"""Rules of the MQTT source, with a broker that says what a real one says rarely."""

import logging
import time
from pathlib import Path

import pytest

from aggregator.config import MqttConfig
from aggregator.ingest.mqtt import MqttSource
from contract.topics import every_device
from tests.aggregator.fake_broker import FakeBroker

WILL = ("classpulse/1/school/aggregator/state", b"lost")


@pytest.fixture
def source_at(tmp_path: Path):
    """`source_at(broker, batch)`: a source that is connected or about to be; closed at the end, with its broker."""
    opened = []

    def connect(broker: FakeBroker, batch: int = 1000) -> MqttSource:
        config = MqttConfig(host=broker.host, port=broker.port, tls=False, batch=batch)
        opened.append((MqttSource(config, tmp_path, WILL), broker))
        return opened[-1][0]

    yield connect
    for source, broker in opened:
        source.__exit__()
        broker.close()


def serve_until(source: MqttSource, condition) -> None:
    """Serve until the condition holds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        source.serve(0.02)


def test_a_slow_store_leaves_messages_in_the_broker(source_at):
    """While a full batch waits, nothing more is read: memory stays bounded, and the broker keeps the rest."""
    flood = [("classpulse/1/school/r1/cam/counts", b"%d" % number) for number in range(500)]
    source = source_at(FakeBroker(flood=flood), batch=10)

    serve_until(source, lambda: source.connected)
    source.serve(1.0)  # the store is slow
    assert len(source._messages) == 10
    batches = source.batches()
    first, _ = next(batches)
    second, _ = next(batches)

    assert [message.payload for message in first] == [b"%d" % number for number in range(10)]
    assert [message.payload for message in second] == [b"%d" % number for number in range(10, 20)]


def test_messages_are_acknowledged_only_when_the_caller_says_so(source_at):
    """What is not in the store yet is the broker's."""
    broker = FakeBroker(flood=[("classpulse/1/school/r1/cam/counts", b"")] * 3)
    source = source_at(broker)

    batches = source.batches()
    messages, acknowledge = next(batches)
    while len(messages) < 3:
        messages, acknowledge = next(batches)
    source.serve(0.2)
    before = broker.acknowledged
    acknowledge([])
    serve_until(source, lambda: broker.acknowledged == 3)

    assert before == 0


def test_a_refused_subscription_is_a_problem_until_it_is_granted(source_at, caplog):
    """A broker whose access list lacks a topic accepts the connection and then sends nothing."""
    caplog.set_level(logging.ERROR)
    refused = every_device("counts")
    source, good = source_at(FakeBroker(refused=(refused,))), source_at(FakeBroker())

    serve_until(source, lambda: source.problem)
    serve_until(good, lambda: good.connected)
    good.serve(0.2)

    assert source.problem == f"the broker refused the subscription to {refused}"
    assert [record.message for record in caplog.records] == [
        f"{source.problem}: its access list must let this client read them"
    ]
    assert not good.problem
