"""Messages from a RabbitMQ cluster in batches, acknowledged when they are in the store.

One thread: the caller's. Two connections, because RabbitMQ stops reading from one that publishes while memory or disk
run low, and with it the acknowledgements that would make room.
"""

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Self

from aggregator.commands.topology import SOURCE, SPOKEN, counts_queues, routing_key, topic_of
from aggregator.config import AmqpConfig
from aggregator.ingest.amqp_link import TROUBLE, Link, Reconnecting
from aggregator.ingest.batch import Item
from aggregator.ingest.gather import gather, serve_for
from aggregator.ingest.mqtt import secrets


class AmqpSource:
    """Every queue of the cluster, shared with the other workers; open it with `with`."""

    def __init__(self, config: AmqpConfig, credentials: Path) -> None:
        """Nothing is connected yet.

        Raises:
            OSError: If a file of `credentials` is needed and cannot be read.
        """
        self._config = config
        secrets(config, credentials)
        self._reader = Reconnecting(config, credentials, self._consume)
        self._voice = Reconnecting(config, credentials, lambda _: None)
        self._items: list[Item] = []
        self._tags: list[int] = []
        self.on_connected: Callable[[], None] = lambda: None
        """Called after every successful connection."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """What is not acknowledged goes to the other workers."""
        self._reader.close()
        self._voice.close()

    @property
    def connected(self) -> bool:
        """Whether what is published can arrive."""
        link = self._voice.link
        return link is not None and not link.blocked

    def batches(self) -> Iterator[tuple[list[Item], Callable[[Collection[int]], None]]]:
        """For ever: the messages of one batch, and what acknowledges them; see aggregator.daemon.Source."""
        size = self._config.batch
        while True:
            gather(lambda: len(self._items), size, self._serve)
            items, tags = self._items[:size], self._tags[:size]
            del self._items[:size], self._tags[:size]
            yield items, self._acknowledgement(tags)

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:  # noqa: ARG002 - no such thing in AMQP
        """Publish once; MQTT clients at any node get it, nobody gets it later."""
        link = self._voice.link
        if link is None or link.blocked:
            return
        try:
            link.channel.basic_publish(SOURCE, routing_key(topic), payload)
        except TROUBLE as error:
            self._voice.lost(error)

    def serve(self, span_s: float) -> None:
        """Keep the connections alive for so long without ending a batch; what comes waits for the next one."""
        serve_for(span_s, self._serve)

    def _serve(self, span_s: float) -> None:
        """Wait for the network for `span_s` at most and do what there is to do.

        It reads on while the store is slow: heartbeats come the same way, and `prefetch` bounds what can come.
        """
        self._voice.use(0.0)
        if not self._reader.use(span_s):
            self._forget()

    def _forget(self) -> None:
        """What was read and not taken comes again, to any worker."""
        self._items, self._tags = [], []

    def _consume(self, link: Link) -> None:
        self._forget()
        link.consume((SPOKEN, *counts_queues(self._config)), self._config.prefetch, self._on_message)
        self.on_connected()

    def _on_message(self, key: str, body: bytes, tag: int) -> None:
        self._items.append(Item(topic_of(key), body, time.time()))
        self._tags.append(tag)

    def _acknowledgement(self, tags: list[int]) -> Callable[[Collection[int]], None]:
        link = self._reader.link

        def acknowledge(dropped: Collection[int]) -> None:
            if link is None or link is not self._reader.link or not tags:
                return  # the numbers mean nothing on another connection; the messages come again, to any worker
            try:
                for index in dropped:
                    link.channel.basic_reject(tags[index], requeue=False)
                if len(dropped) < len(tags):
                    link.channel.basic_ack(_last(tags, dropped), multiple=True)
            except TROUBLE as error:
                self._reader.lost(error)
                self._forget()

        return acknowledge


def _last(tags: list[int], dropped: Collection[int]) -> int:
    """The last tag that was not rejected; one that was cannot be acknowledged."""
    gone = set(dropped)
    return next(tag for index, tag in reversed(list(enumerate(tags))) if index not in gone)
