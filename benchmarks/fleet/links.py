"""All connections of a fleet, watched together by one thread; new ones are made in others, because TLS waits."""

import contextlib
import queue
import random
import select
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from benchmarks.fleet.crowd import Crowd, Message
from benchmarks.fleet.link import Access, Link, Tally

_AT_ONCE = 16
"""Connections that are being made at the same time."""
_PENDING = 500
"""Connections without the broker's answer: more would wait so long that they are given up."""
_LOOK_S = 0.1
_TICK_S = 1.0


class Links:
    """Open with `with`; `take` messages and `serve` the network in turn."""

    def __init__(self, crowd: Crowd, access: Access, number: int, cuts_hz: float) -> None:
        """`number` of connections; `cuts_hz`: how many of them are cut per second, on purpose."""
        self.tally = Tally()
        devices = range(crowd.plan.devices)
        self._links = [Link(list(devices[first::number]), crowd, access, self.tally, first) for first in range(number)]
        self._cuts_hz, self._cut_s = cuts_hz, 0.0
        self._poll = select.epoll()
        self._watched: dict[int, Link] = {}
        self._writing: set[int] = set()
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._made: queue.SimpleQueue[tuple[Link, str]] = queue.SimpleQueue()
        self._look_s = self._tick_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Say goodbye on every connection, as far as the network takes it."""
        for link in self._links:
            link.leave()
        deadline = time.monotonic() + 2.0
        while self._watched and time.monotonic() < deadline:
            self._turn(0.1)
        self._pool.shutdown(cancel_futures=True)
        self._poll.close()

    @property
    def up(self) -> int:
        """Connections that a broker has accepted."""
        return sum(link.up for link in self._links)

    @property
    def left(self) -> int:
        """Messages that are not yet confirmed."""
        return sum(link.left for link in self._links)

    def take(self, message: Message) -> None:
        """To be sent as soon as may be, over the connection of its device."""
        link = self._links[message.device % len(self._links)]
        link.offer(message)
        if link.up:
            link.pump(time.monotonic())
            self._watch(link)

    def serve(self, span_s: float, *, cuts: bool = False) -> None:
        """Wait for the network for `span_s` at most and do what there is to do."""
        now = time.monotonic()
        if now >= self._look_s:
            self._look_s = now + _LOOK_S
            self._look(now)
        if now >= self._tick_s:
            self._tick_s = now + _TICK_S
            for link in self._links:
                link.tick(now)
                self._watch(link)
        if cuts and self._cuts_hz and now >= self._cut_s:
            self._cut_s = now + 1 / self._cuts_hz
            self._cut(now)
        self._turn(span_s)

    def _turn(self, span_s: float) -> None:
        for fd, event in self._poll.poll(span_s):
            link = self._watched.get(fd)
            if link is None:
                continue
            now = time.monotonic()
            if event & ~select.EPOLLOUT:
                link.read(now)
            link.pump(now)
            self._watch(link)

    def _look(self, now: float) -> None:
        """Begin the connections that are due, and watch those that were made."""
        room = _PENDING - sum(link.connecting or (link.fd >= 0 and not link.up) for link in self._links)
        for link in self._links:
            if room > 0 and link.fd < 0 and not link.connecting and now >= link.open_s:
                room -= 1
                link.connecting = True
                self._pool.submit(self._make, link)
        while not self._made.empty():
            link, trouble = self._made.get()
            if trouble:
                link.fall(trouble, now)
            else:
                link.connected(now)
            self._watch(link)

    def _make(self, link: Link) -> None:
        self._made.put((link, link.connect()))

    def _cut(self, now: float) -> None:
        up = [link for link in self._links if link.up]
        if up:
            link = random.choice(up)
            link.cut(now)
            self._watch(link)

    def _watch(self, link: Link) -> None:
        """Let the kernel tell of what this connection waits for, and of no closed one."""
        if link.fd != link.watched:
            self._forget(link)
            if link.fd >= 0:
                self._poll.register(link.fd, select.EPOLLIN)
                self._watched[link.fd] = link
                link.watched = link.fd
        if link.fd < 0 or link.client is None:
            return
        writing = link.client.want_write()
        if writing != (link.fd in self._writing):
            self._poll.modify(link.fd, select.EPOLLIN | (select.EPOLLOUT if writing else 0))
            (self._writing.add if writing else self._writing.discard)(link.fd)

    def _forget(self, link: Link) -> None:
        if link.watched < 0:
            return
        self._watched.pop(link.watched, None)
        self._writing.discard(link.watched)
        with contextlib.suppress(OSError):  # closing it may have done that already
            self._poll.unregister(link.watched)
        link.watched = -1
