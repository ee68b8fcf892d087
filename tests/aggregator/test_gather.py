"""When a batch ends."""

import time

from aggregator.ingest.batch import gather, serve_for


class Wire:
    """Brings so many messages each time it is served, and waits as long as it is told when there are none."""

    def __init__(self, *brings: int) -> None:
        self.taken = 0
        self._brings = list(brings)

    def serve(self, span_s: float) -> None:
        """Take what comes next."""
        if self._brings:
            self.taken += self._brings.pop(0)
        else:
            time.sleep(span_s)


def test_a_full_batch_is_not_added_to():
    """What comes beyond the size stays where it is."""
    wire = Wire(3, 3, 3, 3)
    gather(lambda: wire.taken, 6, wire.serve)
    assert wire.taken == 6


def test_a_batch_ends_when_nothing_more_comes():
    """Messages do not wait for those that are late."""
    wire = Wire(0, 2, 1, 0, 5)
    gather(lambda: wire.taken, 1000, wire.serve)
    assert wire.taken == 3


def test_without_messages_the_caller_is_asked_soon():
    """For its other duties."""
    wire = Wire()
    gather(lambda: wire.taken, 10, wire.serve)
    assert wire.taken == 0


def test_serving_lasts_as_long_as_it_was_told_whatever_comes():
    """A message does not end it."""
    wire = Wire(1, 1)
    began = time.monotonic()
    serve_for(0.05, wire.serve)
    assert wire.taken == 2
    assert time.monotonic() - began >= 0.05
