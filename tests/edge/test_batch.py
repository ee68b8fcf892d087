"""Readings become messages: stamped, in order, gathered for batch_s."""

import pytest

from edge.batch import MAX_FRAMES, MAX_WAITING, FrameBatcher
from edge.clock import Clock
from edge.config import CameraConfig, EdgeConfig, PublishConfig
from edge.vision.pipeline import Reading
from tests.device import edge_config


class World:
    """A clock to be set by hand, and what was offered."""

    def __init__(self, batch_s: float = 0.0, wait_s: float = 60.0, span_s: float = 0.0) -> None:
        self.now = 0.0
        self.synchronized = True
        self.offered: list[tuple[int, bool]] = []
        """Frames and synced of each message."""
        self.faces: list[int | None] = []
        """Of each frame; None of a withheld one."""
        clock = Clock(
            wait_s,
            synchronized=lambda: self.synchronized,
            monotonic=lambda: self.now,
            wall=lambda: 1.8e9 + self.now,
        )
        self.batcher = FrameBatcher(clock, PublishConfig(batch_s=batch_s, span_s=span_s), self.offer)

    def offer(self, frames, synced):
        """Take a message."""
        self.offered.append((len(frames), synced))
        self.faces += [None if frame.withheld is True else frame.faces for frame in frames]

    def read(self, count: int, every_s: float = 0.2) -> None:
        """Read frames whose faces count up."""
        for _ in range(count):
            self.batcher.add(
                Reading(self.now, faces=9 + round(self.now / every_s), unsure=0, counts=None, expected=None)
            )
            self.now += every_s


def test_without_span_and_batch_each_frame_is_a_message():
    """The topic reads as a stream."""
    world = World()

    world.read(3)

    assert world.offered == [(1, True)] * 3


def test_batch_s_puts_its_frames_into_one_message():
    """A second from first to last, in order; what is incomplete goes with a flush."""
    world = World(batch_s=1.0)

    world.read(14, every_s=0.25)
    before = list(world.offered)
    world.batcher.flush(wait=False)

    assert before == [(5, True), (5, True)]
    assert world.offered[2:] == [(4, True)]
    assert world.faces == list(range(9, 23))


def test_a_message_never_has_more_frames_than_a_payload_may_hold():
    """120 frames/s for ten seconds are several messages."""
    world = World(batch_s=10.0)

    world.read(400, every_s=1 / 120)

    assert world.offered == [(MAX_FRAMES, True)] * 2


def test_frames_wait_for_the_clock_and_none_is_lost_or_reordered():
    """They are kept back, counted as waiting, and go out together."""
    world = World()
    world.synchronized = False
    world.read(5)
    waiting = world.batcher.waiting
    world.synchronized = True

    world.read(1)

    assert waiting == 5
    assert world.offered == [(1, True)] * 6
    assert world.faces == list(range(9, 15))


def test_no_more_readings_wait_for_the_clock_than_memory_is_meant_for():
    """A clock that never comes: beyond the bound the oldest go out as unsynced, one for each that comes."""
    world = World(wait_s=float("inf"))
    world.synchronized = False

    world.read(MAX_WAITING + 3)

    assert world.batcher.waiting == MAX_WAITING
    assert world.offered == [(1, False)] * 3
    assert world.faces == [9, 10, 11]


def test_no_message_mixes_synchronised_frames_with_others():
    """The mark is of the whole message."""
    world = World(batch_s=10.0, wait_s=0.0)
    world.synchronized = False
    world.read(3)
    world.synchronized = True

    world.read(2)
    world.batcher.flush(wait=False)

    assert world.offered == [(3, False), (2, True)]


def test_a_pause_hands_over_what_is_stamped_and_lets_the_rest_wait_for_the_clock():
    """A pause is no reason to give up on synchronised frames."""
    world = World()
    world.synchronized = False
    world.read(2)
    world.batcher.flush(wait=True)
    waiting = world.batcher.waiting
    world.synchronized = True

    world.batcher.flush(wait=True)

    assert waiting == 2
    assert world.offered == [(1, True), (1, True)]


def test_an_end_keeps_nothing_back():
    """What still waits for the clock goes out as unsynced."""
    world = World()
    world.synchronized = False
    world.read(2)

    world.batcher.flush(wait=False)

    assert world.offered == [(1, False), (1, False)]


def test_every_frame_of_a_span_tells_the_mean_of_the_span():
    """So that two frames, of which a student entered between, do not differ by that student."""
    world = World(span_s=2.0)

    world.read(18, every_s=0.25)

    assert world.offered == [(9, True)] * 2
    assert world.faces == [13] * 9 + [22] * 9


def test_a_span_that_is_cut_short_is_withheld():
    """Who pauses and resumes again and again would else get a fresh mean each time, and the noise would cancel out."""
    world = World(span_s=2.0)

    world.read(10, every_s=0.2)
    world.batcher.flush(wait=True)

    assert world.faces == [None] * 10
    assert not world.batcher.gathering


def test_a_long_span_is_several_messages_of_the_same_mean():
    """A payload holds 150 frames."""
    world = World(span_s=20.0)

    world.read(401, every_s=0.05)

    assert world.offered == [(MAX_FRAMES, True)] * 2 + [(101, True)]
    assert world.faces == [209] * 401


def config(rate_hz: float, **publish: float) -> EdgeConfig:
    """Of a camera with this rate."""
    return edge_config(camera=CameraConfig(source="pi", rate_hz=rate_hz), publish=PublishConfig(**publish))


def test_a_span_that_cannot_hold_enough_frames_is_a_mistake_of_the_configuration():
    """Every span of it would be withheld."""
    with pytest.raises(ValueError, match=r"span_s = 20 .* rate_hz = 0.1: set it to 50 or more, or to 0"):
        config(rate_hz=0.1, span_s=20.0)
    assert config(rate_hz=0.1, span_s=50.0) != config(rate_hz=0.1, span_s=0.0)
