"""When frames were taken: the monotonic clock plus one offset."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from contract.message import utc


class Stamp(NamedTuple):
    """An instant, and whether the clock was right."""

    t: datetime
    """UTC, whole milliseconds."""
    synced: bool
    """Whether the wall clock was synchronised when the offset was taken from it."""


class Clock:
    """Monotonic seconds to UTC.

    The offset is taken from the wall clock once, when that is first seen synchronised, and never again: whatever the
    wall clock does later, frames keep their order and their distances. Until then there is no offset, for at most
    `wait_s`; then a provisional one, also taken once.
    """

    def __init__(
        self,
        wait_s: float,
        synchronized: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Begin to wait.

        Args:
            wait_s: How long to wait for a synchronised clock.
            synchronized: Whether `wall` can be believed now.
            monotonic: Seconds that only go forward, as of the frames.
            wall: Seconds since 1970.
        """
        self._synchronized = synchronized
        self._monotonic = monotonic
        self._wall = wall
        self._waits_until = monotonic() + wait_s
        self._offset_s: float | None = None
        self._synced = False

    @property
    def synced(self) -> bool:
        """Whether stamps are synchronised by now."""
        if not self._synced and self._synchronized():
            self._offset_s = self._wall() - self._monotonic()
            self._synced = True
        return self._synced

    def stamp(self, captured_s: float, *, wait: bool = True) -> Stamp | None:
        """The instant of a monotonic time, past or present; None while a synchronised clock is waited for.

        Args:
            captured_s: Of the monotonic clock.
            wait: False does not wait any longer, as when the daemon ends.
        """
        if wait and not self.synced and self._monotonic() < self._waits_until:
            return None
        if self._offset_s is None:
            self._offset_s = self._wall() - self._monotonic()
        return Stamp(utc(self._offset_s + captured_s), self._synced)

    def now(self) -> Stamp:
        """The present instant as well as it is known by now; fixes nothing, so any thread may ask."""
        offset_s = self._offset_s
        return Stamp(utc(self._wall() if offset_s is None else offset_s + self._monotonic()), self._synced)
