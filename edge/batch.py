"""Readings to the frames of a message: stamped when the clock is known, gathered for `batch_s`."""

from collections import deque
from collections.abc import Callable

from contract.message import FrameCounts
from edge.clock import Clock, Stamp
from edge.config import PublishConfig
from edge.vision.counts import Reading, frame_message

MOST_FRAMES = 150
"""In one message: 50 KB of the 64 that a message may have."""
_MOST_WAITING = 20_000
"""Readings that wait for the clock: a quarter of an hour at 20 frames/s."""


class Batch:
    """What was read and is not yet handed over."""

    def __init__(
        self, clock: Clock, config: PublishConfig, offer: Callable[[tuple[FrameCounts, ...], bool], None]
    ) -> None:
        """Begin empty.

        Args:
            clock: Stamps the frames.
            config: `min_faces` and `batch_s`.
            offer: Given the frames of one message, oldest first, and whether their stamps are synchronised.
        """
        self._clock = clock
        self._config = config
        self._offer = offer
        self._waiting: deque[Reading] = deque()
        self._frames: list[FrameCounts] = []
        self._began_s = 0.0
        self._synced = False

    @property
    def waiting(self) -> int:
        """Readings that the clock keeps back."""
        return len(self._waiting)

    def add(self, reading: Reading) -> None:
        """Hand over what is complete with this reading."""
        self._waiting.append(reading)
        self._stamp()

    def settle(self) -> None:
        """Hand over everything but what still waits for the clock, as in a pause."""
        self._stamp()
        self._hand_over()

    def flush(self) -> None:
        """Hand over everything, as at the end."""
        while self._waiting:
            reading = self._waiting.popleft()
            self._gather(reading, self._clock.stamp_now_or_never(reading.captured_s))
        self._hand_over()

    def _stamp(self) -> None:
        while self._waiting:
            captured_s = self._waiting[0].captured_s
            stamp = self._clock.stamp(captured_s)
            if stamp is None and len(self._waiting) > _MOST_WAITING:
                stamp = self._clock.stamp_now_or_never(captured_s)
            if stamp is None:
                return
            self._gather(self._waiting.popleft(), stamp)

    def _gather(self, reading: Reading, stamp: Stamp) -> None:
        if stamp.synced != self._synced:
            self._hand_over()
        if not self._frames:
            self._began_s, self._synced = reading.captured_s, stamp.synced
        self._frames.append(frame_message(reading, stamp.t, self._config.min_faces))
        if len(self._frames) >= MOST_FRAMES or reading.captured_s - self._began_s >= self._config.batch_s:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._frames:
            frames, self._frames = tuple(self._frames), []
            self._offer(frames, self._synced)
