"""Messages from a RabbitMQ cluster in batches, acknowledged when they are in the store. The only importer of pika.

One thread: the caller's. Two connections, because RabbitMQ stops reading from one that publishes while memory or disk
run low, and with it the acknowledgements that would make room.
"""

import logging
import random
import ssl
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, ChannelClosedByBroker, IncompatibleProtocolError, ProbableAuthenticationError
from pika.spec import Basic, BasicProperties

from aggregator.config import AmqpConfig
from aggregator.ingest.batch import Acknowledge, RawMessage, Source
from aggregator.ingest.mqtt import password_and_tls
from aggregator.ingest.topology import DEAD, STATUS, TOPICS, counts_queues, declare, routing_key, topic_of
from service.backoff import ReconnectBackoff

log = logging.getLogger(__name__)
logging.getLogger("pika").setLevel(logging.CRITICAL)  # what it would say of a lost connection is said below

_MAX_WAIT_S = 10.0
"""Greatest bound of the random wait before a reconnect."""
_CONNECT_S = 5.0
_STACK_S = 8.0
"""For TCP, TLS and log-in together; less than the other connection's heartbeats may wait meanwhile."""
_NOT_FOUND, _PRECONDITION_FAILED = 404, 406
_LOST = (OSError, AMQPError, AMQPConnectorException)
"""What a lost connection raises; the last is of a frozen node, which accepts and sends nothing."""


class AmqpSource(Source):
    """Every queue of the cluster, shared with the other workers; open it with `with`."""

    def __init__(self, config: AmqpConfig, credentials: Path) -> None:
        """Nothing is connected yet.

        Raises:
            OSError: If a file of `credentials` is needed and cannot be read.
        """
        super().__init__(config.batch)
        self._config = config
        password_and_tls(config, credentials)
        self._consumer = _Reconnecting(config, credentials, self._consume)
        self._publisher = _Reconnecting(config, credentials, lambda _: None)

    def __exit__(self, *exc: object) -> None:
        """What is not acknowledged goes to the other workers."""
        self._consumer.close()
        self._publisher.close()

    @property
    def connected(self) -> bool:
        """Whether what is published can arrive."""
        return self._publisher.channel is not None and not self._publisher.blocked

    def publish(self, topic: str, payload: bytes, *, retain: bool, qos: int = 1) -> None:  # noqa: ARG002 - no such thing in AMQP
        """Publish once; MQTT clients at any node get it, nobody gets it later."""
        if self._publisher.channel is None or self._publisher.blocked:
            return
        try:
            self._publisher.channel.basic_publish(TOPICS, routing_key(topic), payload)
        except _LOST as error:
            self._publisher.lost(error)

    def _serve(self, span_s: float) -> None:
        """It reads on while the store is slow: heartbeats come the same way, and `prefetch` bounds what can come."""
        self._publisher.serve(0.0)
        if not self._consumer.serve(span_s):
            self._discard()

    def _consume(self, channel: BlockingChannel) -> None:
        self._discard()
        channel.basic_qos(prefetch_count=self._config.prefetch)  # of each queue
        for queue in (STATUS, *counts_queues(self._config)):
            channel.basic_consume(queue, self._on_message)
        channel.add_on_cancel_callback(_on_cancel)
        self.on_connected()

    def _on_message(
        self, _channel: BlockingChannel, delivery: Basic.Deliver, _properties: BasicProperties, body: bytes
    ) -> None:
        self._messages.append(RawMessage(topic_of(delivery.routing_key), body, time.time()))
        self._ids.append(delivery.delivery_tag)

    def _acknowledge(self, ids: list[int]) -> Acknowledge:
        channel = self._consumer.channel

        def acknowledge(rejected: Collection[int]) -> None:
            if channel is not self._consumer.channel or channel is None:
                return  # the tags mean nothing on another connection; the messages come again, to any worker
            refused = set(rejected)
            accepted = [tag for index, tag in enumerate(ids) if index not in refused]
            try:
                for index in rejected:
                    channel.basic_reject(ids[index], requeue=False)
                if accepted:
                    channel.basic_ack(accepted[-1], multiple=True)
            except _LOST as error:
                self._consumer.lost(error)
                self._discard()

        return acknowledge


def declare_topology(config: AmqpConfig, credentials: Path) -> None:
    """Declare exchanges, queues and bindings.

    Raises:
        OSError: If no node answers, or if what is there differs.
    """
    with _any_node(config, credentials) as channel:
        declare(channel, config)


def replay_dead_letters(config: AmqpConfig, credentials: Path) -> int:
    """Give the dead letters to the queues again, once; the number of messages.

    Raises:
        OSError: If no node answers, or the connection is lost: what was not given again is still a dead letter.
    """
    with _any_node(config, credentials) as channel:
        channel.confirm_delivery()
        number = channel.queue_declare(DEAD, passive=True).method.message_count
        for _ in range(number):
            delivery, _properties, body = channel.basic_get(DEAD)
            if delivery is None or body is None:
                break
            durable = BasicProperties(delivery_mode=2)
            channel.basic_publish(TOPICS, delivery.routing_key, body, durable, mandatory=True)
            channel.basic_ack(delivery.delivery_tag)
        return int(number)


