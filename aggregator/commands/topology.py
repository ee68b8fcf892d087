"""What has to be declared in a RabbitMQ cluster: `classpulse-aggregator topology`. Declaring it again changes nothing.

The MQTT plugin publishes everything to amq.topic, with dots for slashes. From there

    counts          -> classpulse.parts (consistent hash of the topic) -> classpulse.counts.0 … : one device, one queue
    state, health   -> classpulse.spoken, read by one worker at a time, so that no older word overtakes a newer one
    what a worker rejects, or no worker survives -> classpulse.dead

Pure but for the channel that the caller brings.
"""

import argparse
from typing import Protocol

from aggregator.config import AggregatorConfig, AmqpConfig
from contract.topics import every_device
from service.config import ConfigError, load

SOURCE = "amq.topic"
"""Where the MQTT plugin publishes, and from where it delivers."""
PARTS = "classpulse.parts"
SPOKEN = "classpulse.spoken"
DEAD = "classpulse.dead"
_DELIVERY_LIMIT = 200
"""A message that so many workers died or lost their connection with is set aside. A node that goes takes one of them
from whatever is under way, so this must be far more than a bad day has."""
_DEAD_BYTES = 256 * 2**20
_DEAD_MS = 30 * 86_400_000
_QUORUM: dict[str, object] = {"x-queue-type": "quorum", "x-queue-leader-locator": "balanced"}
_AT_WORK = _QUORUM | {
    "x-delivery-limit": _DELIVERY_LIMIT,
    "x-dead-letter-exchange": DEAD,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",  # what that strategy asks for; there is no bound of length to overflow
}


class Channel(Protocol):
    """What an AMQP channel does here."""

    def exchange_declare(self, exchange: str, exchange_type: str, *, durable: bool) -> object:
        """Make an exchange, or check that it is one like this."""

    def exchange_bind(self, destination: str, source: str, routing_key: str) -> object:
        """Have messages of one exchange go through another."""

    def queue_declare(self, queue: str, *, durable: bool, arguments: dict[str, object]) -> object:
        """Make a queue, or check that it is one like this."""

    def queue_bind(self, queue: str, exchange: str, routing_key: str) -> object:
        """Have messages of an exchange come into a queue."""


def counts_queues(config: AmqpConfig) -> list[str]:
    """The queues that share the devices."""
    return [f"classpulse.counts.{number}" for number in range(config.queues)]


def routing_key(topic: str) -> str:
    """A topic, or a pattern of topics, as the MQTT plugin writes it."""
    return topic.replace("/", ".").replace("+", "*")


def topic_of(key: str) -> str:
    """The topic of a routing key."""
    return key.replace(".", "/")


def declare(channel: Channel, config: AmqpConfig) -> None:
    """Exchanges, queues and bindings; what is there stays as it is."""
    _queue(channel, DEAD, _QUORUM | {"x-max-length-bytes": _DEAD_BYTES, "x-message-ttl": _DEAD_MS})
    _exchange(channel, DEAD, "fanout")
    channel.queue_bind(DEAD, DEAD, "")
    _queue(channel, SPOKEN, _AT_WORK | {"x-single-active-consumer": True})
    for kind in ("state", "health"):
        channel.queue_bind(SPOKEN, SOURCE, routing_key(every_device(kind)))
    _exchange(channel, PARTS, "x-consistent-hash")
    for queue in counts_queues(config):
        _queue(channel, queue, _AT_WORK)
        channel.queue_bind(queue, PARTS, "1")  # for this type of exchange the key is a weight
    # Last: before its queues are there, the exchange would drop what comes.
    channel.exchange_bind(PARTS, SOURCE, routing_key(every_device("counts")))


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the command its arguments."""
    parser.add_argument(
        "--replay", action="store_true", help=f"also give what was set aside in {DEAD} to the workers again, once"
    )


def run(arguments: argparse.Namespace) -> int:
    """Declare everything; the exit code."""
    config = load(arguments.config, AggregatorConfig)
    if config.amqp is None:
        raise ConfigError(f"{arguments.config}: there is no [amqp], so there is nothing to declare")
    from aggregator.ingest.amqp_link import declared, replayed  # noqa: PLC0415 - its client library is an extra

    declared(config.amqp, config.credentials)
    print(f"declared: {PARTS} with {config.amqp.queues} queues, {SPOKEN}, {DEAD}")
    if arguments.replay:
        print(f"given again: {replayed(config.amqp, config.credentials)} messages")
    return 0


def _exchange(channel: Channel, name: str, kind: str) -> None:
    channel.exchange_declare(name, kind, durable=True)


def _queue(channel: Channel, name: str, arguments: dict[str, object]) -> None:
    channel.queue_declare(name, durable=True, arguments=arguments)
