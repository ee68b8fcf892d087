"""A lesson as one HTML page that loads nothing, and as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import tzinfo

from aggregator.analysis.cards import estimator_of
from aggregator.analysis.lesson import MINUTE_S, Lesson, lesson, name_of
from aggregator.analysis.mix import Mix
from aggregator.config import AggregatorConfig
from aggregator.store.factory import open_store
from aggregator.web.charts import PALETTE, group_colours, timeline
from aggregator.web.headline import event_sentence, mix_text
from aggregator.web.language import _, number_text
from aggregator.web.reader import marks_of
from aggregator.web.templates import render
from contract.labels import EMOTIONS
from contract.message import instant, utc
from contract.topics import Room
from service.cli import UsageError

LONGEST_S = 24 * 3600
"""A report is of a day at most."""
_FAR = 2**33
"""Seconds since 1970 that no clock, store or calendar has."""


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
        readings = store.readings(room, start, end)
    whole = lesson(room, start, end, rows, estimator_of(config), config.attention)
    return replace(whole, notes=tuple(notes), readings=readings)


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
    whole, minutes = lesson.whole, lesson.minutes
    fields: dict[str, object] = {"lesson": lesson, "whole": whole, "zone": zone}
    if whole:
        first, end = minutes[0].start, minutes[-1].start + MINUTE_S
        colours, marks = group_colours(lesson.groups), marks_of(lesson.events, lesson.notes, zone)
        news = event_sentence(lesson.events[-1], zone) if lesson.events else _("No change that lasted.")
        fields |= {
            "headline": f"{mix_text(whole)} {news}",
            "minutes": (end - first) // MINUTE_S,
            "chart": timeline(minutes, first, end, MINUTE_S, colours, zone, marks),
            "rows": [
                (name, colour, _cells(whole, name, lesson.groups.get(name, (name,))))
                for name, colour in {**colours, **PALETTE}.items()
            ],
        }
    title, name = f"{lesson.room.site} / {lesson.room.room}", name_of(lesson.start, lesson.end, (), lesson.notes)
    return render("report.html", title=title, name=name, **fields)


def _cells(mix: Mix, name: str, labels: Sequence[str]) -> tuple[float | str, float | str, float | str, float | str]:
    """Share, low, high and counted share of a label, or of a group of labels; "" for what is not known."""
    total = sum(mix.counts.values()) if mix.counts else 0.0
    counted = round(sum(mix.counts[label] for label in labels) / total, 4) if mix.counts and total else ""
    if not mix.estimate or not mix.groups:
        return counted, "", "", counted
    share, low, high = (round(value, 4) for value in {**mix.estimate, **mix.groups}[name])
    return share, low, high, counted
