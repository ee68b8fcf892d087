"""What the page says in words. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

from aggregator.analysis.attention import Event
from aggregator.analysis.mix import Mix
from aggregator.analysis.summary import Summary
from aggregator.web.feed import Glance

LATE_S = 30.0
"""Without a frame for so long a room is not live."""
_UNKNOWN = "\N{EN DASH}"
_TIE = "\N{NO-BREAK SPACE}"
_PAUSES = ("paused", "stopped")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a room or a device is doing."""

    kind: str
    """live, quiet, paused, trouble: what the style sheet knows."""
    text: str

    @property
    def mark(self) -> str:
        """A sign that is told apart without colour."""
        return {"live": "●", "quiet": "○", "paused": "❚❚", "trouble": "▲"}[self.kind]


def standing(glance: Glance) -> Standing:
    """How a room is doing, the gravest first."""
    summary, states, clocks = glance.summary, glance.summary.devices, glance.clocks
    lost = ", ".join(device for device, (state, _) in states.items() if state == "lost")
    age = summary.age_s
    words = (
        (bool(states) and all(state in _PAUSES for state, _ in states.values()), "paused", "paused"),
        (bool(lost), "trouble", f"{lost} cannot be reached"),
        (bool(clocks), "trouble", ", ".join(f"{name}: {clock_text(ahead_s)}" for name, ahead_s in clocks.items())),
        (bool(_degraded(summary)), "trouble", _degraded(summary)),
        (age is None, "quiet", "no frame in the last ten minutes"),
        (age is not None and age > LATE_S, "quiet", f"no frame for {span(age or 0)}"),
        (summary.recent is not None and summary.recent.withheld == 1, "live", "too few faces to tell"),
        (True, "live", "live"),
    )
    return next(Standing(kind, text) for holds, kind, text in words if holds)


def _degraded(summary: Summary) -> str:
    troubles = (f"{device}: {reason}" for device, (state, reason) in summary.devices.items() if state == "degraded")
    return next(troubles, "")


def clock_text(ahead_s: float) -> str:
    """What a wrong clock means, such as `its clock is 10 years ahead: its frames are out of place`."""
    way = "ahead" if ahead_s > 0 else "behind"
    return f"its clock is {span(abs(ahead_s))} {way}: its frames are out of place"


def device_standing(state: str, reason: str, ahead_s: float | None = None) -> Standing:
    """How a device is doing, by its own word; `ahead_s` if its clock is wrong."""
    if ahead_s is not None:
        return Standing("trouble", clock_text(ahead_s))
    kinds = {"ready": "live", "paused": "paused", "stopped": "paused", "lost": "trouble", "degraded": "trouble"}
    return Standing(kinds.get(state, "quiet"), f"{state}: {reason}" if reason else state)


def leading(mix: Mix | None, most: int = 2) -> tuple[str, str]:
    """The largest shares and where they lie nine times in ten, such as `sad 40 %` and `sad 31 to 52 %`."""
    shares = sorted((mix.shares or {}).items() if mix else (), key=lambda item: -item[1])[:most]
    intervals = [(label, *mix.estimate[label][1:]) for label, _ in shares] if mix and mix.estimate else []
    return (
        ", ".join(f"{label} {_percent(share)}" for label, share in shares),
        ", ".join(f"{label} {100 * low:.0f} to {_percent(high)}" for label, low, high in intervals),
    )


def mix_hint(mix: Mix | None) -> str:
    """How the chart of the last minute is to be read, or why it is empty."""
    if mix is None:
        return "No frame in the last minute."
    if mix.estimate:
        return (
            "Bar: estimate. Line: where the true share lies 9 times in 10. Diamond: raw counts. "
            "▲▼: against the lesson so far. Expressions are not feelings."
        )
    if mix.shares:
        return "Raw counts: the card of the device's model is not here, so there is no estimate and no interval."
    if mix.withheld == 1:
        return "Withheld: too few faces could be read to show their expressions."
    return "Nobody is in view." if mix.counts else "Expressions are switched off; faces are counted."


def event_text(event: Event, zone: tzinfo | None) -> str:
    """One event in one line, such as `since 10:31: happy 30 → 52 %, neutral 45 → 28 %`."""
    changes = ", ".join(
        f"{label} {100 * before:.0f}{_TIE}→{_TIE}{_percent(after)}" for label, (before, after) in event.changes.items()
    )
    return f"since {clock(event.since, zone)}: {changes}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}{_TIE}%"


def clock(t: datetime, zone: tzinfo | None) -> str:
    """Hours and minutes in `zone`, this machine's if None."""
    return t.astimezone(zone).strftime("%H:%M")


def span(seconds: float) -> str:
    """A length of time in its largest unit that fits twice, or in seconds."""
    for unit, size in (("years", 31557600), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def facts(summary: Summary, zone: tzinfo | None) -> Mapping[str, str]:
    """The figures beside the chart, by their captions."""
    recent, lesson = summary.recent, summary.lesson
    return {
        "faces": f"{recent.faces:.0f}" if recent else _UNKNOWN,
        "unsure": _percent(recent.unsure) if recent else _UNKNOWN,
        "withheld": _percent(recent.withheld) if recent else _UNKNOWN,
        "lesson since": clock(summary.lesson_start, zone) if summary.lesson_start else _UNKNOWN,
        "faces in lesson": f"{lesson.faces:.0f}" if lesson else _UNKNOWN,
    }
