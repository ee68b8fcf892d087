"""A lesson as one HTML page that loads nothing, and as CSV. Plots are SVG without scripts; the only user of pygal."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from html import escape
from pathlib import Path
from string import Template
from xml.etree import ElementTree as ET

import pygal
from pygal.style import Style

from aggregator.analysis.cards import read_cards
from aggregator.analysis.lesson import MINUTE_S, Lesson, lesson
from aggregator.analysis.mix import Mix
from aggregator.config import AggregatorConfig
from aggregator.store.factory import open_store
from aggregator.web.charts import PALETTE
from aggregator.web.text import clock, event_text
from contract.labels import EMOTIONS
from contract.message import instant, utc
from contract.topics import Room
from service.cli import UsageError

LONGEST_S = 24 * 3600
"""A report is of a day at most."""
_PAGE = Template(Path(__file__).with_name("report.html").read_text())
_MOST_TIMES = 12
"""Times written below a plot."""


class ReportError(UsageError):
    """A report that cannot be made; the text says why."""


def read(config: AggregatorConfig, room: Room, start: int, end: int) -> Lesson:
    """The lesson from the store.

    Raises:
        ReportError: If there can be no report of this span.
        StoreError: If the store cannot be read.
    """
    if not 0 < end - start <= LONGEST_S:
        raise ReportError(f"a report is of a day at most, not of {(end - start) / 3600:.1f} hours")
    with open_store(config, writable=False) as store:
        rows = store.windows(room.site, room.room, start, end)
    return lesson(room, start, end, rows, read_cards(config.models_dir), config.attention)


def file_name(lesson: Lesson) -> str:
    """Room and start in a name for files, without extension."""
    return f"{lesson.room.site}-{lesson.room.room}-{utc(lesson.start).astimezone():%Y-%m-%d-%H%M}"


def to_csv(lesson: Lesson) -> str:
    """A line per minute: faces, shares of what was withheld and unsure, estimate with interval, raw counts."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    kinds = [f"{label}{end}" for label in EMOTIONS for end in ("", "_low", "_high", "_counted")]
    table.writerow(["minute", "frames", "withheld", "faces", "unsure", *kinds])
    for start, mix in lesson.minutes:
        head = [instant(utc(start)), mix.frames, f"{mix.withheld:.4f}", f"{mix.faces:.2f}", f"{mix.unsure:.4f}"]
        table.writerow(head + [value for label in EMOTIONS for value in _cells(mix, label)])
    return out.getvalue()


def to_html(lesson: Lesson, zone: tzinfo | None) -> str:
    """The page; times in `zone`, this machine's if None."""
    day = utc(lesson.start).astimezone(zone).strftime("%A, %d %B %Y")
    begin, end = (clock(utc(t), zone) for t in (lesson.start, lesson.end))
    title = escape(f"{lesson.room.site} / {lesson.room.room}")
    body = (
        f"<h1>{title}</h1><p>{escape(day)}, {begin} to {end}</p>"
        f"{_body(lesson, lesson.whole, zone) if lesson.whole else '<p><b>No data was stored in this time.</b></p>'}"
        f"<p class=small>{_caveat(lesson)}</p>"
    )
    return _PAGE.substitute(title=title, body=body)


def _body(lesson: Lesson, whole: Mix, zone: tzinfo | None) -> str:
    lines = "".join(f"<li>{escape(event_text(event, zone))}</li>" for event in lesson.events)
    changes = f"<h2>Lasting changes</h2><ul>{lines}</ul>" if lines else ""
    mixed = f"<h2>Shares, minute by minute</h2>{_shares_plot(lesson, zone)}{_table(whole)}" if whole.shares else ""
    facts = (
        f"<p><b>{whole.faces:.0f}</b> faces on average in {whole.frames} frames; {100 * whole.unsure:.0f} % of the "
        f"faces were unsure; {100 * whole.withheld:.0f} % of the frames were withheld, because too few faces could be "
        "read.</p>"
    )
    return f"{facts}{mixed}{changes}<h2>Faces</h2>{_faces_plot(lesson, zone)}"


