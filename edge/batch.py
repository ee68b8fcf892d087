"""Readings to frames of messages: stamped when the clock is known, averaged over `span_s` or gathered for `batch_s`."""

from collections import deque
from collections.abc import Callable

from edge.clock import Clock, Stamp
from edge.config import PublishConfig
from edge.vision.pipeline import Reading, averaged, frame_counts, withheld

MAX_FRAMES = 150
"""In one message: 50 KB of the 64 that a message may have."""
MAX_WAITING = 20_000
"""Readings that wait for the clock: a quarter of an hour at 20 frames/s."""


class FrameBatcher:
    """What was counted and is not yet handed over."""

    def __init__(self, clock: Clock, config: PublishConfig, publish: Callable[..., None]) -> None:
        """Begin empty.

        Args:
            clock: Stamps the frames.
            config: `[publish]`.
            publish: Given the frames of one message, oldest first, and whether their stamps are `synced`.
        """
        self._clock = clock
        self._config = config
        self._publish = publish
        self._waiting: deque[Reading] = deque()
        self._gathered: list[tuple[Reading, Stamp]] = []
        self._began_s = 0.0
        self._synced = False

    @property
    def waiting(self) -> int:
        """Readings that wait for the clock."""
        return len(self._waiting)

    @property
    def gathering(self) -> bool:
        """Whether a span or batch has begun."""
        return bool(self._gathered)

    def add(self, reading: Reading) -> None:
        """Publish what is complete with this reading."""
        self._waiting.append(reading)
        self._stamp(wait=True)

    def flush(self, *, wait: bool) -> None:
        """Publish what is gathered; a span that is cut short is withheld, or each pause would tell another mean.

        Args:
            wait: Whether readings still wait for the clock, as in a pause, or are published as well, as at the end.
        """
        self._stamp(wait=wait)
        self._publish_frames()

    def _stamp(self, *, wait: bool) -> None:
        while self._waiting:
            captured_s = self._waiting[0].captured_s
            stamp = self._clock.stamp(captured_s, wait=wait and len(self._waiting) <= MAX_WAITING)
            if stamp is None:
                return
            self._gather(self._waiting.popleft(), stamp)

    def _gather(self, reading: Reading, stamp: Stamp) -> None:
        if stamp.synced != self._synced:
            self._publish_frames()
        if not self._gathered:
            self._began_s, self._synced = reading.captured_s, stamp.synced
        self._gathered.append((reading, stamp))
        lasted_s, span_s = reading.captured_s - self._began_s, self._config.span_s
        if lasted_s >= (span_s or self._config.batch_s) or (not span_s and len(self._gathered) >= MAX_FRAMES):
            self._publish_frames(complete=True)

    def _publish_frames(self, *, complete: bool = False) -> None:
        gathered, self._gathered = self._gathered, []
        config, readings = self._config, [reading for reading, _ in gathered]
        if config.span_s:
            readings = averaged(readings, config.min_faces, config.epsilon) if complete else withheld(readings)
        frames = [
            frame_counts(each, stamp.t, config.min_faces) for each, (_, stamp) in zip(readings, gathered, strict=True)
        ]
        for first in range(0, len(frames), MAX_FRAMES):
            self._publish(tuple(frames[first : first + MAX_FRAMES]), synced=self._synced)
