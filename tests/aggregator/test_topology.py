"""Rules of what is declared in a cluster, and of a configuration that asks for one."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aggregator.config import AggregatorConfig, AmqpConfig
from aggregator.ingest.topology import DEAD, HASHED, STATUS, TOPICS, counts_queues, declare, routing_key, topic_of
from contract.topics import Device
from service.config import ConfigError, load

BOTH = '[amqp]\nhosts = ["r1:5671"]\n[postgresql]\nhost = "db"\n'


@dataclass
class Declared:
    """A channel that writes down what is declared."""

    exchanges: dict[str, str] = field(default_factory=dict)
    queues: dict[str, dict[str, object]] = field(default_factory=dict)
    bindings: list[tuple[str, str, str]] = field(default_factory=list)

    def exchange_declare(self, exchange, exchange_type, *, durable):
        """Write it down."""
        assert durable
        self.exchanges[exchange] = exchange_type

    def exchange_bind(self, destination, source, routing_key):
        """Write it down."""
        assert destination in self.exchanges
        self.bindings.append((source, routing_key, destination))

    def queue_declare(self, queue, *, durable, arguments):
        """Write it down."""
        assert durable
        self.queues[queue] = arguments

    def queue_bind(self, queue, exchange, routing_key):
        """Write it down."""
        assert queue in self.queues
        self.bindings.append((exchange, routing_key, queue))


@pytest.fixture
def declared() -> Declared:
    """The topology with three queues."""
    channel = Declared()
    declare(channel, AmqpConfig(hosts=("r1:5671",), queues=3))
    return channel


def test_nothing_is_routed_before_its_queues_are_there(declared):
    """The exchange that deals counts would drop what comes before."""
    assert declared.bindings[-1] == (TOPICS, "classpulse.1.*.*.*.counts", HASHED)
    assert [queue for exchange, _, queue in declared.bindings if exchange == HASHED] == [
        f"classpulse.counts.{number}" for number in range(3)
    ]


def test_states_and_health_have_one_reader_at_a_time(declared):
    """An older word does not overtake a newer one."""
    keys = {key for exchange, key, queue in declared.bindings if (exchange, queue) == (TOPICS, STATUS)}

    assert keys == {"classpulse.1.*.*.*.state", "classpulse.1.*.*.*.health"}
    assert [name for name, arguments in declared.queues.items() if arguments.get("x-single-active-consumer")] == [
        STATUS
    ]


def test_every_queue_is_replicated_and_all_but_the_last_have_a_place_for_poison(declared):
    """What 200 deliveries did not bring into the store is set aside; what is set aside is bounded."""
    assert {arguments["x-queue-type"] for arguments in declared.queues.values()} == {"quorum"}
    assert {name for name, arguments in declared.queues.items() if "x-dead-letter-exchange" not in arguments} == {DEAD}
    assert all("x-delivery-limit" in arguments for name, arguments in declared.queues.items() if name != DEAD)
    assert "x-max-length-bytes" in declared.queues[DEAD]


def test_topics_survive_the_way_through_amqp():
    """A dot stands for a slash; no id has one."""
    topic = Device("school", "r-1", "cam").topic("counts")

    assert routing_key(topic) == "classpulse.1.school.r-1.cam.counts"
    assert topic_of(routing_key(topic)) == topic


def configuration(folder: Path, text: str) -> AggregatorConfig:
    """From a file."""
    path = folder / "aggregator.toml"
    path.write_text(f'site = "school"\n{text}[mqtt]\nhost = "broker"\n')
    return load(path, AggregatorConfig)


def test_a_configuration_without_a_cluster_is_as_small_as_before(tmp_path):
    """The default is mosquitto and SQLite."""
    config = configuration(tmp_path, "")

    assert config.amqp is None
    assert config.postgresql is None


def test_a_cluster_needs_two_sections(tmp_path):
    """Defaults do the rest."""
    config = configuration(tmp_path, BOTH)

    assert counts_queues(config.amqp) == [f"classpulse.counts.{number}" for number in range(8)]
    assert config.postgresql.tls


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[amqp]\nhosts = ["r1:5671"]\n', "belong together"),
        ('[postgresql]\nhost = "db"\n', "belong together"),
        (BOTH + "[home_assistant]\nenabled = true\n", "retained"),
        ('[amqp]\nhosts = []\n[postgresql]\nhost = "db"\n', r"amqp\.hosts = \[\]: expected `array` of length >= 1"),
        ('[amqp]\nhosts = ["r1"]\n[postgresql]\nhost = "db"\n', "'r1', which is no host:port"),
        ('[amqp]\nhosts = ["r1:1"]\nqueues = 0\n[postgresql]\nhost = "db"\n', "queues = 0"),
        ('[amqp]\nhosts = ["r1:1"]\n[postgresql]\nhost = ""\n', "postgresql.host = '': expected `str` of length >= 1"),
    ],
)
def test_what_does_not_go_together_stops_the_start(tmp_path, text, said):
    """With the file's name and what is wrong."""
    with pytest.raises(ConfigError, match=said) as caught:
        configuration(tmp_path, text)

    assert "aggregator.toml" in str(caught.value)


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_daemon_loads_a_clusters_libraries_only_for_a_cluster():
    """A school's aggregator neither needs nor loads them."""
    assert python("import sys, aggregator.__main__; print({'pika', 'psycopg'} & sys.modules.keys())") == "set()\n"


@pytest.mark.parametrize(
    ("library", "opened"),
    [
        ("psycopg", "aggregator.store.factory.open_store(config)"),
        ("pika", "aggregator.ingest.daemon.open_source(config)"),
    ],
)
def test_a_library_that_is_missing_is_named_with_how_to_install_it(tmp_path, library, opened):
    """A traceback would not say that they are an extra."""
    configuration(tmp_path, BOTH)
    code = f"""
import pathlib, sys
sys.modules["{library}"] = None
import aggregator.ingest.daemon, aggregator.store.factory
from aggregator.config import AggregatorConfig
from service.config import ConfigError, load
config = load(pathlib.Path("{tmp_path}/aggregator.toml"), AggregatorConfig)
try:
    {opened}
except ConfigError as error:
    print(error)
"""

    assert "pip install 'classpulse[aggregator,cluster]'" in python(code)
