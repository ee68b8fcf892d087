"""Messages from a RabbitMQ cluster in batches, acknowledged when they are in the store. The only importer of pika.

One thread: the caller's. Two connections, because RabbitMQ stops reading from one that publishes while memory or disk
run low, and with it the acknowledgements that would make room.
"""

import logging
import random
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.spec import Basic, BasicProperties

from aggregator.batch import Item
from aggregator.config import AmqpConfig
from aggregator.source_mqtt import secrets
from aggregator.topology import SOURCE, SPOKEN, counts_queues, declare, routing_key, topic_of

log = logging.getLogger(__name__)
logging.getLogger("pika").setLevel(logging.CRITICAL)  # what it would say of a lost connection is said below

_QUIET_S = 0.005
"""A batch ends when nothing more has come for so long."""
_LONGEST_S = 0.2
"""A batch ends when its first message has waited so long."""
_TICK_S = 0.5
"""Without messages the caller gets an empty batch this often, for its other duties."""
_BACKOFF_S = (0.5, 10.0)
"""First and greatest bound of the random wait before a reconnect."""
_STEADY_S = 30.0
"""A connection that lasted so long was a good one: the waits begin again at the shortest."""
_CONNECT_S = 5.0
_STACK_S = 15.0
"""To be let in, all in all."""
_NOT_FOUND = 404
_TROUBLE = (OSError, AMQPError)
"""What a lost connection looks like."""


class _Link:
    """One connection with one channel, to one node."""

    def __init__(self, host: str, config: AmqpConfig, credentials: Path) -> None:
        """Connect.

        Raises:
            OSError, AMQPError: If the node cannot be reached or refuses.
        """
        name, _, port = host.rpartition(":")
        password, tls = secrets(config, credentials)
        self.host = host
        self.blocked = False
        self._connection = pika.BlockingConnection(
            pika.ConnectionParameters(
                host=name,
                port=int(port),
                virtual_host=config.virtual_host,
                credentials=pika.PlainCredentials(config.username, password or ""),
                ssl_options=pika.SSLOptions(tls, name) if tls else None,
                heartbeat=config.heartbeat_s,
                socket_timeout=_CONNECT_S,
                stack_timeout=_STACK_S,
            )
        )
        self._connection.add_on_connection_blocked_callback(self._on_blocked)
        self._connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self.channel = self._connection.channel()

    def serve(self, span_s: float) -> None:
        """Read, beat and call back, until something came or `span_s` passed."""
        self._connection.process_data_events(span_s)

    def close(self) -> None:
        """Say goodbye, if there is still somebody to hear it."""
        with suppress(*_TROUBLE):
            self._connection.close()

    def _on_blocked(self, *_: object) -> None:
        self.blocked = True
        log.warning("%s is short of memory or disk and takes no words of ours", self.host)

    def _on_unblocked(self, *_: object) -> None:
        self.blocked = False


class _Reconnecting:
    """A link that is made again, to any node, after a random wait."""

    def __init__(self, config: AmqpConfig, credentials: Path, begin: Callable[[_Link], None]) -> None:
        """`begin` is called with every new link."""
        self._config = config
        self._credentials = credentials
        self._begin = begin
        self._nodes: list[str] = []
        self._since = 0.0
        self._failures = 0
        self._trouble = ""
        self._retry_at = 0.0
        self.link: _Link | None = None

    def use(self, span_s: float) -> bool:
        """Serve the link, or try to make one, for `span_s` at most; False if it was lost."""
        if self.link is None:
            wait_s = self._retry_at - time.monotonic()
            if wait_s > 0:
                time.sleep(min(wait_s, span_s))
            else:
                self._connect()
            return True
        try:
            self.link.serve(span_s)
        except _TROUBLE as error:
            self.lost(error)
            return False
        return True

    def lost(self, error: Exception) -> None:
        """Give the link up."""
        if self.link is None:
            return
        if time.monotonic() - self._since > _STEADY_S:
            self._failures = 0
        self._back_off(f"lost the node {self.link.host}: {error!r}")
        self.link.close()
        self.link = None

    def close(self) -> None:
        """Say goodbye."""
        if self.link:
            self.link.close()
            self.link = None

    def _connect(self) -> None:
        """One attempt, at the next node of a random order."""
        if not self._nodes:
            self._nodes = random.sample(self._config.hosts, len(self._config.hosts))
        host = self._nodes.pop()
        link = None
        try:
            link = _Link(host, self._config, self._credentials)
            self._begin(link)
        except _TROUBLE as error:
            if link:
                link.close()
            hint = "; `classpulse-aggregator topology` declares what is missing" if _is_missing(error) else ""
            self._back_off(f"cannot use the node {host}: {error!r}{hint}")
        else:
            self.link, self._since, self._trouble = link, time.monotonic(), ""
            log.info("connected to the node %s", host)

    def _back_off(self, trouble: str) -> None:
        """Put off the next attempt by a random time, so that not all workers come at once."""
        if trouble != self._trouble:
            log.warning("%s; trying all nodes until one answers", trouble)
            self._trouble = trouble
        first, most = _BACKOFF_S
        wait_s = random.uniform(0, min(most, first * 2**self._failures))  # noqa: S311 - no secret
        self._failures = min(self._failures + 1, 10)
        self._retry_at = time.monotonic() + wait_s


