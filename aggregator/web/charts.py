"""Charts of the page and of the report, as HTML and SVG without scripts. Pure.

Colours are set here for each label; text and lines take theirs from the style sheet (chart.css), for dark and light.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import tzinfo

from aggregator.analysis.mix import Mix, Moment
from aggregator.web.text import clock
from contract.message import utc

PALETTE = {
    "happy": "#e69f00",
    "surprise": "#56b4e9",
    "neutral": "#9a9a9a",
    "sad": "#0072b2",
    "fear": "#cc79a7",
    "disgust": "#009e73",
    "angry": "#d55e00",
}
"""Label -> colour, in the order in which labels are shown. Source: Okabe and Ito, "Color Universal Design", 2008: told
apart by people with any kind of colour blindness."""
NOTABLE = 0.05
"""A trend of at least this share gets an arrow."""
_TICKS_S = (60, 120, 300, 600, 1800, 3600, 7200, 10800)
_MOST_TICKS = 10


def mix_table(mix: Mix | None, trend: Mapping[str, float] | None) -> str:
    """The current mix as HTML: a row per label with share, trend and a bar.

    On the bar the estimate's interval is a line, and the raw counts are a diamond.
    """
    shares, estimate, raw = (mix and mix.shares) or {}, (mix and mix.estimate) or {}, _raw(mix)
    rows = []
    for label, colour in PALETTE.items():
        share, change = shares.get(label), (trend or {}).get(label, 0.0)
        bar = f'<i style="width:{_percent(share)}%;background:{colour}"></i>'
        if estimate:
            _, low, high = estimate[label]
            bar += f'<i class=interval style="left:{_percent(low)}%;width:{_percent(high - low)}%"></i>'
            bar += f'<i class=raw style="left:{_percent(raw.get(label))}%"></i>' if raw else ""
        rows.append(
            f"<tr><th scope=row>{label}</th><td>{'–' if share is None else f'{100 * share:.0f} %'}</td>"  # noqa: RUF001
            f"<td class=trend>{_arrow(change)}</td><td class=track>{bar}</td></tr>"
        )
    return f"<table class=mix>{''.join(rows)}</table>"


def _arrow(change: float) -> str:
    return "▲" if change >= NOTABLE else "▼" if change <= -NOTABLE else ""


def _raw(mix: Mix | None) -> dict[str, float]:
    counts = (mix and mix.counts) or {}
    total = sum(counts.values())
    return {label: count / total for label, count in counts.items()} if total else {}


def _percent(share: float | None) -> float:
    return round(100 * (share or 0.0), 1)


def timeline(moments: Sequence[Moment], begin: int, end: int, step_s: int, zone: tzinfo | None) -> str:
    """Shares stacked to 100 % over time, and below them the faces.

    Args:
        moments: Of spans of `step_s` seconds, by time.
        begin: Left edge, seconds since 1970.
        end: Right edge.
        step_s: Width of a moment.
        zone: Of the times below; this machine's if None.
    """
    scale = 1000 / max(end - begin, 1)
    spans = [(scale * (start - begin), scale * (start + step_s - begin), mix) for start, mix in moments]
    most = max(5, -(-int(max((mix.faces for _, _, mix in spans), default=0.0) + 1) // 5) * 5)
    faces = "".join(_steps([(left, right, most - mix.faces) for left, right, mix in spans]))
    line = f'<path class="line" d="{faces}"/>'
    return (
        _plot("shares", ("100 %", "50 %", "0 %"), 1000, "".join(_areas(spans)))
        + _plot("faces", (f"{most} faces", "0"), most, line)
        + f"<div class=times>{''.join(_times(begin, end, zone))}</div>"
    )


def legend() -> str:
    """The colours and their labels."""
    items = (f'<span style="--colour:{colour}">{label}</span>' for label, colour in PALETTE.items())
    return f"<p class=legend>{''.join(items)}</p>"


Span = tuple[float, float, Mix]
"""Left edge, right edge and mix of a moment."""


def _areas(spans: Sequence[Span]) -> Iterator[str]:
    """Each label from its upper edge down to the axis: the next one is painted over it."""
    read = [(left, right, mix.shares) for left, right, mix in spans if mix.shares]
    edges = [0.0] * len(read)
    for label, colour in PALETTE.items():
        steps = [(left, right, 1000 * edge) for (left, right, _), edge in zip(read, edges, strict=True)]
        path = "".join(_steps(steps, 1000))
        yield f'<path fill="{colour}" d="{path}"/>'
        edges = [edge + shares[label] for (_, _, shares), edge in zip(read, edges, strict=True)]


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


def _plot(name: str, scale: Sequence[str], height: int, shapes: str) -> str:
    marks = "".join(f"<span>{mark}</span>" for mark in scale)
    return (
        f'<div class="plot {name}"><div class=scale>{marks}</div><svg role="img" aria-label="{name} over time" '
        f'viewBox="0 0 1000 {height}" preserveAspectRatio="none">{shapes}</svg></div>'
    )


def _times(begin: int, end: int, zone: tzinfo | None) -> Iterator[str]:
    step = next((step for step in _TICKS_S if (end - begin) / step <= _MOST_TICKS), _TICKS_S[-1])
    for t in range(-(-begin // step) * step, end + 1, step):
        yield f'<span style="left:{100 * (t - begin) / max(end - begin, 1):.1f}%">{clock(utc(t), zone)}</span>'
