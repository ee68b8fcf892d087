"""The sentence that a room opens with: is anything different, since when? Pure.

It speaks of expressions, not of feelings, and claims no more than the intervals allow.
"""

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

from aggregator.analysis.attention import FACES, UNSURE, Event
from aggregator.analysis.mix import Mix
from aggregator.web.language import _, ngettext, span_text
from aggregator.web.text import clock

FRESH_S = 15 * 60.0
"""An event is what the headline is about for so long, unless the user has seen it."""
_STEADY_S = 5 * 60.0
"""A shorter time is not called steady."""
_WIDE = 0.5
"""Intervals that are wider say nothing."""
_NBSP = "\N{NO-BREAK SPACE}"


class Headline(NamedTuple):
    """What to say, and the event that it is about, if it is about one."""

    text: str
    event: Event | None


def headline(
    recent: Mix | None,
    events: Sequence[Event],
    *,
    begin: float | None,
    now: float,
    seen: datetime | None,
    zone: tzinfo | None,
) -> Headline:
    """The headline of a room.

    Args:
        recent: Its last minute.
        events: Its lesson's, oldest first.
        begin: Of its lesson, seconds since 1970; None if there is none.
        now: The same.
        seen: The newest event that the user has marked as seen became one then.
        zone: Of the times, this machine's if None.
    """
    live, last = recent is not None and begin is not None, events[-1] if events else None
    mix = mix_text(recent) if recent and live else _("No data in the last minute.")
    if last and is_news(last, now, seen):
        return Headline(f"{mix} {event_sentence(last, zone)}", last)
    if begin is None or not live:
        return Headline(mix, None)
    steady_s = now - (last.since.timestamp() if last else begin)
    if steady_s >= _STEADY_S:
        return Headline(f"{mix} {_('Steady for {time}.').format(time=span_text(steady_s))}", None)
    return Headline(f"{mix} {'' if last else _('The lesson has just begun.')}".strip(), None)


def is_news(event: Event, now: float, seen: datetime | None) -> bool:
    """Whether it is what the headline is about, for a user who has seen the events until `seen`."""
    return now - event.t.timestamp() < FRESH_S and (seen is None or event.t > seen)


def mix_text(mix: Mix) -> str:
    """The last minute in two or three words, or why there is nothing to say."""
    if mix.counts is None:
        number = round(mix.faces)
        faces = ngettext("{number} faces.", "{number} faces.", number).format(number=number)
        return _("Too few faces to say.") if mix.withheld == 1 else faces
    if not mix.groups:
        return _("No faces in view.")
    (name, (_share, low, high)), *others = sorted(mix.groups.items(), key=lambda item: -item[1][0])
    if high - low > _WIDE:
        return _("Too few faces to say.") if mix.estimate else _("Raw counts only.")
    if low >= 0.5:
        return _("Mostly {name}.").format(name=_(name))
    if all(low >= other_high for _, (_, _, other_high) in others):
        return _("More {name} than other expressions.").format(name=_(name))
    return _("Mixed expressions.")


def event_sentence(event: Event, zone: tzinfo | None) -> str:
    """Such as `Since 18:22 more unpleasant expressions (12 → 41 %), fewer pleasant (30 → 9 %).`."""
    return _("Since {time} {changes}.").format(time=clock(event.since, zone), changes=", ".join(_changes(event)))


def _changes(event: Event) -> list[str]:
    """A camera that reads less is the likely cause of whatever else has changed, so it is told alone."""
    changes = event.changes
    if UNSURE in changes and changes[UNSURE][1] > changes[UNSURE][0]:
        text = _("more faces cannot be read ({change}): check the light and the camera")
        return [text.format(change=_percents(*changes[UNSURE]))]
    texts = []
    rise, fall = _("more {name} expressions ({change})"), _("fewer {name} expressions ({change})")
    for name, (before, after) in changes.items():
        if name == FACES:
            text = _("more faces ({change})") if after > before else _("fewer faces ({change})")
            texts.append(text.format(change=f"{before:.0f}{_NBSP}→{_NBSP}{after:.0f}"))
        elif name == UNSURE:
            text = _("more faces can be read ({change})")
            texts.append(text.format(change=_percents(1 - before, 1 - after)))
        else:
            text = rise if after > before else fall
            texts.append(text.format(name=_(name), change=_percents(before, after)))
            rise, fall = _("more {name} ({change})"), _("fewer {name} ({change})")
    return texts


def _percents(before: float, after: float) -> str:
    return f"{100 * before:.0f}{_NBSP}→{_NBSP}{100 * after:.0f}{_NBSP}%"
