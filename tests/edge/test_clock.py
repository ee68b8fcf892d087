"""Frames are stamped from the monotonic clock plus one offset."""

from datetime import UTC, datetime, timedelta

from edge.clock import Clock

T0 = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


class Clocks:
    """A monotonic and a wall clock, set by hand."""

    def __init__(self) -> None:
        self.mono = 100.0
        self.wall = T0.timestamp()
        self.synchronized = True

    def pass_s(self, seconds: float) -> None:
        """Let both go on."""
        self.mono += seconds
        self.wall += seconds

    def clock(self, wait_s: float) -> Clock:
        """A clock that reads these."""
        return Clock(
            wait_s, synchronized=lambda: self.synchronized, monotonic=lambda: self.mono, wall=lambda: self.wall
        )


def test_a_frame_is_stamped_with_the_time_it_was_taken():
    """The stamp is of the capture, however much later it is asked for."""
    clocks = Clocks()
    clock = clocks.clock(300)
    clocks.pass_s(7)

    stamp = clock.stamp(103.25)

    assert stamp == (T0 + timedelta(seconds=3.25), True)


def test_a_step_of_the_wall_clock_changes_nothing_after_the_offset_is_fixed():
    """Hours forward or back: stamps keep order and distance."""
    for step_s in (5 * 3600.0, -5 * 3600.0):
        clocks = Clocks()
        clock = clocks.clock(300)
        before = clock.stamp(clocks.mono)
        clocks.wall += step_s
        clocks.pass_s(1)

        after = clock.stamp(clocks.mono)

        assert before is not None
        assert after == (before.t + timedelta(seconds=1), True)


def test_frames_wait_for_the_synchronised_clock_and_are_then_stamped_in_retrospect():
    """A frame taken before the clock was right gets the right time all the same."""
    clocks = Clocks()
    clocks.synchronized = False
    clocks.wall = 0.0
    clock = clocks.clock(300)
    captured = clocks.mono
    clocks.pass_s(20)
    waiting = clock.stamp(captured)
    clocks.wall = T0.timestamp()
    clocks.synchronized = True

    stamp = clock.stamp(captured)

    assert waiting is None
    assert stamp == (T0 - timedelta(seconds=20), True)


def test_after_wait_s_frames_go_out_marked_unsynced_with_one_provisional_offset():
    """An unsynchronised wall clock that is stepped does not reorder the frames it once gave times to."""
    clocks = Clocks()
    clocks.synchronized = False
    clock = clocks.clock(300)
    clocks.pass_s(300)
    first = clock.stamp(clocks.mono)
    clocks.wall -= 7200
    clocks.pass_s(1)

    second = clock.stamp(clocks.mono)

    assert first == (T0 + timedelta(seconds=300), False)
    assert second == (T0 + timedelta(seconds=301), False)


def test_a_clock_synchronised_late_marks_what_follows_as_synced():
    """Unsynced is not for ever."""
    clocks = Clocks()
    clocks.synchronized = False
    clocks.wall -= 86400
    clock = clocks.clock(0)
    early = clock.stamp(clocks.mono)
    clocks.wall += 86400
    clocks.synchronized = True

    late = clock.stamp(clocks.mono)

    assert early == (T0 - timedelta(days=1), False)
    assert late == (T0, True)


def test_a_daemon_that_ends_stamps_what_waits_as_unsynced():
    """Nothing is kept back for a synchronisation that this process will not see."""
    clocks = Clocks()
    clocks.synchronized = False
    clock = clocks.clock(300)

    stamp = clock.stamp(clocks.mono, wait=False)

    assert stamp == (T0, False)
