"""Lesson hours: when the sensor may capture at all. Pure: the caller brings the time."""

import re
from dataclasses import dataclass
from datetime import datetime, time
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""Index as of datetime.weekday()."""
_DAY = "|".join(DAYS)
_HOURS = re.compile(rf"(?P<first>{_DAY})(-(?P<last>{_DAY}))? +(?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class WeeklyHours:
    """Hours that recur every week; they begin with `begin` and end before `end`."""

    days: frozenset[int]
    """Of datetime.weekday()."""
    begin: time
    end: time
    """time.max: midnight."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The hours that a text such as "mon-fri 08:00-12:30" names.

        Raises:
            ValueError: Naming the text.
        """
        match = _HOURS.fullmatch(text.strip().lower())
        if match is None:
            raise ValueError(f"lessons has {text!r}, which is not like mon-fri 08:00-12:30")
        first, last = DAYS.index(match["first"]), DAYS.index(match["last"] or match["first"])
        try:
            begin = time.fromisoformat(match["begin"])
            end = time.max if match["end"] == "24:00" else time.fromisoformat(match["end"])
        except ValueError as error:
            raise ValueError(f"lessons has {text!r}: {error}") from None
        if end <= begin:
            raise ValueError(f"lessons has {text!r}: it ends before it begins")
        days = frozenset((first + offset) % len(DAYS) for offset in range((last - first) % len(DAYS) + 1))
        return cls(days, begin, end)

    def __contains__(self, local: datetime) -> bool:
        """Whether a local time lies within."""
        return local.weekday() in self.days and self.begin <= local.time() < self.end


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
        self._lessons = tuple(map(WeeklyHours.parse, lessons))

    @property
    def always(self) -> bool:
        """Whether there are no hours to keep."""
        return not self._lessons

    def in_lesson(self, now: datetime) -> bool:
        """Whether the sensor may capture at `now`, which has a time zone."""
        local = now.astimezone(self._zone)
        return self.always or any(local in hours for hours in self._lessons)
