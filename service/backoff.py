"""When to try again after a failure. The caller brings the time."""

import logging
import random

log = logging.getLogger(__name__)

_FIRST_S = 0.5
"""Bound of the first random wait; it doubles with each failure."""
_STEADY_S = 30.0
"""A connection that lasted so long was a good one: the waits begin again at the shortest."""


class Backoff:
    """Random, growing waits between attempts: full jitter, so that not all clients come back at once.

    Source: M. Brooker, Exponential Backoff and Jitter, AWS Architecture Blog, 2015.
    """

    def __init__(self, max_s: float, first_s: float = _FIRST_S) -> None:
        """`max_s`: greatest bound of a wait; `first_s`: bound of the first one, which doubles with each failure."""
        self._max_s = max_s
        self._first_s = first_s
        self._failures = 0
        self._retry_s = float("-inf")

    def left_s(self, now: float) -> float:
        """Seconds until the next attempt; 0 or less when it is time."""
        return self._retry_s - now

    @property
    def patience(self) -> float:
        """How many times as long to wait for an answer as at first: 1, 2, 4 with each failure, 8 at most.

        Who leaves a slow server and comes again, as all others do, makes it slower.
        """
        return 2.0 ** min(self._failures, 3)

    def failed(self, now: float) -> float:
        """An attempt failed; how long to wait before the next one, seconds."""
        bound = min(self._max_s, self._first_s * 2.0**self._failures)
        self._failures = min(self._failures + 1, 30)
        wait_s = random.uniform(0.0, bound)  # noqa: S311 - spreads load, protects nothing
        self._retry_s = now + wait_s
        return wait_s

    def succeeded(self) -> None:
        """The waits begin again at the shortest."""
        self._failures = 0


class ReconnectBackoff:
    """A Backoff for connections, where only one that lasted counts as a success; each reason is logged once."""

    def __init__(self, max_s: float, consequence: str) -> None:
        """`max_s`: greatest bound of a wait; `consequence`: what happens now, in the log behind the reason."""
        self._backoff = Backoff(max_s)
        self._consequence = consequence
        self._logged: set[str] = set()
        self._since: float | None = None

    def left_s(self, now: float) -> float:
        """Seconds until the next attempt; 0 or less when it is time."""
        return self._backoff.left_s(now)

    def connected(self, now: float) -> None:
        """There is a connection."""
        self._since = now
        self._logged.clear()

    def failed(self, reason: str, now: float) -> None:
        """It was lost, or there is none."""
        if self._since is not None and now - self._since > _STEADY_S:
            self._backoff.succeeded()
        self._since = None
        if reason not in self._logged:
            log.warning("%s; %s", reason, self._consequence)
            self._logged.add(reason)
        self._backoff.failed(now)
