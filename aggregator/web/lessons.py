"""The lessons of a room: the list, and two lessons over one another. Pages without scripts, like the report."""

import logging
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

from msgspec import MsgspecError, json

from aggregator.analysis.cards import estimator_of
from aggregator.analysis.lesson import GAP_S, MINUTE_S, Line, lesson, line_of, name_of, spans
from aggregator.config import AggregatorConfig
from aggregator.store.factory import open_store
from aggregator.store.types import Note, Store, StoreError
from aggregator.web.charts import areas, course, group_colours
from aggregator.web.language import _
from aggregator.web.report import ReportError, read
from aggregator.web.templates import render
from aggregator.web.timetable import Timetable
from contract.message import utc
from contract.topics import Room

log = logging.getLogger(__name__)

_SETTLED_S = 24 * 3600
"""Lessons that ended so long ago are not added up again: most late frames have come by then."""
_DECODER = json.Decoder(Line)
_WEEK_S, _ABOUT_S = 7 * 24 * 3600, 20 * 60


class Month(NamedTuple):
    """A month of a site: its first day, begin and end in seconds since 1970, and the months before and after."""

    first: date
    begin: int
    end: int
    before: date
    after: date


def month_of(text: str, now: float, zone: tzinfo | None) -> Month:
    """The month that `text` says, such as 2026-11, or the one that runs.

    Raises:
        ReportError: If there is no such month.
    """
    try:
        first = date.fromisoformat(f"{text}-01") if text else utc(now).astimezone(zone).date().replace(day=1)
        before, after = (first - timedelta(days=1)).replace(day=1), (first + timedelta(days=31)).replace(day=1)
        begin, end = (int(datetime(day.year, day.month, 1, tzinfo=zone).timestamp()) for day in (first, after))
    except (ValueError, OverflowError) as error:
        raise ReportError(_("There is no report of this room and time.")) from error
    return Month(first, begin, end, before, after)


def lines(
    config: AggregatorConfig, timetable: Timetable, room: Room, month: Month, now: int
) -> tuple[list[Line], list[Note]]:
    """The known lessons of a room until the month's end, by time, those of the month in full, and what people said.

    What has ended is kept in the store, so that a month is added up once.

    Raises:
        StoreError: If the store cannot be read.
    """
    with open_store(config, writable=False) as store:
        known = [line for text in store.lessons(room) if (line := _line(text, config))]
        settled = [line.end for line in known if month.begin <= line.start < month.end and line.end < now - _SETTLED_S]
        since, end = max([month.begin, *settled]), min(month.end, now)
        notes = store.notes(room, 0, now)
        fresh = list(_fresh(config, timetable, store, room, since, end, known, notes))
    ended = {line.start: json.encode(line).decode() for line in fresh if line.end < now - GAP_S}
    if ended.keys() - {line.start for line in known} or any(line not in known for line in fresh):
        later = {line.start: json.encode(line).decode() for line in known if line.start >= month.end}
        try:
            with open_store(config) as store:
                store.keep_lessons(room, since, ended | later)
        except StoreError as error:  # it is added up again next time
            log.warning("the list of lessons is not kept: %s", error)
    return [*(line for line in known if line.start < since), *fresh], notes


def _line(text: str, config: AggregatorConfig) -> Line | None:
    """None if the site's groups, or this code, are others now."""
    with suppress(MsgspecError):
        line = _DECODER.decode(text)
        return line if line.groups == tuple(config.groups) else None
    return None


def _fresh(  # noqa: PLR0913, PLR0917 - what a list is made of
    config: AggregatorConfig,
    timetable: Timetable,
    store: Store,
    room: Room,
    since: int,
    now: int,
    known: Sequence[Line],
    notes: Sequence[Note],
) -> Iterator[Line]:
    """The lessons after `since`; one whose frames are as many as before is not added up again."""
    rows = store.windows(room.site, room.room, since, now)
    planned, estimator = timetable.planned(room, since, now), estimator_of(config)
    starts = [key.start for key, _ in rows]
    before = {(line.start, line.end, line.frames): line for line in known}
    for span in spans(sorted(set(starts)), planned, notes):
        its = rows[bisect_left(starts, span.start) : bisect_left(starts, span.end)]
        line = before.get((span.start, span.end, sum(sums.frames for _, sums in its)))
        if line is None:
            whole = lesson(room, span.start, span.end, its, estimator, config.attention)
            line = line_of(whole, name_of(span.start, span.end, planned, ()))
        if line:
            yield line


def list_html(
    room: Room, month: Month, found: tuple[list[Line], list[Note]], problem: str, config: AggregatorConfig
) -> str:
    """The lessons of a month, newest first, as a form in which two can be chosen."""
    known, notes = found
    return render(
        "lessons.html",
        title=_("Lessons of {room}").format(room=f"{room.site} / {room.room}"),
        root=config.page.path,
        room=room,
        zone=config.zone,
        month=month,
        now=time.time(),
        problem=problem,
        rows=[_row(line, known, notes) for line in reversed(known) if line.start >= month.begin],
    )


def _row(line: Line, known: Sequence[Line], notes: Sequence[Note]) -> dict[str, object]:
    """With the lesson at about the same time a week ago, and the areas of its course in small."""
    first = bisect_left(known, line.start - _WEEK_S - _ABOUT_S, key=lambda other: other.start)
    ago = next(iter(known[first : first + 1]), None)
    week_ago = ago if ago and ago.start < line.start - _WEEK_S + _ABOUT_S else None
    name, colours = name_of(line.start, line.end, (), notes) or line.planned, group_colours(line.groups)
    read = [(place, place + 1, each) for place, each in enumerate(line.course) if each]
    small = areas(read, colours.values(), 100)
    return {"line": line, "name": name, "week_ago": week_ago, "colours": colours, "areas": small}


def compare_html(config: AggregatorConfig, room: Room, chosen: Sequence[str]) -> str:
    """Two lessons over one another.

    Raises:
        ReportError: If `chosen` are not two spans such as `1795000000-1795002700` with data.
        StoreError: If the store cannot be read.
    """
    try:
        both = [read(config, room, *map(int, each.split("-"))) for each in chosen]
    except (TypeError, ValueError) as error:
        raise ReportError(_("no lessons: {chosen}").format(chosen=chosen)) from error
    if len(both) != 2:
        raise ReportError(_("Tick two lessons of the list, no more and no fewer."))
    if not all(each.minutes for each in both):
        raise ReportError(_("No data is stored of one of these lessons."))
    longest_s = max(each.minutes[-1].start + MINUTE_S - each.minutes[0].start for each in both)
    return render(
        "compare.html",
        title=f"{room.site} / {room.room}",
        root=config.page.path,
        room=room,
        zone=config.zone,
        both=both,
        groups=[
            (name, colour, [course(each.minutes, name, MINUTE_S, longest_s) for each in both])
            for name, colour in group_colours(both[0].groups).items()
        ],
        minutes=longest_s // MINUTE_S,
    )
