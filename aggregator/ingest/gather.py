"""When a batch ends: the one rule of every source."""

import time
from collections.abc import Callable

_QUIET_S = 0.005
"""A batch ends when nothing more has come for so long."""
_LONGEST_S = 0.2
"""A batch ends when its first message has waited so long."""
_TICK_S = 0.5
"""Without messages the caller gets an empty batch this often, for its other duties."""

Serve = Callable[[float], None]
"""Waits for the network for so many seconds at most, and takes what came."""


def gather(waiting: Callable[[], int], size: int, serve: Serve) -> None:
    """Serve until there is a batch, or nothing came for a while.

    Args:
        waiting: How many messages were taken so far.
        size: Messages of a batch.
        serve: Takes more.
    """
    started = time.monotonic()
    while not waiting() and (left := started + _TICK_S - time.monotonic()) > 0:
        serve(left)
    first = time.monotonic()
    while 0 < waiting() < size and time.monotonic() - first < _LONGEST_S:
        before = waiting()
        serve(_QUIET_S)
        if waiting() == before:
            return


def serve_for(span_s: float, serve: Serve) -> None:
    """Serve for `span_s` seconds, however often something comes."""
    deadline = time.monotonic() + span_s
    while (left := deadline - time.monotonic()) > 0:
        serve(left)