class AmqpSource:
    """Every queue of the cluster, shared with the other workers; open it with `with`."""

    def __init__(self, config: AmqpConfig, credentials: Path) -> None:
        """Nothing is connected yet.

        Raises:
            OSError: If a file of `credentials` is needed and cannot be read.
        """
        self._config = config
        secrets(config, credentials)
        self._reader = _Reconnecting(config, credentials, self._consume)
        self._voice = _Reconnecting(config, credentials, lambda _: None)
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
            self._collect()
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
        except _TROUBLE as error:
            self._voice.lost(error)

    def serve(self, span_s: float) -> None:
        """Keep the connections alive for so long without ending a batch; what comes waits for the next one."""
        deadline = time.monotonic() + span_s
        while (left := deadline - time.monotonic()) > 0:
            self._serve(left)

    def _collect(self) -> None:
        started = time.monotonic()
        while not self._items and (left := started + _TICK_S - time.monotonic()) > 0:
            self._serve(left)
        first = time.monotonic()
        while 0 < len(self._items) < self._config.batch and time.monotonic() - first < _LONGEST_S:
            before = len(self._items)
            self._serve(_QUIET_S)
            if len(self._items) == before:
                return

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

    def _consume(self, link: _Link) -> None:
        self._forget()
        link.channel.basic_qos(prefetch_count=self._config.prefetch)
        for queue in (SPOKEN, *counts_queues(self._config)):
            link.channel.basic_consume(queue, self._on_message)
        link.channel.add_on_cancel_callback(_on_cancel)
        self.on_connected()

    def _on_message(self, _channel: BlockingChannel, told: Basic.Deliver, _more: BasicProperties, body: bytes) -> None:
        self._items.append(Item(topic_of(told.routing_key), body, time.time()))
        self._tags.append(told.delivery_tag)

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
            except _TROUBLE as error:
                self._reader.lost(error)
                self._forget()

        return acknowledge


def declared(config: AmqpConfig, credentials: Path) -> None:
    """Declare the topology at the first node that answers.

    Raises:
        OSError: If none does, or if what is there differs.
    """
    troubles = []
    for host in config.hosts:
        try:
            link = _Link(host, config, credentials)
        except _TROUBLE as error:
            troubles.append(f"{host}: {error!r}")
            continue
        try:
            declare(link.channel, config)
        except ChannelClosedByBroker as error:
            raise OSError(f"{host}: {error}; rabbitmqctl can remove what differs") from error
        finally:
            link.close()
        return
    raise OSError(f"no node answers: {'; '.join(troubles)}")


def _on_cancel(_frame: object) -> None:
    """A queue was deleted: connect again, and complain until it is declared."""
    raise AMQPError("a queue was deleted")


def _last(tags: list[int], dropped: Collection[int]) -> int:
    """The last tag that was not rejected; one that was cannot be acknowledged."""
    gone = set(dropped)
    return next(tag for index, tag in reversed(list(enumerate(tags))) if index not in gone)


def _is_missing(error: Exception) -> bool:
    return isinstance(error, ChannelClosedByBroker) and error.reply_code == _NOT_FOUND
