"""A lesson as one HTML page that loads nothing, and as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import tzinfo
from html import escape
from pathlib import Path
from string import Template

from aggregator.analysis.cards import estimator_of
from aggregator.analysis.lesson import MINUTE_S, Lesson, lesson, name_of
from aggregator.analysis.mix import Mix
from aggregator.config import AggregatorConfig
from aggregator.store.factory import open_store
from aggregator.web.charts import PALETTE, group_colours, legend, timeline
from aggregator.web.headline import event_sentence, mix_text
from aggregator.web.language import N_, _, current, day_text, ngettext, number_text
from aggregator.web.reader import marks_of
from aggregator.web.text import clock, zone_text
from contract.labels import EMOTIONS
from contract.message import instant, utc
from contract.topics import Room
from service.cli import UsageError

LONGEST_S = 24 * 3600
"""A report is of a day at most."""
_FAR = 2**33
"""Seconds since 1970 that no clock, store or calendar has."""
_STYLE = Path(__file__).with_name("chart.css").read_text()
_PAGE = Template(Path(__file__).with_name("report.html").read_text())


class ReportError(UsageError):
    """A report that cannot be made; the text says why."""


def read(config: AggregatorConfig, room: Room, start: int, end: int) -> Lesson:
    """The lesson from the store.

    Raises:
        ReportError: If there can be no report of this span.
        StoreError: If the store cannot be read.
    """
    if not 0 <= start < _FAR:
        raise ReportError(_("There is no report of this room and time."))
    if not 0 < end - start <= LONGEST_S:
        text = _("a report is of a day at most, not of {hours} hours")
        raise ReportError(text.format(hours=number_text((end - start) / 3600, "0.0")))
    with open_store(config, writable=False) as store:
        rows, notes = store.windows(room.site, room.room, start, end), store.notes(room, start, end + MINUTE_S)
    whole = lesson(room, start, end, rows, estimator_of(config), config.attention)
    return replace(whole, notes=tuple(notes))


def file_name(lesson: Lesson, zone: tzinfo | None) -> str:
    """Room and start in a name for files, without extension."""
    return f"{lesson.room.site}-{lesson.room.room}-{utc(lesson.start).astimezone(zone):%Y-%m-%d-%H%M}"


def to_csv(lesson: Lesson) -> str:
    """A line per minute: faces, shares of what was withheld and unsure, estimate with interval, raw counts."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    names = {**{label: (label,) for label in EMOTIONS}, **lesson.groups}
    kinds = [f"{name}{end}" for name in names for end in ("", "_low", "_high", "_counted")]
    table.writerow(["minute", "frames", "withheld", "faces", "unsure", *kinds, "marks"])
    for start, mix in lesson.minutes:
        head = [instant(utc(start)), mix.frames, f"{mix.withheld:.4f}", f"{mix.faces:.2f}", f"{mix.unsure:.4f}"]
        marks = [note.text or note.kind for note in lesson.notes if start <= note.at < start + MINUTE_S]
        cells = [value for name, labels in names.items() for value in _cells(mix, name, labels)]
        table.writerow([*head, *cells, _harmless("; ".join(marks))])
    return out.getvalue()


def _harmless(text: str) -> str:
    """Not a formula, whatever somebody typed. Source: OWASP, "CSV Injection"."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def to_html(lesson: Lesson, zone: tzinfo | None) -> str:
    """The page; times in `zone`, this machine's if None."""
    day = day_text(utc(lesson.start).astimezone(zone), N_("EEEE, dd MMMM y"))
    begin, end = (clock(utc(t), zone) for t in (lesson.start, lesson.end))
    room = f"{lesson.room.site} / {lesson.room.room}"
    name = name_of(lesson.start, lesson.end, (), lesson.notes)
    nothing = _("No data was stored in this time.")
    body = (
        f"<h1><bdi>{escape(name or room)}</bdi></h1><p>{escape(f'{room}, ') if name else ''}"
        f"{escape(day)}, {_('{begin} to {end}.').format(begin=begin, end=end)} {escape(zone_text(zone))}</p>"
        f"{_body(lesson, lesson.whole, zone) if lesson.whole else f'<p><b>{nothing}</b></p>'}"
        f"<p class=small>{_caveat(lesson)}</p>"
    )
    return page_of(room, body)