def _table(whole: Mix) -> str:
    rows = "".join(
        f'<tr><th><span style="background:{colour}"></span>{label}</th>'
        f"<td>{_percent(share)}</td><td>{f'{_percent(low)} to {_percent(high)}' if low != '' else ''}</td>"
        f"<td>{_percent(counted)}</td></tr>"
        for label, colour in PALETTE.items()
        for share, low, high, counted in [_cells(whole, label)]
    )
    return (
        "<table><thead><tr><th>expression</th><th>share</th><th>90 % interval</th><th>raw counts</th></tr>"
        f"</thead><tbody>{rows}</tbody></table>"
    )


def _percent(share: float | str) -> str:
    return "" if isinstance(share, str) else f"{100 * share:.0f} %"


def _cells(mix: Mix, label: str) -> tuple[float | str, float | str, float | str, float | str]:
    """Share, low, high, counted share; "" for what is not known."""
    total = sum(mix.counts.values()) if mix.counts else 0.0
    counted = round(mix.counts[label] / total, 4) if mix.counts and total else ""
    if not mix.estimate:
        return counted, "", "", counted
    share, low, high = (round(value, 4) for value in mix.estimate[label])
    return share, low, high, counted


def _caveat(lesson: Lesson) -> str:
    models = ", ".join(
        f"{model} ({'with its card' if card else 'no card is installed: raw counts only'})"
        for model, card in lesson.models.items()
    )
    return (
        "Expressions are not feelings. The shares are estimates of a classifier that makes mistakes; the interval "
        "counts each person once, no matter how often the camera saw them. Only counts were stored, never pictures. "
        f"Models: {escape(models) or 'none'}."
    )


def _shares_plot(lesson: Lesson, zone: tzinfo | None) -> str:
    """The shares of every minute, stacked to 100 %."""
    mixes = _every_minute(lesson)
    shares = {at: mix.shares for at, mix in mixes.items() if mix and mix.shares}
    lines = {label: [_points(shares, at, label) for at in mixes] for label in reversed(PALETTE)}
    chart = pygal.StackedLine(style=_style(*reversed(PALETTE.values())), fill=True, range=(0, 100), **_COMMON)
    return _svg(chart, list(mixes), lines, zone)


def _faces_plot(lesson: Lesson, zone: tzinfo | None) -> str:
    """The faces of every minute."""
    mixes = _every_minute(lesson)
    faces = [round(mix.faces, 1) if mix else None for mix in mixes.values()]
    options = {**_COMMON, "height": 260, "show_legend": False, "include_x_axis": True, "stroke_style": {"width": 3}}
    return _svg(pygal.Line(style=_style("#111111"), **options), list(mixes), {"faces": faces}, zone)


_COMMON = {
    "js": [],
    "show_dots": False,
    "width": 1000,
    "height": 420,
    "truncate_label": -1,
    "y_labels_major_count": 3,
    "show_minor_y_labels": False,
    "show_minor_x_labels": False,
    "explicit_size": False,
}


def _style(*colours: str) -> Style:
    return Style(
        background="transparent",
        plot_background="transparent",
        colors=colours,
        opacity="1",
        opacity_hover="1",
        font_family="system-ui, sans-serif",
        label_font_size=15,
        major_label_font_size=15,
        legend_font_size=15,
        foreground="#222222",
        foreground_strong="#111111",
        foreground_subtle="#bbbbbb",
    )


def _every_minute(lesson: Lesson) -> dict[int, Mix | None]:
    """The mix by minute, None for those without a frame between the first and the last."""
    known = dict(lesson.minutes)
    return {start: known.get(start) for start in range(min(known), max(known) + 1, MINUTE_S)}


def _points(shares: Mapping[int, Mapping[str, float]], at: int, label: str) -> float | None:
    return round(100 * shares[at][label], 1) if at in shares else None


def _svg(
    chart: pygal.Graph, starts: Sequence[int], lines: Mapping[str, Sequence[float | None]], zone: tzinfo | None
) -> str:
    """The plot without the scripts that would make it react to a mouse."""
    chart.x_labels = [clock(utc(start), zone) for start in starts]
    chart.x_labels_major = chart.x_labels[:: max(1, -(-len(starts) // _MOST_TIMES))]
    for name, values in lines.items():
        chart.add(name, values)
    tree = chart.render_tree()
    for parent in list(tree.iter()):
        for script in [child for child in parent if str(child.tag).rpartition("}")[2] == "script"]:
            parent.remove(script)
    return ET.tostring(tree, encoding="unicode")
