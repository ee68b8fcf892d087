"""A report's plots as SVG that stands in a page by itself, without scripts or anything to load."""

from collections.abc import Sequence
from datetime import tzinfo
from xml.etree import ElementTree as ET

import pygal
from pygal.style import Style

from aggregator.analysis.lesson import MINUTE_S, Lesson, Minute
from aggregator.web.charts import PALETTE
from aggregator.web.text import clock
from contract.message import utc

_MOST_LABELS = 12
"""Times written below a plot."""


def shares_plot(lesson: Lesson, zone: tzinfo | None) -> str:
    """The shares of every minute, stacked to 100 %."""
    minutes = _every_minute(lesson.minutes)
    chart = pygal.StackedLine(
        style=_style(tuple(reversed(PALETTE.values()))), fill=True, range=(0, 100), legend_at_bottom=False, **_COMMON
    )
    _times(chart, minutes, zone)
    for label in reversed(PALETTE):
        chart.add(label, [_percent(minute, label) for _, minute in minutes])
    return _still(chart)


def faces_plot(lesson: Lesson, zone: tzinfo | None) -> str:
    """The faces of every minute."""
    minutes = _every_minute(lesson.minutes)
    chart = pygal.Line(
        style=_style(("#111111",)),
        show_legend=False,
        include_x_axis=True,
        stroke_style={"width": 3},
        **{**_COMMON, "height": 260},
    )
    _times(chart, minutes, zone)
    chart.add("faces", [round(minute.mix.faces, 1) if minute else None for _, minute in minutes])
    return _still(chart)


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


def _style(colours: tuple[str, ...]) -> Style:
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


def _every_minute(minutes: Sequence[Minute]) -> list[tuple[int, Minute | None]]:
    """(start, minute), with None for those without a frame between the first and the last."""
    known = {minute.start: minute for minute in minutes}
    starts = range(minutes[0].start, minutes[-1].start + 1, MINUTE_S) if minutes else range(0)
    return [(start, known.get(start)) for start in starts]


def _times(chart: pygal.Graph, minutes: Sequence[tuple[int, Minute | None]], zone: tzinfo | None) -> None:
    labels = [clock(utc(start), zone) for start, _ in minutes]
    chart.x_labels = labels
    chart.x_labels_major = labels[:: max(1, -(-len(labels) // _MOST_LABELS))]


def _still(chart: pygal.Graph) -> str:
    """The plot as SVG, without the scripts that would make it answer to a mouse."""
    tree = chart.render_tree()
    for parent in list(tree.iter()):
        for script in [child for child in parent if str(child.tag).rpartition("}")[2] == "script"]:
            parent.remove(script)
    return ET.tostring(tree, encoding="unicode")


def _percent(minute: Minute | None, label: str) -> float | None:
    shares = minute.mix.shares if minute else None
    return round(100 * shares[label], 1) if shares else None
