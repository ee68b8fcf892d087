"""When lessons are planned: the configuration's weeks, and iCalendar files or addresses. The only user of icalendar.

A calendar is read in a thread of its own, so that no page waits for one that is huge or out of reach.
"""

import logging
import re
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, tzinfo
from http.client import HTTPException
from itertools import islice
from pathlib import Path

from aggregator.analysis.lesson import Planned
from aggregator.config import TIMETABLE, WEEKDAYS, LessonsConfig
from aggregator.web.language import N_, _
from contract.topics import Room

log = logging.getLogger(__name__)

_EVERY_S = 900.0
_WITHIN_S = 10.0
_MOST_BYTES = 2_000_000
_MOST_LESSONS = 2000
_OFTEN = re.compile(rb"FREQ=(SECONDLY|MINUTELY|HOURLY)", re.IGNORECASE)
"""No lesson repeats like that, and to count years of it takes minutes in which pages are slow."""
_NO_CALENDAR = N_("it is no calendar that can be read ({why})")
_BACK, _AHEAD = timedelta(days=8), timedelta(days=2)
"""What a calendar plans is known for these days; names of older lessons stand in the list."""


class CalendarError(ValueError):
    """A calendar that cannot be used; the text says why."""

    def __init__(self, text: str, why: object) -> None:
        """`text`: in the catalogues, with {why}, which is shown as it is: it comes from elsewhere."""
        super().__init__(text.format(why=why))
        self.text, self.why = text, why


class Timetable:
    """The planned lessons of all rooms."""

    def __init__(self, config: LessonsConfig, zone: tzinfo | None) -> None:
        self._config = config
        self.zone = zone
        self._pool = ThreadPoolExecutor(1, "calendar")
        self._asked: dict[str, float] = {}
        self._calendars: dict[str, list[Planned]] = {}
        self.problems: dict[str, CalendarError] = {}
        """`site/room` -> why its calendar cannot be used now; what was read before still holds."""

    def planned(self, room: Room, start: float, end: float) -> list[Planned]:
        """What is planned in a room and not over before `start` or begun after `end`, seconds since 1970, by time."""
        name = f"{room.site}/{room.room}"
        self._look(name)
        lessons = [
            *_weekly(self._config.timetable.get(name, ()), start, end, self.zone),
            *self._calendars.get(name, ()),
        ]
        return sorted(lesson for lesson in lessons if lesson.end > start and lesson.start < end)

    def problem(self, room: Room) -> str:
        """What to tell of its calendar; empty if all is well."""
        error = self.problems.get(name := f"{room.site}/{room.room}")
        if error is None:
            return ""
        reason = f"{self._config.calendar[name]}: {_(error.text).format(why=error.why)}"
        return _("▲ The timetable cannot be read now: {reason}").format(reason=reason)

    def _look(self, name: str) -> None:
        """Begin to read its calendar again when it is time."""
        source, now = self._config.calendar.get(name), time.monotonic()
        if source and now - self._asked.get(name, float("-inf")) > _EVERY_S:
            self._asked[name] = now
            self._pool.submit(self._read, name, source)

    def _read(self, name: str, source: str) -> None:
        try:
            self._calendars[name] = read_calendar(source, self.zone)
            self.problems.pop(name, None)
        except CalendarError as error:
            if name not in self.problems:
                log.warning("calendar of %s: %s: %s", name, source, error)
            self.problems[name] = error


def _weekly(lines: tuple[str, ...], start: float, end: float, zone: tzinfo | None) -> Iterator[Planned]:
    day, last = (datetime.fromtimestamp(at, UTC).astimezone(zone).date() for at in (start - 86400, end))
    while day <= last:
        for line in lines:
            match = TIMETABLE.fullmatch(line)
            if match and match[1] == WEEKDAYS[day.weekday()]:
                begin, close = (
                    datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=zone).timestamp()
                    for clock in match.group(2, 3)
                )
                yield Planned(begin, close, match[4])
        day += timedelta(days=1)


def read_calendar(source: str, zone: tzinfo | None) -> list[Planned]:
    """The lessons of the days around now, by a calendar's file or address; times without a zone are in `zone`.

    Raises:
        CalendarError: If it cannot be reached, is too big, or is no calendar.
    """
    # here, so that a process without a calendar does not load them
    import recurring_ical_events  # noqa: PLC0415
    from icalendar import Calendar  # noqa: PLC0415

    try:
        if source.startswith(("http://", "https://")):
            with urllib.request.urlopen(source, timeout=_WITHIN_S) as answer:  # noqa: S310 - http or https, see above
                data = answer.read(_MOST_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)  # urllib wraps what happened
        raise CalendarError(N_("it cannot be reached ({why})"), getattr(reason, "strerror", None) or reason) from error
    if len(data) > _MOST_BYTES:
        raise CalendarError(N_("it has more than {why} MB: export fewer months"), _MOST_BYTES // 1_000_000)
    if often := _OFTEN.search(re.sub(rb"\r?\n[ \t]", b"", data)):
        raise CalendarError(_NO_CALENDAR, often[0].decode())
    now = datetime.now(UTC)
    try:
        calendar = Calendar.from_ical(data)
        events = list(islice(recurring_ical_events.of(calendar).between(now - _BACK, now + _AHEAD), _MOST_LESSONS))
        times = ((_in(zone, event.start), _in(zone, event.end), str(event.get("SUMMARY", ""))[:80]) for event in events)
        return [Planned(start.timestamp(), end.timestamp(), name) for start, end, name in times if start and end]
    except Exception as error:  # whatever the two libraries raise on what others wrote
        raise CalendarError(_NO_CALENDAR, str(error)[:200]) from error


def _in(zone: tzinfo | None, at: object) -> datetime | None:
    """A time that names no zone is one of the site's; a whole day is no lesson."""
    if not isinstance(at, datetime):
        return None
    return at if at.tzinfo else at.replace(tzinfo=zone).astimezone(UTC)
