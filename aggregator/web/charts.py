"""Chart options for the page, as the charting library takes them. Pure.

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
_NARROW_PX = 560


def mix_options(mix: Mix | None, trend: Mapping[str, float] | None) -> dict[str, Any]:
    """The current mix: a bar per label, the estimate's interval as a line, raw counts as a diamond."""
    labels = list(PALETTE)
    shares = (mix and mix.shares) or {}
    estimate = (mix and mix.estimate) or {}
    raw = _raw(mix) if estimate else {}
    lines = {"color": _INK, "borderColor": _INK, "borderWidth": 3}
    diamonds = {"color": "transparent", "borderColor": _INK, "borderWidth": 2}
    return {
        "animation": False,
        "aria": {"enabled": True},
        "media": _by_width(),
        "grid": {"left": 8, "right": 24, "top": 4, "bottom": 4, "containLabel": True},
        "xAxis": {"type": "value", "min": 0, "max": 100, "interval": 25, "axisLabel": _PERCENTS, **_LINES},
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [_named(label, shares.get(label), (trend or {}).get(label, 0.0)) for label in labels],
            "axisTick": {"show": False},
            "axisLine": {"lineStyle": {"color": _FAINT}},
            "axisLabel": {"interval": 0, "rich": _rich(1.0), "color": _INK, "margin": 2},
        },
        "series": [
            _series(
                "bar",
                [
                    {"value": _percent(shares.get(label)), "itemStyle": {"color": colour}}
                    for label, colour in PALETTE.items()
                ],
                barWidth="62%",
            ),
            _series(
                "boxplot",
                [
                    [_percent(low), *[_percent(share)] * 3, _percent(high)]
                    for share, low, high in map(estimate.__getitem__, labels)
                ]
                if estimate
                else [],
                itemStyle=lines,
                boxWidth=[4, 14],
                z=5,
            ),
            _series(
                "scatter",
                [[_percent(raw[label]), row] for row, label in enumerate(labels)] if raw else [],
                itemStyle=diamonds,
                symbol="diamond",
                symbolSize=12,
                z=6,
            ),
        ],
    }


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


def _rich(scale: float) -> dict[str, Any]:
    """The label styles of the mix, in columns."""
    return {
        "name": {"fontSize": 28 * scale, "color": _INK, "width": 132 * scale, "align": "right"},
        "value": {"fontSize": 38 * scale, "fontWeight": "bold", "color": _INK, "width": 116 * scale, "align": "right"},
        "arrow": {"fontSize": 22 * scale, "color": _INK, "width": 34 * scale, "align": "right"},
    }


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
