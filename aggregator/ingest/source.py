"""Where messages come from and words go to: an MQTT broker, or the queues of a RabbitMQ cluster."""

from collections.abc import Callable, Collection, Iterator
from typing import Protocol, Self

from aggregator.config import AggregatorConfig
from aggregator.ingest.batch import Item
from aggregator.ingest.mqtt import MqttSource
from service.config import ConfigError


class Source(Protocol):
    """A source; open it with `with`."""

    on_connected: Callable[[], None]

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...

    def batches(self) -> Iterator[tuple[list[Item], Callable[[Collection[int]], None]]]:
        """For ever: some messages, or none when nothing comes, and what acknowledges them.

        It is told where among them those stand that were dropped: where the broker can, it sets them aside.
        """

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Publish once; may be lost while the broker is away."""

    def serve(self, span_s: float) -> None:
        """Wait, keeping the connection alive."""

    @property
    def connected(self) -> bool:
        """Whether what is published can arrive."""


def open_source(config: AggregatorConfig, lost: tuple[str, bytes]) -> Source:
    """The source that the configuration names: a cluster's queues with `[amqp]`, an MQTT broker without.

    Args:
        config: The whole file.
        lost: Topic and payload of a last will; a cluster has none (docs/adr/0007).

    Raises:
        ConfigError: If its client library is not installed.
        OSError: If a credential cannot be read.
    """
    if config.amqp is None:
        return MqttSource(config.mqtt, config.credentials, lost)
    try:
        from aggregator.ingest.amqp import AmqpSource  # noqa: PLC0415 - an extra, see below
    except ImportError as error:
        raise ConfigError(f"[amqp] needs pip install 'classpulse[aggregator,cluster]': {error}") from error
    return AmqpSource(config.amqp, config.credentials)