def page_of(title: str, body: str) -> str:
    """A page in the report's style that loads nothing."""
    return _PAGE.substitute(title=escape(title), style=_STYLE, body=body, lang=current.get())


def _body(lesson: Lesson, whole: Mix, zone: tzinfo | None) -> str:
    first, last = lesson.minutes[0].start, lesson.minutes[-1].start
    number = len(lesson.events)
    news = event_sentence(lesson.events[-1], zone) if number else _("No change that lasted.")
    changes = ngettext("<b>{number}</b> lasting change", "<b>{number}</b> lasting changes", number)
    minutes = (last + MINUTE_S - first) // MINUTE_S
    length = ngettext("<b>{number}</b> minutes", "<b>{number}</b> minutes", minutes)
    faces = _("<b>{number}</b> faces on average").format(number=round(whole.faces))
    if whole.counts is not None:
        some = round(whole.faces * (1 - whole.unsure))
        faces += _(", {number} of them large and clear enough to read").format(number=some)
    facts = (
        f"<p class=headline>{escape(mix_text(whole))} {escape(news)}</p><ul class=facts>"
        f"<li>{faces}</li><li>{length.format(number=minutes)}</li><li>{changes.format(number=number)}</li></ul>"
    )
    colours = group_colours(lesson.groups)
    marks = marks_of(lesson.events, lesson.notes, zone)
    drawn = timeline(lesson.minutes, first, last + MINUTE_S, MINUTE_S, colours, zone, marks) + legend(colours)
    read = _(
        "{frames} frames; {unsure} of the faces were unsure; {withheld} of the frames were withheld, because too few "
        "faces could be read."
    ).format(frames=whole.frames, unsure=_percent(whole.unsure), withheld=_percent(whole.withheld))
    table = _table(lesson, whole) if whole.shares else ""
    return f"{facts}<h2>{_('Minute by minute')}</h2>{drawn}{table}<p class=small>{read}</p>"


def _table(lesson: Lesson, whole: Mix) -> str:
    """Groups, then labels."""
    rows = []
    for name, colour in {**group_colours(lesson.groups), **PALETTE}.items():
        share, low, high, counted = map(_percent, _cells(whole, name, lesson.groups.get(name, (name,))))
        rows.append(
            f'<tr><th><span style="background:{colour}"></span>{escape(_(name))}</th><td>{share}</td>'
            f"<td>{low and _('{low} to {high}').format(low=low[:-2], high=high)}</td><td>{counted}</td></tr>"
        )
    return (
        f"<table><thead><tr><th>{_('expression')}</th><th>{_('share')}</th><th>{_('90 % interval')}</th>"
        f"<th>{_('raw counts')}</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _percent(share: float | str) -> str:
    return "" if isinstance(share, str) else f"{100 * share:.0f} %"


def _cells(mix: Mix, name: str, labels: Sequence[str]) -> tuple[float | str, float | str, float | str, float | str]:
    """Share, low, high and counted share of a label, or of a group of labels; "" for what is not known."""
    total = sum(mix.counts.values()) if mix.counts else 0.0
    counted = round(sum(mix.counts[label] for label in labels) / total, 4) if mix.counts and total else ""
    if not mix.estimate or not mix.groups:
        return counted, "", "", counted
    share, low, high = (round(value, 4) for value in {**mix.estimate, **mix.groups}[name])
    return share, low, high, counted


def _caveat(lesson: Lesson) -> str:
    models = ", ".join(
        f"{model} ({_('with its card') if card else _('no card is installed: raw counts only')})"
        for model, card in lesson.models.items()
    )
    text = _(
        "Expressions are not feelings. The shares are estimates of a classifier that makes mistakes; the interval "
        "counts each person once, no matter how often the camera saw them. Only counts were stored, never pictures. "
        "Models: {models}."
    )
    return text.format(models=escape(models) or _("none"))
