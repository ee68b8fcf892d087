"""Charts of the page and of the report: what the templates draw as HTML and SVG without scripts. Pure.

Colours are set here for each label; text and lines take theirs from the style sheet (chart.css), for dark and light.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import NamedTuple

from aggregator.analysis.mix import Mix, Moment
from aggregator.web.language import N_
from aggregator.web.templates import render

PALETTE = {
    N_("happy"): "#e69f00",
    N_("surprise"): "#56b4e9",
    N_("neutral"): "#9a9a9a",
    N_("sad"): "#0072b2",
    N_("fear"): "#cc79a7",
    N_("disgust"): "#009e73",
    N_("angry"): "#d55e00",
}
"""Label -> colour, in the order in which labels are shown. Source: Okabe and Ito, "Color Universal Design", 2008: told
apart by people with any kind of colour blindness."""
_GROUP_COLOURS = ("#56b4e9", "#9a9a9a", "#d55e00", "#e69f00", "#009e73", "#cc79a7", "#0072b2")
"""In the order of the groups: pleasant, neutral, unpleasant. Source: the same."""
GROUPS = N_("pleasant"), N_("neutral"), N_("unpleasant")
"""The names of the groups that the configuration has by default; a school's own are shown as they are."""
NOTABLE = 0.05
"""A trend of at least this share gets an arrow."""
_TICKS_S = (60, 120, 300, 600, 1800, 3600, 7200, 10800)
_MOST_TICKS = 10


def group_colours(groups: Iterable[str]) -> dict[str, str]:
    """Group -> colour."""
    return dict(zip(groups, _GROUP_COLOURS, strict=False))


def groups_table(recent: Mix | None, lesson: Mix | None, colours: Mapping[str, str]) -> str:
    """The current mix of the groups, with what is more or less than in the lesson."""
    now, before = (recent and recent.groups) or {}, (lesson and lesson.groups) or {}
    trend = {name: now[name][0] - before[name][0] for name in now if name in before}
    fields = {"shares": now, "colours": colours, "trend": trend, "raw": {}}
    return render("mix.html", **fields, notable=NOTABLE, intervals=recent and recent.estimate)


def labels_table(recent: Mix | None, trend: Mapping[str, float] | None) -> str:
    """The same of the seven labels, and a diamond for the raw counts where there is an estimate."""
    estimate = recent and recent.estimate
    shares = estimate or {label: (share, 0.0, 1.0) for label, share in ((recent and recent.shares) or {}).items()}
    counts = (estimate and recent and recent.counts) or {}
    raw = {label: count / (sum(counts.values()) or 1) for label, count in counts.items()}
    fields = {"shares": shares, "colours": PALETTE, "trend": trend or {}, "raw": raw}
    return render("mix.html", **fields, notable=NOTABLE, intervals=estimate)


class Mark(NamedTuple):
    """Something that happened, drawn on a timeline and told below it."""

    at: float
    """Seconds since 1970."""
    kind: str
    """event or mark: a class of the style sheet."""
    text: str
    author: str = ""
    """Who says so; empty for an event, whose text tells its time."""


def timeline(  # noqa: PLR0917, PLR0913 - what a chart has
    moments: Sequence[Moment],
    begin: int,
    end: int,
    step_s: int,
    colours: Mapping[str, str],
    zone: tzinfo | None,
    marks: Iterable[Mark] = (),
) -> str:
    """Shares of the groups stacked to 100 % over time, below them the faces, what happened, and the legend.

    Args:
        moments: Of spans of `step_s` seconds, by time.
        begin: Left edge, seconds since 1970.
        end: Right edge.
        step_s: Width of a moment.
        colours: Of the groups.
        zone: Of the times below; this machine's if None.
        marks: What happened, with a number each; those outside the edges are left out.
    """
    length = max(end - begin, 1)
    spans = [
        (max(start - begin, 0) * 1000 / length, min(start + step_s - begin, length) * 1000 / length, mix)
        for start, mix in moments
    ]
    read = [(left, right, [mix.groups[name][0] for name in colours]) for left, right, mix in spans if mix.groups]
    most = max(5, -(-int(max((mix.faces for _, _, mix in spans), default=0.0) + 1) // 5) * 5)
    step = next((step for step in _TICKS_S if length / step <= _MOST_TICKS), _TICKS_S[-1])
    return render(
        "timeline.html",
        areas=areas(read, colours.values(), 1000),
        faces=_path([(left, right, most - mix.faces) for left, right, mix in spans]),
        most=most,
        marks=sorted(mark for mark in marks if begin <= mark.at <= end),
        times=range(-(-begin // step) * step, end + 1 - length // 40, step),  # the last would reach over the edge
        left=lambda at: 100 * (at - begin) / length,
        colours=colours,
        zone=zone,
    )


def course(moments: Sequence[Moment], name: str, step_s: int, longest_s: int) -> str:
    """A path of one group's share, from the begin of a lesson; `longest_s` is as wide as the plot."""
    read = [(start - moments[0].start, mix.groups[name][0]) for start, mix in moments if mix.groups]
    return _path([(1000 * t / longest_s, 1000 * (t + step_s) / longest_s, 1000 - 1000 * share) for t, share in read])


Span = tuple[float, float, Sequence[float]]
"""Left edge, right edge and shares of a moment."""


def areas(spans: Sequence[Span], colours: Iterable[str], height: int) -> list[tuple[str, str]]:
    """Colour and path of each group, from its upper edge down to the axis: the next one is painted over it."""
    edges, found = [0.0] * len(spans), []
    for place, colour in enumerate(colours):
        steps = [(left, right, height * edge) for (left, right, _), edge in zip(spans, edges, strict=True)]
        found.append((colour, _path(steps, height)))
        edges = [edge + shares[place] for (_, _, shares), edge in zip(spans, edges, strict=True)]
    return found


def _path(points: Sequence[tuple[float, float, float]], axis: int | None = None) -> str:
    """A path of (left, right, y) that breaks where there is a gap; an area down to `axis`, if that is given."""
    last, close, path = None, "" if axis is None else f"V{axis}", ""
    for left, right, y in points:
        if left != last:
            path += f"{'' if last is None else close}M{left:.1f} {y if axis is None else axis:.1f}"
        path += f"V{y:.1f}H{right:.1f}"
        last = right
    return path + (close if points else "")
