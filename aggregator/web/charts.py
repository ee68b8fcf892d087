"""The page's charts: the mix as an HTML table, the timeline as options of the charting library. Pure.

Colours are set here per label; text and lines take theirs from the style sheet, so that dark and light need no redraw.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aggregator.analysis.mix import Mix, Moment
from aggregator.store.windows import WINDOW_S

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
_INK, _FAINT = "#123456", "#654321"
"""Stand-ins that the style sheet replaces by the theme's colours."""

_LABEL = {"color": _INK, "fontSize": 14, "hideOverlap": True}
_PERCENTS = {**_LABEL, "formatter": "{value} %"}
_LINES = {"splitLine": {"lineStyle": {"color": _FAINT, "opacity": 0.4}}}


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


def timeline_options(moments: Sequence[Moment]) -> dict[str, Any]:
    """Shares stacked to 100 % over time, and below them the faces."""
    filled = _with_gaps(moments)
    stacked = [
        _series(
            "line",
            [[at, _percent(shares[label]) if shares else None] for at, shares, _ in filled],
            name=label,
            stack="mix",
            areaStyle={"color": colour, "opacity": 1},
            lineStyle={"width": 0},
            itemStyle={"color": colour},
            symbol="none",
        )
        for label, colour in reversed(PALETTE.items())
    ]
    faces = _series(
        "line",
        [[at, faces] for at, _, faces in filled],
        name="faces",
        xAxisIndex=1,
        yAxisIndex=1,
        lineStyle={"color": _INK, "width": 3},
        itemStyle={"color": _INK},
        symbol="none",
    )
    most = max((moment.mix.faces for moment in moments), default=0.0)
    hidden = {"axisLabel": {"show": False}, "axisTick": {"show": False}}
    clock = {"axisLabel": {**_LABEL, "formatter": "{HH}:{mm}"}}
    highest = max(5, -(-int(most + 1) // 5) * 5)
    return {
        "animation": False,
        "aria": {"enabled": True},
        "grid": [
            {"left": 56, "right": 16, "top": 8, "bottom": "36%"},
            {"left": 56, "right": 16, "top": "72%", "bottom": 28},
        ],
        "xAxis": [{"type": "time", "gridIndex": 0, **hidden}, {"type": "time", "gridIndex": 1, **clock}],
        "yAxis": [
            {"type": "value", "max": 100, "interval": 50, "axisLabel": _PERCENTS, **_LINES},
            {
                "type": "value",
                "gridIndex": 1,
                "min": 0,
                "max": highest,
                "splitNumber": 2,
                "axisLabel": _LABEL,
                **_LINES,
            },
        ],
        "series": [*stacked, faces],
    }


def _series(kind: str, data: list[Any], **more: object) -> dict[str, Any]:
    return {"type": kind, "data": data, "silent": True, **more}


def _raw(mix: Mix | None) -> dict[str, float]:
    counts = (mix and mix.counts) or {}
    total = sum(counts.values())
    return {label: count / total for label, count in counts.items()} if total else {}


def _percent(share: float | None) -> float:
    return round(100 * (share or 0.0), 1)


def _with_gaps(moments: Sequence[Moment]) -> list[tuple[int, Mapping[str, float] | None, float | None]]:
    """(milliseconds, shares, faces) of every moment, and (…, None, None) where windows are missing between two."""
    filled: list[tuple[int, Mapping[str, float] | None, float | None]] = []
    for start, mix in moments:
        if filled and start * 1000 - filled[-1][0] > WINDOW_S * 1000:
            filled.append((filled[-1][0] + 1, None, None))
        filled.append((start * 1000, mix.shares, round(mix.faces, 1)))
    return filled
