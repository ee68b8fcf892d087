"""The sentence that a room opens with."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from aggregator.analysis.attention import Event
from aggregator.analysis.mix import Mix
from aggregator.web.headline import event_sentence, headline, mix_text
from contract.labels import EMOTIONS

NOW = 1_795_000_000.0
CERTAIN = {"pleasant": (0.2, 0.1, 0.3), "neutral": (0.65, 0.55, 0.75), "unpleasant": (0.15, 0.05, 0.25)}
MIX = Mix(
    frames=60,
    withheld=0.0,
    faces=26.0,
    unsure=0.1,
    counts=dict.fromkeys(EMOTIONS, 1.0),
    estimate=dict.fromkeys(EMOTIONS, (1 / 7, 0.0, 0.3)),
    groups=CERTAIN,
)


def plain(text):
    """With ordinary spaces."""
    return text.replace("\N{NO-BREAK SPACE}", " ")


def groups(*triples):
    """A mix with these shares of the three groups."""
    return replace(MIX, groups=dict(zip(CERTAIN, triples, strict=True)))


@pytest.mark.parametrize(
    ("mix", "text"),
    [
        (MIX, "Mostly neutral."),
        (groups((0.1, 0, 0.2), (0.3, 0.2, 0.4), (0.6, 0.51, 0.7)), "Mostly unpleasant."),
        (groups((0.25, 0.2, 0.3), (0.5, 0.4, 0.6), (0.25, 0.2, 0.35)), "More neutral than other expressions."),
        (groups((0.3, 0.1, 0.5), (0.4, 0.2, 0.6), (0.3, 0.1, 0.5)), "Mixed expressions."),
        (groups((0.1, 0, 0.3), (0.7, 0.4, 0.95), (0.2, 0, 0.4)), "Too few faces to say."),
        (replace(MIX, estimate=None, groups={"pleasant": (0.9, 0, 1), "neutral": (0.1, 0, 1)}), "Raw counts only."),
        (replace(MIX, estimate=None, groups=None, counts=None, withheld=1.0, faces=0.0), "Too few faces to say."),
        (replace(MIX, estimate=None, groups=None, counts=None), "26 faces."),
        (replace(MIX, estimate=None, groups=None, counts=dict.fromkeys(EMOTIONS, 0.0)), "No faces in view."),
    ],
)
def test_the_last_minute_is_told_no_more_certainly_than_it_is_known(mix, text):
    """A share counts as more than half, or as more than another, only if the whole interval does."""
    assert mix_text(mix) == text


def event(since_s=600, told_s=480, **changes):
    """An event that began and was told so many seconds ago."""
    return Event(
        t=datetime.fromtimestamp(NOW - told_s, UTC),
        since=datetime.fromtimestamp(NOW - since_s, UTC),
        changes=changes,
        labels={},
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"unpleasant": (0.12, 0.41)}, "more unpleasant expressions (12 → 41 %)"),
        (
            {"unpleasant": (0.12, 0.41), "pleasant": (0.3, 0.08)},
            "more unpleasant expressions (12 → 41 %), fewer pleasant (30 → 8 %)",
        ),
        ({"faces": (26.2, 14.1)}, "fewer faces (26 → 14)"),
        ({"faces": (14.0, 26.0), "neutral": (0.3, 0.5)}, "more faces (14 → 26), more neutral expressions (30 → 50 %)"),
        (
            {"unpleasant": (0.12, 0.41), "unsure": (0.05, 0.3)},
            "more faces cannot be read (5 → 30 %): check the light and the camera",
        ),
        ({"unsure": (0.3, 0.05)}, "more faces can be read (70 → 95 %)"),
    ],
)
def test_an_event_is_one_sentence(changes, text):
    """Of expressions and faces; a camera that reads less is the cause of the rest."""
    assert plain(event_sentence(event(**changes), UTC)) == f"Since 10:56 {text}."


def said(events=(), mix=MIX, begin=NOW - 1800, seen=None):
    """The headline now."""
    return headline(mix, events, begin=begin, now=NOW, seen=seen, zone=UTC)


def test_a_recent_event_is_the_headline():
    """What is now, since when, and what changed."""
    found = event(pleasant=(0.3, 0.1))

    head = said([event(1200, 1100, faces=(9.0, 3.0)), found])

    assert plain(head.text) == "Mostly neutral. Since 10:56 fewer pleasant expressions (30 → 10 %)."
    assert head.event == found


def test_an_event_is_told_while_nothing_comes_too():
    """The overview counts such a room as one with news and shows it first."""
    head = said([event(pleasant=(0.3, 0.1))], mix=None)

    assert plain(head.text) == "No data in the last minute. Since 10:56 fewer pleasant expressions (30 → 10 %)."
    assert head.event


def test_an_event_that_was_seen_or_is_long_ago_is_not():
    """The time since then is steady."""
    found = event(pleasant=(0.3, 0.1))

    assert said([found], seen=found.t) == ("Mostly neutral. Steady for 10 minutes.", None)
    assert said([event(1200, 1000, pleasant=(0.3, 0.1))]) == ("Mostly neutral. Steady for 20 minutes.", None)
    assert said([found], seen=event(900, 800).t).event == found
    assert said([event(200, 60, pleasant=(0.3, 0.1))], seen=datetime.fromtimestamp(NOW, UTC)).text == "Mostly neutral."


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "Mostly neutral. Steady for 30 minutes."),
        ({"begin": NOW - 840}, "Mostly neutral. Steady for 14 minutes."),
        ({"begin": NOW - 60}, "Mostly neutral. The lesson has just begun."),
        ({"begin": None}, "No data in the last minute."),
        ({"mix": None}, "No data in the last minute."),
    ],
)
def test_without_an_event_it_tells_for_how_long_nothing_changed(options, text):
    """From the begin of the lesson on."""
    assert said(**options) == (text, None)
