"""Chart options for the page, as the charting library takes them. Pure.

Colours are set here per label; text and lines take theirs from the style sheet, so that dark and light need no redraw.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aggregator.analysis.mix import Mix
from aggregator.store.windows import WINDOW_S
from aggregator.web.feed import Moment

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

_SCALE = {"color": _INK, "fontSize": 14, "formatter": "{value} %", "hideOverlap": True}


def mix_options(mix: Mix | None, trend: Mapping[str, float] | None) -> dict[str, Any]:
    """The current mix: a bar per label, the estimate's interval as a line, raw counts as a diamond."""
    labels = list(PALETTE)
    shares = (mix and mix.shares) or {}
    estimate = (mix and mix.estimate) or {}
    raw = _raw(mix)
    bars = [{"value": _percent(shares.get(label)), "itemStyle": {"color": colour}} for label, colour in PALETTE.items()]
    whiskers = [
        [_percent(low), *[_percent(share)] * 3, _percent(high)]
        for share, low, high in (estimate.get(label, (0.0, 0.0, 0.0)) for label in labels)
    ]
    diamonds = [[_percent(raw[label]), row] for row, label in enumerate(labels)] if raw and estimate else []
    return {
        "animation": False,
        "aria": {"enabled": True},
        "media": _by_width(),
        "grid": {"left": 8, "right": 24, "top": 4, "bottom": 4, "containLabel": True},
        "xAxis": {"type": "value", "min": 0, "max": 100, "interval": 25, "axisLabel": _SCALE, **_lines()},
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [_named(label, shares.get(label), (trend or {}).get(label, 0.0)) for label in labels],
            "axisTick": {"show": False},
            "axisLine": {"lineStyle": {"color": _FAINT}},
            "axisLabel": {"interval": 0, "rich": _rich(1.0), "color": _INK, "margin": 2},
        },
        "series": [
            {"type": "bar", "data": bars, "barWidth": "62%", "silent": True},
            {
                "type": "boxplot",
                "data": whiskers if estimate else [],
                "itemStyle": {"color": _INK, "borderColor": _INK, "borderWidth": 3},
                "boxWidth": [4, 14],
                "silent": True,
                "z": 5,
            },
            {
                "type": "scatter",
                "data": diamonds,
                "symbol": "diamond",
                "symbolSize": 12,
                "itemStyle": {"color": "transparent", "borderColor": _INK, "borderWidth": 2},
                "silent": True,
                "z": 6,
            },
        ],
    }


def timeline_options(moments: Sequence[Moment]) -> dict[str, Any]:
    """Shares stacked to 100 % over time, and below them the faces."""
    filled = list(_with_gaps(moments))
    stacked = [
        {
            "type": "line",
            "name": label,
            "stack": "mix",
            "data": [
                [at, _percent(moment.shares[label]) if moment and moment.shares else None] for at, moment in filled
            ],
            "areaStyle": {"color": colour, "opacity": 1},
            "lineStyle": {"width": 0},
            "itemStyle": {"color": colour},
            "symbol": "none",
            "silent": True,
        }
        for label, colour in reversed(PALETTE.items())
    ]
    faces = {
        "type": "line",
        "name": "faces",
        "xAxisIndex": 1,
        "yAxisIndex": 1,
        "data": [[at, round(moment.faces, 1) if moment else None] for at, moment in filled],
        "lineStyle": {"color": _INK, "width": 3},
        "itemStyle": {"color": _INK},
        "symbol": "none",
        "silent": True,
    }
    labelled = {"color": _INK, "fontSize": 14}
    time = {"type": "time", "axisLabel": {**labelled, "formatter": "{HH}:{mm}", "hideOverlap": True}}
    most = max((moment.faces for moment in moments), default=0.0)
    return {
        "animation": False,
        "aria": {"enabled": True},
        "grid": [
            {"left": 56, "right": 16, "top": 8, "bottom": "36%"},
            {"left": 56, "right": 16, "top": "72%", "bottom": 28},
        ],
        "xAxis": [
            {**time, "gridIndex": 0, "axisLabel": {"show": False}, "axisTick": {"show": False}},
            {**time, "gridIndex": 1},
        ],
        "yAxis": [
            {
                "type": "value",
                "max": 100,
                "interval": 50,
                "axisLabel": {**labelled, "formatter": "{value} %"},
                **_lines(),
            },
            {
                "type": "value",
                "gridIndex": 1,
                "min": 0,
                "max": max(5, -(-int(most + 1) // 5) * 5),
                "splitNumber": 2,
                "axisLabel": labelled,
                **_lines(),
            },
        ],
        "series": [*stacked, faces],
    }


def _rich(scale: float) -> dict[str, Any]:
    """The label styles of the mix, in columns."""
    return {
        "name": {"fontSize": 28 * scale, "color": _INK, "width": 132 * scale, "align": "right"},
        "value": {"fontSize": 38 * scale, "fontWeight": "bold", "color": _INK, "width": 116 * scale, "align": "right"},
        "arrow": {"fontSize": 22 * scale, "color": _INK, "width": 34 * scale, "align": "right"},
    }


_NARROW_PX = 560


def _by_width() -> list[dict[str, Any]]:
    """Smaller labels on a phone, and fewer lines."""
    small, large = (
        {"xAxis": {"interval": interval}, "yAxis": {"axisLabel": {"rich": _rich(scale)}}}
        for interval, scale in ((50, 0.58), (25, 1.0))
    )
    return [{"query": {"maxWidth": _NARROW_PX}, "option": small}, {"option": large}]


def _named(label: str, share: float | None, trend: float) -> str:
    """A label with its share and trend, in the charting library's marked-up text."""
    arrow = "▲" if trend >= NOTABLE else "▼" if trend <= -NOTABLE else " "
    value = "\N{EN DASH}" if share is None else f"{100 * share:.0f} %"
    return f"{{name|{label}}}{{value|{value}}}{{arrow|{arrow}}}"


def _raw(mix: Mix | None) -> dict[str, float] | None:
    counts = mix and mix.counts
    total = sum(counts.values()) if counts else 0.0
    return {label: count / total for label, count in counts.items()} if counts and total else None


def _percent(share: float | None) -> float:
    return round(100 * (share or 0.0), 1)


def _lines() -> dict[str, Any]:
    return {"splitLine": {"lineStyle": {"color": _FAINT, "opacity": 0.4}}}


def _with_gaps(moments: Sequence[Moment]) -> list[tuple[int, Moment | None]]:
    """(milliseconds, moment) at every moment, and (…, None) where windows are missing between two."""
    filled: list[tuple[int, Moment | None]] = []
    for moment in moments:
        if filled and moment.start * 1000 - filled[-1][0] > WINDOW_S * 1000:
            filled.append((filled[-1][0] + 1, None))
        filled.append((moment.start * 1000, moment))
    return filled
