"""The lessons of a room: the list, and two lessons over one another. Pages without scripts, like the report."""

import logging
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta, tzinfo
from html import escape
from typing import NamedTuple
from urllib.parse import urlencode

from msgspec import MsgspecError, json

from aggregator.analysis.cards import estimator_of
from aggregator.analysis.lesson import GAP_S, MINUTE_S, Lesson, Line, lesson, line_of, name_of, spans
from aggregator.config import AggregatorConfig
from aggregator.store.factory import open_store
from aggregator.store.types import Note, Store, StoreError
from aggregator.web.charts import course, group_colours, legend, overlaid
from aggregator.web.headline import event_sentence
from aggregator.web.language import N_, _, day_text, switch_html
from aggregator.web.report import ReportError, page_of, read
from aggregator.web.text import clock, zone_text
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
    root, zone = config.page.path, config.zone
    shown = [line for line in reversed(known) if line.start >= month.begin]
    rows = "".join(_row(root, room, line, known, notes, zone) for line in shown)
    where = escape(f"{room.site} / {room.room}")
    title = _("Lessons of {room}").format(room=f"{room.site} / {room.room}")
    body = (
        f"<p><a href={root}/room/{room.site}/{room.room}>← {where}</a></p><h1>{escape(title)}</h1>"
        f"<p>{escape(zone_text(zone))} {_('Kept as long as the counts are.')}</p>"
        f"{f'<p class=problem role=alert>{escape(problem)}</p>' if problem else ''}"
        f"<h2>{day_text(month.first, N_('MMMM y'))}</h2><nav>{_month_link(month.before, '← ', '')}"
        f"{_month_link(month.after, '', ' →') if month.end <= time.time() else ''}</nav>"
    )
    if not rows:
        return page_of(title, f"{body}<p><b>{_('No lesson in this month.')}</b></p>{switch_html(root)}")
    colours = group_colours(known[-1].groups)
    body += (
        f"<form action={root}/compare/{room.site}/{room.room}><button>{_('compare the two that are ticked')}</button>"
        f"{legend(colours)}"
        f"<table class=lessons><thead><tr><th><th>{_('lesson')}<th>{_('minutes')}<th>{_('faces')}<th>{_('course')}"
        f"<th>{_('lasting changes')}</tr></thead><tbody>{rows}</tbody></table></form>"
    )
    return page_of(title, body + switch_html(root))


def _month_link(first: date, before: str, after: str) -> str:
    return f'<a href="?month={first:%Y-%m}">{before}{day_text(first, N_("MMMM y"))}{after}</a>'


def _row(root: str, room: Room, line: Line, known: Sequence[Line], notes: Sequence[Note], zone: tzinfo | None) -> str:
    name = name_of(line.start, line.end, (), notes) or line.planned
    local, value = utc(line.start).astimezone(zone), _value(line)
    day = f"{day_text(local, N_('EEE dd MMM y'))}, {clock(local, zone)}"
    link = f"{root}/report/{room.site}/{room.room}?start={line.start}&amp;end={line.end}"
    first = bisect_left(known, line.start - _WEEK_S - _ABOUT_S, key=lambda other: other.start)
    ago = [other for other in known[first : first + 1] if other.start < line.start - _WEEK_S + _ABOUT_S]
    compare = ""
    if ago:
        query = urlencode([("lesson", value), ("lesson", _value(ago[0]))])
        weekday = day_text(utc(ago[0].start).astimezone(zone), N_("EEEE"))
        text = _("compare with last {weekday}").format(weekday=weekday)
        compare = f" <a href='{root}/compare/{room.site}/{room.room}?{escape(query)}'>{text}</a>"
    events = "".join(f"<div>{escape(event_sentence(event, zone))}</div>" for event in line.events)
    return (
        f"<tr><td><input type=checkbox name=lesson value={value} "
        f"aria-label='{_('compare {day}').format(day=day)}'></td>"
        f"<td><a href={link}>{day}</a> <b><bdi>{escape(name)}</bdi></b>{compare}</td>"
        f"<td>{(line.end - line.start) / 60:.0f}<i> {_('min')}</i></td><td>{line.faces:.0f}<i> {_('faces')}</i></td>"
        f"<td>{course(line.course, group_colours(line.groups).values())}</td><td>{events or '–'}</td></tr>"  # noqa: RUF001
    )


def _value(line: Line) -> str:
    return f"{line.start}-{line.end}"


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
    colours = group_colours(both[0].groups)
    heads = "".join(
        f"<li class={kind}>{_head(each, config.zone)}</li>"
        for kind, each in zip(("first", "second"), both, strict=True)
    )
    caveat = _(
        "Shares of the expressions in each minute. Expressions are not feelings, and two lessons differ for many "
        "reasons."
    )
    body = (
        f"<p><a href={config.page.path}/lessons/{room.site}/{room.room}>{_('← all lessons')}</a></p>"
        f"<h1>{_('Two lessons over one another')}</h1>"
        f"<ul class=both>{heads}</ul>{overlaid([each.minutes for each in both], MINUTE_S, colours)}"
        f"<p class=small>{escape(zone_text(config.zone))} {caveat}</p>{switch_html(config.page.path)}"
    )
    return page_of(f"{room.site} / {room.room}", body)


def _head(each: Lesson, zone: tzinfo | None) -> str:
    name, local = name_of(each.start, each.end, (), each.notes), utc(each.start).astimezone(zone)
    faces = round(each.whole.faces) if each.whole else 0
    return (
        f"{day_text(local, 'EEEE, dd MMMM y')}, {clock(local, zone)}{name and f' <b><bdi>{escape(name)}</bdi></b>'}: "
        f"{_('{faces} faces, lasting changes: {number}').format(faces=faces, number=len(each.events))}"
    )
