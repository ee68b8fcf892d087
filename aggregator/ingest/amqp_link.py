"""Connections to the nodes of a RabbitMQ cluster. The only importer of pika."""

import logging
import random
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, ChannelClosedByBroker, IncompatibleProtocolError, ProbableAuthenticationError
from pika.spec import Basic, BasicProperties

from aggregator.commands.topology import DEAD, SOURCE, declare
from aggregator.config import AmqpConfig
from aggregator.ingest.mqtt import secrets
from service.backoff import Patience

log = logging.getLogger(__name__)
logging.getLogger("pika").setLevel(logging.CRITICAL)  # what it would say of a lost connection is said below

_LONGEST_S = 10.0
"""Greatest bound of the random wait before a reconnect."""
_CONNECT_S = 5.0
_STACK_S = 8.0
"""To be let in, all in all; less than the other connection's heartbeats may wait meanwhile."""
_NOT_FOUND = 404
TROUBLE = (OSError, AMQPError, AMQPConnectorException)
"""What a lost connection looks like; the last is of a frozen node, which accepts and says nothing."""


class Link:
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

    def consume(self, queues: Iterable[str], prefetch: int, take: Callable[[str, bytes, int], None]) -> None:
        """Have `take` called with routing key, body and delivery tag of each message; `prefetch` is of each queue."""

        def deliver(_channel: BlockingChannel, told: Basic.Deliver, _more: BasicProperties, body: bytes) -> None:
            take(told.routing_key, body, told.delivery_tag)

        self.channel.basic_qos(prefetch_count=prefetch)
        for queue in queues:
            self.channel.basic_consume(queue, deliver)
        self.channel.add_on_cancel_callback(_on_cancel)

    def close(self) -> None:
        """Say goodbye, if there is still somebody to hear it."""
        with suppress(*TROUBLE):
            self._connection.close()

    def _on_blocked(self, *_: object) -> None:
        self.blocked = True
        log.warning("%s is short of memory or disk and takes no words of ours", self.host)

    def _on_unblocked(self, *_: object) -> None:
        self.blocked = False


class Reconnecting:
    """A link that is made again, to any node, after a random wait."""

    def __init__(self, config: AmqpConfig, credentials: Path, begin: Callable[[Link], None]) -> None:
        """`begin` is called with every new link."""
        self._config = config
        self._credentials = credentials
        self._begin = begin
        self._nodes: list[str] = []
        self._patience = Patience(_LONGEST_S, "trying all nodes until one answers")
        self.link: Link | None = None

    def use(self, span_s: float) -> bool:
        """Serve the link, or try to make one, for `span_s` at most; False if it was lost."""
        if self.link is None:
            wait_s = self._patience.left_s(time.monotonic())
            if wait_s > 0:
                time.sleep(min(wait_s, span_s))
            else:
                self._connect()
            return True
        try:
            self.link.serve(span_s)
        except TROUBLE as error:
            self.lost(error)
            return False
        return True

    def lost(self, error: Exception) -> None:
        """Give the link up."""
        if self.link is None:
            return
        self._patience.failed(f"lost the node {self.link.host}: {error!r}", time.monotonic())
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
            link = Link(host, self._config, self._credentials)
            self._begin(link)
        except TROUBLE as error:
            if link:
                link.close()
            trouble = f"cannot use the node in [amqp] hosts {host}: {error!r}{_advice(error, self._credentials)}"
            self._patience.failed(trouble, time.monotonic())
        else:
            self.link = link
            self._patience.succeeded(time.monotonic())
            log.info("connected to the node %s", host)


def declared(config: AmqpConfig, credentials: Path) -> None:
    """Declare the topology.

    Raises:
        OSError: If no node answers, or if what is there differs.
    """
    link = _any(config, credentials)
    try:
        declare(link.channel, config)
    except ChannelClosedByBroker as error:
        raise OSError(f"{link.host}: {error}; rabbitmqctl can remove what differs") from error
    finally:
        link.close()


def replayed(config: AmqpConfig, credentials: Path) -> int:
    """Give what was set aside to the queues again, once; the number of messages.

    Raises:
        OSError: If no node answers, or the connection is lost: what was not given again is still set aside.
    """
    link = _any(config, credentials)
    try:
        link.channel.confirm_delivery()
        number = link.channel.queue_declare(DEAD, passive=True).method.message_count
        for _ in range(number):
            told, _more, body = link.channel.basic_get(DEAD)
            if told is None or body is None:
                break
            link.channel.basic_publish(SOURCE, told.routing_key, body, BasicProperties(delivery_mode=2), mandatory=True)
            link.channel.basic_ack(told.delivery_tag)
    except AMQPError as error:
        raise OSError(f"{link.host}: {error!r}") from error
    finally:
        link.close()
    return int(number)


def _any(config: AmqpConfig, credentials: Path) -> Link:
    """A link to the first node that answers."""
    troubles = []
    for host in config.hosts:
        try:
            return Link(host, config, credentials)
        except TROUBLE as error:
            troubles.append(f"{host}: {error!r}{_advice(error, credentials)}")
    raise OSError(f"no node in [amqp] hosts answers: {', '.join(troubles)}")


def _on_cancel(_frame: object) -> None:
    """A queue was deleted: connect again, and complain until it is declared."""
    raise AMQPError("a queue was deleted")


def _advice(error: Exception, credentials: Path) -> str:
    """Where to look, for errors that do not say so."""
    if isinstance(error, ChannelClosedByBroker) and error.reply_code == _NOT_FOUND:
        return "; `classpulse-aggregator topology` declares what is missing"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"; its certificate must bear that name and be of {credentials / 'ca.crt'}"
    if isinstance(error, ProbableAuthenticationError):
        return f"; [amqp] username and {credentials / 'amqp-password'} must be those of a user there"
    if isinstance(error, IncompatibleProtocolError) and "ALERT" in repr(error):
        return f"; it does not take {credentials / 'aggregator.crt'}, or wants one"
    return ""
