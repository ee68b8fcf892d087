"""The courier's thread: the daemon and paho only enqueue, and SQLite is touched by one thread."""

import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Self

from edge.uplink.courier import TICK_S, Courier, Frames, Status
from edge.uplink.publisher import Event

log = logging.getLogger(__name__)

_START_S = 60.0
"""A large outbox on a slow card is checked when it is opened."""
_SPARE_S = 5.0
Post = Callable[[Event], None]


class DispatchError(RuntimeError):
    """The thread has ended, or never began."""


class Dispatch:
    """Runs a courier from `with` until `leave`."""

    def __init__(self, make: Callable[[Post], Courier], spare_s: float = _SPARE_S) -> None:
        """Set up.

        Args:
            make: Makes the courier, in its thread; is given what connections are to call.
            spare_s: How long the end of the thread may take beside what `leave` allows.
        """
        self.beats = 0
        """Rises as long as the thread does its work."""
        self._make = make
        self._spare_s = spare_s
        self._inbox: SimpleQueue[Frames | Status | Event | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._made = threading.Event()
        self._courier: Courier | None = None
        self._error: BaseException | None = None
        self._left = False
        self._farewell = ("", 0.0, 0.0)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._made.wait(_START_S):
            raise DispatchError(f"the outbox does not open within {_START_S:.0f} s")
        self.check()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        self.leave(f"failed: {error!r}" if error else "ended", patience_s=1.0)
        if self._error is not error:
            self.check()

    def post(self, event: Frames | Status | Event) -> None:
        """Have the courier take this."""
        self._inbox.put(event)

    @property
    def accepted(self) -> int:
        """Messages that the outbox has accepted."""
        return self._courier.accepted if self._courier else 0

    def check(self) -> None:
        """Raise the error that ended the thread, if one did.

        Raises:
            Exception: That error.
        """
        if self._error:
            raise self._error

    def leave(self, reason: str, *, patience_s: float, drain_s: float = 0.0) -> None:
        """Say `stopped` and end the thread; nothing if it has ended, or was told to.

        Args:
            reason: For people.
            patience_s: How long to wait for the broker to have the last state.
            drain_s: How long to wait, before, for everything accepted to be confirmed.
        """
        if self._left or not self._thread.is_alive():
            return
        self._left = True
        self._farewell = (reason, patience_s, drain_s)
        self._inbox.put(None)
        self._thread.join(patience_s + drain_s + self._spare_s)
        if self._thread.is_alive():
            log.error("the outbox does not end: what it has in memory is lost with this process")

    def _run(self) -> None:
        try:
            self._courier = courier = self._make(self._inbox.put)
            self._made.set()
            self._work(courier, lambda: False)
            reason, patience_s, drain_s = self._farewell
            deadline = time.monotonic() + drain_s
            self._work(courier, lambda: courier.idle or time.monotonic() >= deadline)
            courier.leave(reason, time.monotonic())
            deadline = time.monotonic() + patience_s
            self._work(courier, lambda: courier.left or time.monotonic() >= deadline)
            courier.close()
        except BaseException as error:  # noqa: BLE001  it is raised again in the main thread
            self._error = error
            self._made.set()

    def _work(self, courier: Courier, done: Callable[[], bool]) -> None:
        """Take and tick until `done`, or until told to leave."""
        tick_s = time.monotonic()
        while not done():
            if time.monotonic() >= tick_s:
                courier.tick(time.monotonic())
                tick_s = time.monotonic() + TICK_S
                self.beats += 1
            try:
                event = self._inbox.get(timeout=max(0.0, tick_s - time.monotonic()))
            except Empty:
                continue
            if event is None:
                return
            courier.take(event, time.monotonic())
