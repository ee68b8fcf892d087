"""Outside lesson hours the sensor must not see."""

from datetime import UTC, datetime

import pytest

from edge.config import ScheduleConfig
from edge.schedule import Schedule
from service.config import ConfigError, build

WEEK = ("mon-fri 08:00-12:30", "sat 09:00-11:00")


@pytest.mark.parametrize(
    ("utc", "lesson"),
    [
        ("2026-11-20T02:30", True),  # Friday 08:00 in Kolkata
        ("2026-11-20T02:29", False),
        ("2026-11-20T06:59", True),
        ("2026-11-20T07:00", False),  # 12:30: the end is not part of it
        ("2026-11-21T04:00", True),  # Saturday 09:30
        ("2026-11-22T04:00", False),  # Sunday
        ("2026-11-19T20:00", False),  # Friday 01:30 already
    ],
)
def test_lessons_are_of_the_rooms_time_zone(utc, lesson):
    """Hours and days are the room's, whatever the machine's clock shows."""
    schedule = Schedule("Asia/Kolkata", WEEK)

    assert schedule.in_lesson(datetime.fromisoformat(utc).replace(tzinfo=UTC)) is lesson


def test_lessons_keep_their_hour_over_summer_time():
    """Eight o'clock is eight o'clock: 06:00 UTC in a Berlin summer, 07:00 in winter."""
    schedule = Schedule("Europe/Berlin", ("mon-sun 08:00-09:00",))

    hours = [schedule.in_lesson(datetime(2026, month, 15, hour, tzinfo=UTC)) for month in (7, 1) for hour in (6, 7)]

    assert hours == [True, False, False, True]


def test_days_may_run_over_the_week_and_hours_to_midnight():
    """Such as sat-mon, and 24:00."""
    schedule = Schedule("UTC", ("sat-mon 22:00-24:00",))

    days = [schedule.in_lesson(datetime(2026, 11, day, 23, 59, tzinfo=UTC)) for day in range(20, 25)]

    assert days == [False, True, True, True, False]


def test_without_lessons_it_is_always_lesson_time():
    """The schedule is an offer."""
    assert Schedule("UTC", ()).in_lesson(datetime(2026, 11, 22, 3, tzinfo=UTC))


@pytest.mark.parametrize(
    ("zone", "lesson"),
    [
        ("Europe/Atlantis", "mon 08:00-09:00"),
        ("../etc/passwd", "mon 08:00-09:00"),
        ("UTC", "mon 8:00-9:00"),
        ("UTC", "monday 08:00-09:00"),
        ("UTC", "mon-xyz 08:00-09:00"),
        ("UTC", "mon 08:00-25:00"),
        ("UTC", "mon 10:00-09:00"),
        ("UTC", "mon 10:00-10:00"),
        ("UTC", ""),
    ],
)
def test_a_schedule_that_cannot_be_read_is_an_error_that_names_the_value(zone, lesson):
    """The daemon does not start with hours that it does not understand."""
    wrong = lesson if zone == "UTC" else zone

    with pytest.raises(ConfigError) as error:
        build({"time_zone": zone, "lessons": [lesson]}, ScheduleConfig)

    assert repr(wrong) in str(error.value)
