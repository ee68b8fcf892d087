"""Charts of the page and of the report, as HTML and SVG without scripts. Pure.

Colours are set here for each label; text and lines take theirs from the style sheet (chart.css), for dark and light.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from html import escape
from typing import NamedTuple

from aggregator.analysis.mix import Mix, Moment, Shares
from aggregator.web.language import N_, _
from aggregator.web.text import clock
from contract.message import utc

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
    return _table(now, colours, trend, {}, intervals=bool(recent and recent.estimate))


def labels_table(recent: Mix | None, trend: Mapping[str, float] | None) -> str:
    """The same of the seven labels, and a diamond for the raw counts where there is an estimate."""
    estimate = recent and recent.estimate
    shares = estimate or {label: (share, 0.0, 1.0) for label, share in ((recent and recent.shares) or {}).items()}
    return _table(shares, PALETTE, trend or {}, _raw(recent) if estimate else {}, intervals=bool(estimate))


def _table(
    shares: Shares, colours: Mapping[str, str], trend: Mapping[str, float], raw: Mapping[str, float], *, intervals: bool
) -> str:
    """A row for each label with share, trend, and a bar; on it a line for the interval."""
    rows = []
    for label, colour in colours.items():
        share, low, high = shares.get(label, (None, 0.0, 0.0))
        bar = f'<i style="width:{_percent(share)}%;background:{colour}"></i>'
        if intervals:
            bar += f'<i class=interval style="left:{_percent(low)}%;width:{_percent(high - low)}%"></i>'
        if label in raw:
            bar += f'<i class=raw style="left:{_percent(raw[label])}%"></i>'
        rows.append(
            f"<tr><th scope=row>{escape(_(label))}</th><td>{'–' if share is None else f'{100 * share:.0f} %'}</td>"  # noqa: RUF001
            f"<td class=trend>{_arrow(trend.get(label, 0.0))}</td><td class=track>{bar}</td></tr>"
        )
    return f"<table class=mix>{''.join(rows)}</table>"


def figures(facts: Mapping[str, str]) -> str:
    """Figures below their captions, the first one large."""
    return "".join(
        f'<div class="fact{"" if place else " big"}"><div class=caption>{escape(caption)}</div>'
        f"<div class=figure>{escape(text)}</div></div>"
        for place, (caption, text) in enumerate(facts.items())
    )


def _arrow(change: float) -> str:
    return "▲" if change >= NOTABLE else "▼" if change <= -NOTABLE else ""


def _raw(mix: Mix | None) -> dict[str, float]:
    counts = (mix and mix.counts) or {}
    total = sum(counts.values())
    return {label: count / total for label, count in counts.items()} if total else {}


def _percent(share: float | None) -> float:
    return round(100 * (share or 0.0), 1)


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
    """Shares of the groups stacked to 100 % over time, below them the faces, and what happened.

    Args:
        moments: Of spans of `step_s` seconds, by time.
        begin: Left edge, seconds since 1970.
        end: Right edge.
        step_s: Width of a moment.
        colours: Of the groups.
        zone: Of the times below; this machine's if None.
        marks: What happened, with a number each; those outside the edges are left out.
    """
    scale = 1000 / max(end - begin, 1)
    spans = [
        (max(scale * (start - begin), 0), min(scale * (start + step_s - begin), 1000), mix) for start, mix in moments
    ]
    read = [(left, right, [mix.groups[name][0] for name in colours]) for left, right, mix in spans if mix.groups]
    most = max(5, -(-int(max((mix.faces for _, _, mix in spans), default=0.0) + 1) // 5) * 5)
    faces = "".join(_steps([(left, right, most - mix.faces) for left, right, mix in spans]))
    numbered = list(enumerate(sorted(mark for mark in marks if begin <= mark.at <= end), 1))

    def lines(height: int) -> str:
        return "".join(f'<path class="at {m.kind}" d="M{scale * (m.at - begin):.1f} 0V{height}"/>' for _, m in numbered)

    return (
        _flags(numbered, begin, end)
        + _plot(
            N_("shares"), ("100 %", "50 %", "0 %"), 1000, "".join(_areas(read, colours.values(), 1000)) + lines(1000)
        )
        + _plot(
            N_("faces"),
            (_("{number} faces").format(number=most), "0"),
            most,
            f'<path class="line" d="{faces}"/>{lines(most)}',
        )
        + f"<div class=times>{''.join(_times(begin, end, zone))}</div>"
        + _told(numbered, zone)
    )


def _flags(numbered: Sequence[tuple[int, Mark]], begin: int, end: int) -> str:
    if not numbered:
        return ""
    flags = (
        f'<b class="flag {mark.kind}" style="left:{100 * (mark.at - begin) / max(end - begin, 1):.1f}%">{number}</b>'
        for number, mark in numbered
    )
    return f'<div class="times flags" aria-hidden=true>{"".join(flags)}</div>'


def _told(numbered: Sequence[tuple[int, Mark]], zone: tzinfo | None) -> str:
    """In `bdi`, because a text of the other direction would turn its line around."""
    if not numbered:
        return ""
    items = (
        f"<li>{clock(utc(mark.at), zone)} <bdi>{escape(mark.text)}</bdi> ({escape(mark.author)})</li>"
        if mark.author
        else f"<li><b>{escape(mark.text)}</b></li>"
        for _, mark in numbered
    )
    return f"<ol class=told>{''.join(items)}</ol>"


def overlaid(courses: Sequence[Sequence[Moment]], step_s: int, colours: Mapping[str, str]) -> str:
    """The groups of two lessons over one another, from the begin of each: a plot for each group.

    The first is a whole line, the second a dashed one.
    """
    longest = max((course[-1].start + step_s - course[0].start for course in courses if course), default=step_s)
    plots = []
    for name, colour in colours.items():
        shapes = ""
        for kind, course in zip(("first", "second"), courses, strict=True):
            read = [(start - course[0].start, mix.groups[name][0]) for start, mix in course if mix.groups]
            steps = [(1000 * at / longest, 1000 * (at + step_s) / longest, 1000 - 1000 * share) for at, share in read]
            shapes += f'<path class="line {kind}" style="stroke:{colour}" d="{"".join(_steps(steps))}"/>'
        plots.append(f"<h3>{escape(_(name))}</h3>{_plot('compared', ('100 %', '0 %'), 1000, shapes, _(name))}")
    length = _("{number} min").format(number=longest // 60)
    minutes = f'<span style="left:0">0</span><span style="left:100%;transform:translateX(-100%)">{length}</span>'
    return f"{''.join(plots)}<div class=times>{minutes}</div>"


def course(shares: Sequence[Sequence[float] | None], colours: Iterable[str]) -> str:
    """One small picture of a lesson: the groups stacked over time."""
    read = [(place, place + 1, each) for place, each in enumerate(shares) if each]
    return (
        f'<svg class=course viewBox="0 0 {len(shares)} 100" preserveAspectRatio="none" aria-hidden=true>'
        f"{''.join(_areas(read, colours, 100))}</svg>"
    )


def legend(colours: Mapping[str, str]) -> str:
    """The colours and what they mean."""
    items = (f'<span style="--colour:{colour}">{escape(_(label))}</span>' for label, colour in colours.items())
    return f"<p class=legend>{''.join(items)}</p>"


Span = tuple[float, float, Sequence[float]]
"""Left edge, right edge and shares of a moment."""


def _areas(spans: Sequence[Span], colours: Iterable[str], height: int) -> Iterator[str]:
    """Each group from its upper edge down to the axis: the next one is painted over it."""
    edges = [0.0] * len(spans)
    for place, colour in enumerate(colours):
        steps = [(left, right, height * edge) for (left, right, _), edge in zip(spans, edges, strict=True)]
        yield f'<path fill="{colour}" d="{"".join(_steps(steps, height))}"/>'
        edges = [edge + shares[place] for (_, _, shares), edge in zip(spans, edges, strict=True)]


def _steps(points: Sequence[tuple[float, float, float]], axis: int | None = None) -> Iterator[str]:
    """A path of (left, right, y) that breaks where there is a gap; an area down to `axis`, if that is given."""
    last, close = None, "" if axis is None else f"V{axis}"
    for left, right, y in points:
        if left != last:
            yield close if last is not None else ""
            yield f"M{left:.1f} {y if axis is None else axis:.1f}"
        yield f"V{y:.1f}H{right:.1f}"
        last = right
    yield close if points else ""


def _plot(name: str, scale: Sequence[str], height: int, shapes: str, label: str = "") -> str:
    marks, label = (
        "".join(f"<span>{mark}</span>" for mark in scale),
        escape(_("{what} over time").format(what=label or _(name))),
    )
    return (
        f'<div class="plot {name}"><div class=scale>{marks}</div><svg role="img" aria-label="{label}" '
        f'viewBox="0 0 1000 {height}" preserveAspectRatio="none">{shapes}</svg></div>'
    )


def _times(begin: int, end: int, zone: tzinfo | None) -> Iterator[str]:
    step = next((step for step in _TICKS_S if (end - begin) / step <= _MOST_TICKS), _TICKS_S[-1])
    for t in range(-(-begin // step) * step, end + 1 - (end - begin) // 40, step):  # the last would reach over the edge
        yield f'<span style="left:{100 * (t - begin) / max(end - begin, 1):.1f}%">{clock(utc(t), zone)}</span>'
