"""When to try a connection again, and when to say so: the one rule of every source. The caller brings the time."""

import logging
import random

log = logging.getLogger(__name__)

_FIRST_S = 0.5
"""Bound of the first random wait; it doubles with each failure."""
_STEADY_S = 30.0
"""A connection that lasted so long was a good one: the waits begin again at the shortest."""


class Patience:
    """Random, growing waits, so that not all clients come back at once; each trouble is told once."""

    def __init__(self, most_s: float, goes_on: str) -> None:
        """`most_s`: greatest bound of a wait; `goes_on`: what happens now, in the log behind the trouble."""
        self._most_s = most_s
        self._goes_on = goes_on
        self._failures = 0
        self._told: set[str] = set()
        self._since: float | None = None
        self._retry_at = float("-inf")

    def left_s(self, now: float) -> float:
        """Seconds until the next attempt; 0 or less when it is time."""
        return self._retry_at - now

    def succeeded(self, now: float) -> None:
        """There is a connection."""
        self._since = now
        self._told.clear()

    def failed(self, trouble: str, now: float) -> None:
        """It was lost, or there is none."""
        if self._since is not None and now - self._since > _STEADY_S:
            self._failures = 0
        self._since = None
        if trouble not in self._told:
            log.warning("%s; %s", trouble, self._goes_on)
            self._told.add(trouble)
        bound = min(self._most_s, _FIRST_S * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        self._retry_at = now + random.uniform(0, bound)  # noqa: S311 - no secret
