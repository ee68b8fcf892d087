"""All connections of a fleet, watched by one thread; new ones are made in others, because a TLS handshake waits."""

import queue
import random
import time
from concurrent.futures import ThreadPoolExecutor
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from typing import Self

from benchmarks.fleet.connection import Connection, ConnectionOptions, Stats
from benchmarks.fleet.devices import Fleet, Message

_AT_ONCE = 16
"""Connections that are being made at the same time."""
_CONNECT_S = 0.1
_TICK_S = 1.0


class Connections:
    """Open with `with`; `send` messages and `poll` the network in turn."""

    def __init__(self, fleet: Fleet, options: ConnectionOptions, number: int, disconnects_hz: float) -> None:
        """`number` of connections; `disconnects_hz`: how many of them are ended per second, on purpose."""
        self.stats = Stats()
        devices = range(fleet.plan.devices)
        self._connections = [
            Connection(list(devices[first::number]), fleet, options, self.stats, first) for first in range(number)
        ]
        self._disconnects_hz, self._disconnect_s = disconnects_hz, 0.0
        self._selector = DefaultSelector()
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._results: queue.SimpleQueue[tuple[Connection, str]] = queue.SimpleQueue()
        self._connect_s = self._tick_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Disconnect in order, as far as the network allows."""
        for connection in self._connections:
            connection.close()
        deadline = time.monotonic() + 2.0
        while self._selector.get_map() and time.monotonic() < deadline:
            self._wait(0.1)
        self._pool.shutdown(cancel_futures=True)
        self._selector.close()

    @property
    def accepted(self) -> int:
        """Connections that a broker has accepted."""
        return sum(connection.accepted for connection in self._connections)

    def counting_since(self, moment: float) -> int:
        """Connections that had a PUBACK for a message since `moment`, in monotonic seconds."""
        return sum(connection.acknowledged_s > moment for connection in self._connections)

    @property
    def unconfirmed(self) -> int:
        """Messages that are not yet confirmed."""
        return sum(connection.unconfirmed for connection in self._connections)

    def send(self, message: Message) -> None:
        """Send a message as soon as possible, over the connection of its device."""
        connection = self._connections[message.device % len(self._connections)]
        connection.send(message)
        if connection.accepted:
            connection.flush(time.monotonic())
            self._watch(connection)

    def poll(self, span_s: float, *, disconnects: bool = False) -> None:
        """Wait for the network for `span_s` at most and do what there is to do."""
        now = time.monotonic()
        if now >= self._connect_s:
            self._connect_s = now + _CONNECT_S
            self._connect_due(now)
        if now >= self._tick_s:
            self._tick_s = now + _TICK_S
            for connection in self._connections:
                connection.tick(now)
                self._watch(connection)
        if disconnects and self._disconnects_hz and now >= self._disconnect_s:
            self._disconnect_s = now + 1 / self._disconnects_hz
            self._disconnect(now)
        self._wait(span_s)

    def _wait(self, span_s: float) -> None:
        for key, event in self._selector.select(span_s):
            connection: Connection = key.data
            now = time.monotonic()
            if event & EVENT_READ:
                connection.read(now)
            connection.flush(now)
            self._watch(connection)

    def _connect_due(self, now: float) -> None:
        """Begin the connections that are due, and watch those that were made."""
        for connection in self._connections:
            if connection.fd < 0 and not connection.connecting and now >= connection.open_s:
                connection.connecting = True
                self._pool.submit(self._connect, connection)
        while not self._results.empty():
            connection, reason = self._results.get()
            if reason:
                connection.fail(reason, now)
            else:
                connection.tcp_connected(now)
            self._watch(connection)

    def _connect(self, connection: Connection) -> None:
        self._results.put((connection, connection.connect()))

    def _disconnect(self, now: float) -> None:
        up = [connection for connection in self._connections if connection.accepted]
        if up:
            connection = random.choice(up)
            connection.disconnect(now)
            self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        """Let the kernel tell of what this connection waits for, and of no closed one."""
        if connection.watched not in (connection.fd, -1):
            self._selector.unregister(connection.watched)
        if connection.fd >= 0 and connection.client is not None:
            events = EVENT_READ | (EVENT_WRITE if connection.client.want_write() else 0)
            if connection.fd != connection.watched:
                self._selector.register(connection.fd, events, connection)
            elif events != self._selector.get_key(connection.fd).events:
                self._selector.modify(connection.fd, events, connection)
        connection.watched = connection.fd
