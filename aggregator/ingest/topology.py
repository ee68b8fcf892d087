"""Exchanges and queues of a RabbitMQ cluster. Declaring them again changes nothing.

The MQTT plugin publishes everything to amq.topic, with dots for slashes. From there

    counts          -> classpulse.parts (consistent hash of the topic) -> classpulse.counts.0 … : one device, one queue
    state, health   -> classpulse.spoken, read by one worker at a time, so that no older status overtakes a newer one
    what a worker rejects, or no worker survives -> classpulse.dead

Pure but for the channel that the caller brings.
"""

from typing import Any

from aggregator.config import AmqpConfig
from contract.topics import every_device

TOPICS = "amq.topic"
"""Where the MQTT plugin publishes, and from where it delivers."""
HASHED = "classpulse.parts"
"""The exchange that gives one device always the same queue."""
STATUS = "classpulse.spoken"
DEAD = "classpulse.dead"
_DELIVERY_LIMIT = 200
"""A message that so many workers died or lost their connection with becomes a dead letter. A node that stops uses up
one delivery of whatever is under way, so this must be far more than a bad day has."""
_DEAD_BYTES = 256 * 2**20
_DEAD_MS = 30 * 86_400_000
_QUORUM: dict[str, object] = {"x-queue-type": "quorum", "x-queue-leader-locator": "balanced"}
_WORK_QUEUE = _QUORUM | {
    "x-delivery-limit": _DELIVERY_LIMIT,
    "x-dead-letter-exchange": DEAD,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",  # what that strategy asks for; there is no bound of length to overflow
}


def counts_queues(config: AmqpConfig) -> list[str]:
    """The queues that share the devices."""
    return [f"classpulse.counts.{number}" for number in range(config.queues)]


def routing_key(topic: str) -> str:
    """A topic, or a pattern of topics, as the MQTT plugin writes it."""
    return topic.replace("/", ".").replace("+", "*")


def topic_of(key: str) -> str:
    """The topic of a routing key."""
    return key.replace(".", "/")


def declare(channel: Any, config: AmqpConfig) -> None:
    """Exchanges, queues and bindings, through a channel of pika; what is there stays as it is."""
    _queue(channel, DEAD, _QUORUM | {"x-max-length-bytes": _DEAD_BYTES, "x-message-ttl": _DEAD_MS})
    channel.exchange_declare(DEAD, "fanout", durable=True)
    channel.queue_bind(DEAD, DEAD, "")
    _queue(channel, STATUS, _WORK_QUEUE | {"x-single-active-consumer": True})
    for kind in ("state", "health"):
        channel.queue_bind(STATUS, TOPICS, routing_key(every_device(kind)))
    channel.exchange_declare(HASHED, "x-consistent-hash", durable=True)
    for queue in counts_queues(config):
        _queue(channel, queue, _WORK_QUEUE)
        channel.queue_bind(queue, HASHED, "1")  # for this type of exchange the key is a weight
    # Last: before its queues are there, the exchange would drop what comes.
    channel.exchange_bind(HASHED, TOPICS, routing_key(every_device("counts")))


def _queue(channel: Any, name: str, arguments: dict[str, object]) -> None:
    channel.queue_declare(name, durable=True, arguments=arguments)
