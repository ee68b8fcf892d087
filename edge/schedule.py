"""Lesson hours: when the sensor may see at all. Pure: the caller brings the time."""

import re
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""Index as of datetime.weekday()."""
_LESSON = re.compile(r"(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))? +(?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Lesson:
    """Hours that recur every week; they begin with `begin` and end before `end`."""

    days: frozenset[int]
    """Of datetime.weekday()."""
    begin: time
    end: time | None
    """None: midnight."""

    def __contains__(self, local: datetime) -> bool:
        """Whether a local time lies within."""
        now = local.time()
        return local.weekday() in self.days and self.begin <= now and (self.end is None or now < self.end)


class Schedule:
    """All lessons of a room. Without any, it is always lesson time."""

    def __init__(self, time_zone: str, lessons: tuple[str, ...]) -> None:
        """Read the settings.

        Args:
            time_zone: Such as "Asia/Kolkata".
            lessons: Such as "mon-fri 08:00-12:30" or "sat 09:00-11:00".

        Raises:
            ValueError: Naming the value that cannot be used.
        """
        try:
            self._zone = ZoneInfo(time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"time_zone = {time_zone!r} is no time zone, such as Europe/Berlin") from None
        self._lessons = tuple(lesson(text) for text in lessons)

    @property
    def always(self) -> bool:
        """Whether there are no hours to keep."""
        return not self._lessons

    def in_lesson(self, now: datetime) -> bool:
        """Whether the sensor may see at `now`, which has a time zone."""
        local = now.astimezone(self._zone)
        return self.always or any(local in each for each in self._lessons)


def lesson(text: str) -> Lesson:
    """The lesson that a text such as "mon-fri 08:00-12:30" names.

    Raises:
        ValueError: Naming the text.
    """
    match = _LESSON.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"lessons has {text!r}, which is not like mon-fri 08:00-12:30")
    try:
        first = _day(match["first"])
        last = _day(match["last"] or match["first"])
        begin = time.fromisoformat(match["begin"])
        end = None if match["end"] == "24:00" else time.fromisoformat(match["end"])
    except ValueError as error:
        raise ValueError(f"lessons has {text!r}: {error}") from None
    if end is not None and end <= begin:
        raise ValueError(f"lessons has {text!r}: it ends before it begins")
    span = (last - first) % len(DAYS)
    return Lesson(frozenset((first + offset) % len(DAYS) for offset in range(span + 1)), begin, end)


def _day(name: str) -> int:
    if name not in DAYS:
        raise ValueError(f"{name} is none of {', '.join(DAYS)}")
    return DAYS.index(name)
