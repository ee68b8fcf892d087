"""When a batch ends."""

import time
from itertools import islice

from aggregator.ingest.batch import RawMessage, Source


class Wire(Source):
    """Brings so many messages each time it is served, and waits as long as it is told when there are none."""

    connected = True

    def __init__(self, batch: int, *brings: int) -> None:
        super().__init__(batch)
        self._brings = list(brings)

    def __exit__(self, *exc: object) -> None:
        """Nothing is open."""

    def publish(self, topic: str, payload: bytes, *, retain: bool, qos: int = 1) -> None:
        """Nobody listens."""

    def _serve(self, span_s: float) -> None:
        """Take what comes next."""
        if self._brings:
            number = self._brings.pop(0)
            self._messages += [RawMessage("", b"", 0.0)] * number
            self._ids += range(number)
        else:
            time.sleep(span_s)

    def _acknowledge(self, ids):
        return lambda _rejected: ids

    def sizes(self, number: int) -> list[int]:
        """Messages of the next batches."""
        return [len(messages) for messages, _ in islice(self.batches(), number)]


def test_a_full_batch_is_not_added_to():
    """What comes beyond the size is in the next one."""
    assert Wire(6, 3, 3, 3, 1).sizes(2) == [6, 4]


def test_a_batch_is_not_larger_than_its_size():
    """However many come at once."""
    assert Wire(6, 10).sizes(2) == [6, 4]


def test_a_batch_ends_when_nothing_more_comes():
    """Messages do not wait for those that are late."""
    assert Wire(1000, 0, 2, 1, 0, 5).sizes(2) == [3, 5]


def test_without_messages_the_caller_gets_an_empty_batch_soon():
    """For its other duties."""
    assert Wire(10).sizes(1) == [0]


def test_serving_lasts_as_long_as_it_was_told_whatever_comes():
    """A message does not end it."""
    wire = Wire(10, 1, 1)
    began = time.monotonic()
    wire.serve(0.05)
    assert time.monotonic() - began >= 0.05
    assert wire.sizes(1) == [2]