class _Reconnecting:
    """A connection with one channel that is made again, to any node, after a random wait."""

    def __init__(self, config: AmqpConfig, credentials: Path, begin: Callable[[BlockingChannel], None]) -> None:
        """`begin` is called with the channel of every new connection."""
        self._config = config
        self._credentials = credentials
        self._begin = begin
        self._hosts: list[str] = []
        self._host = ""
        self._backoff = ReconnectBackoff(_MAX_WAIT_S, "trying all nodes until one answers")
        self.channel: BlockingChannel | None = None
        self.blocked = False
        """Whether the node takes nothing, because it is short of memory or disk."""

    def serve(self, span_s: float) -> bool:
        """Serve the connection, or try to make one, for `span_s` at most; False if it was lost."""
        if self.channel is None:
            wait_s = self._backoff.left_s(time.monotonic())
            if wait_s > 0:
                time.sleep(min(wait_s, span_s))
            else:
                self._connect()
            return True
        try:
            self.channel.connection.process_data_events(span_s)
            if self.channel.is_closed:  # the connection itself stays, and nothing else tells
                raise AMQPError("the node closed the channel, perhaps after its consumer_timeout")
        except _LOST as error:
            self.lost(error)
            return False
        return True

    def lost(self, error: Exception) -> None:
        """Give the connection up."""
        if self.channel is not None:
            self._backoff.failed(f"lost the node {self._host}: {error!r}", time.monotonic())
            self.close()

    def close(self) -> None:
        """Close the connection."""
        if self.channel is not None:
            _close(self.channel.connection)
            self.channel = None

    def _connect(self) -> None:
        """One attempt, at the next node of a random order."""
        if not self._hosts:
            self._hosts = random.sample(self._config.hosts, len(self._config.hosts))
        self._host = self._hosts.pop()
        connection = None
        try:
            connection = _open(self._host, self._config, self._credentials)
            connection.add_on_connection_blocked_callback(self._on_blocked)
            connection.add_on_connection_unblocked_callback(self._on_unblocked)
            channel = connection.channel()
            self._begin(channel)
        except _LOST as error:
            if connection:
                _close(connection)
            problem = f"cannot use the node in [amqp] hosts {self._host}: {error!r}{_advice(error, self._credentials)}"
            self._backoff.failed(problem, time.monotonic())
        else:
            self.channel, self.blocked = channel, False
            self._backoff.connected(time.monotonic())
            log.info("connected to the node %s", self._host)

    def _on_blocked(self, *_: object) -> None:
        self.blocked = True
        log.warning("publishing blocked by the node %s: it is short of memory or disk", self._host)

    def _on_unblocked(self, *_: object) -> None:
        self.blocked = False


@contextmanager
def _any_node(config: AmqpConfig, credentials: Path) -> Iterator[BlockingChannel]:
    """A channel of the first node that answers; pika's errors as OSError."""
    problems = []
    for host in config.hosts:
        try:
            connection = _open(host, config, credentials)
        except _LOST as error:
            problems.append(f"{host}: {error!r}{_advice(error, credentials)}")
            continue
        try:
            yield connection.channel()
        except AMQPError as error:
            raise OSError(f"{host}: {error!r}{_advice(error, credentials)}") from error
        finally:
            _close(connection)
        return
    raise OSError(f"no node in [amqp] hosts answers: {', '.join(problems)}")


def _open(host: str, config: AmqpConfig, credentials: Path) -> pika.BlockingConnection:
    """A connection to a node; OSError or AMQPError if it cannot be reached or refuses."""
    name, _, port = host.rpartition(":")
    password, tls = password_and_tls(config, credentials)
    return pika.BlockingConnection(
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


def _close(connection: pika.BlockingConnection) -> None:
    with suppress(*_LOST):
        connection.close()


def _on_cancel(_frame: object) -> None:
    """A queue was deleted: connect again, and report it until it is declared."""
    raise AMQPError("a queue was deleted")


def _advice(error: Exception, credentials: Path) -> str:
    """What to check, for errors that do not say so."""
    code = error.reply_code if isinstance(error, ChannelClosedByBroker) else None
    if code == _NOT_FOUND:
        return "; `classpulse-aggregator topology` declares what is missing"
    if code == _PRECONDITION_FAILED:
        return "; rabbitmqctl can remove what differs"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"; its certificate must bear that name and be of {credentials / 'ca.crt'}"
    if isinstance(error, ProbableAuthenticationError):
        return f"; [amqp] username and {credentials / 'amqp-password'} must be those of a user there"
    if isinstance(error, IncompatibleProtocolError) and "ALERT" in repr(error):
        return f"; it does not accept {credentials / 'aggregator.crt'}, or requires one"
    return ""
