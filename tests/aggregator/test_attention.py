"""A change that lasts is one event, a flicker is none."""

import json
import random

from aggregator.analysis.attention import Point, events
from aggregator.config import AttentionConfig
from contract.labels import EMOTIONS
from contract.topics import Room

CONFIG = AttentionConfig()
SAD, NEUTRAL = EMOTIONS.index("sad"), EMOTIONS.index("neutral")


def lesson(*spans, noise=0.02, seed=0):
    """Windows of a lesson: each span is (seconds, share of sad), the rest is neutral."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    points = []
    for seconds, sad in spans:
        for _ in range(seconds // 10):
            shares = [0.0] * len(EMOTIONS)
            shares[SAD] = min(1, max(0, sad + chance.gauss(0, noise)))
            shares[NEUTRAL] = 1 - shares[SAD]
            points.append(Point(len(points) * 10, tuple(shares)))
    return points


def test_a_lasting_change_is_one_event_that_names_the_labels():
    """Sad goes from a tenth to half for the rest of the lesson: told once, within minutes, with both labels."""
    (event,) = events(lesson((900, 0.1), (900, 0.5)), CONFIG)

    assert set(event.changes) == {"sad", "neutral"}
    before, after = event.changes["sad"]
    assert abs(before - 0.1) < 0.03
    assert after > 0.3
    assert 900 <= event.since.timestamp() <= 960
    assert 60 <= event.t.timestamp() - 900 <= 180


def test_a_flicker_is_no_event():
    """Half a minute of something else is over before it counts."""
    assert events(lesson((900, 0.1), (30, 0.6), (900, 0.1)), CONFIG) == []


def test_an_even_lesson_has_no_event():
    """Noise alone never leaves the band for a minute."""
    assert [events(lesson((2700, 0.2), seed=seed), CONFIG) for seed in range(20)] == [[]] * 20


def test_a_change_back_is_an_event_of_its_own():
    """What a change led to is the new normal."""
    found = events(lesson((900, 0.1), (900, 0.5), (900, 0.1)), CONFIG)

    assert len(found) == 2
    assert found[1].changes["sad"][0] > found[1].changes["sad"][1]


def test_a_restless_class_has_a_wide_band():
    """A change within what the lesson does anyway is none."""
    restless = [(60, share) for share in (0.1, 0.4) * 10]

    assert events(lesson(*restless), CONFIG) == []


def test_the_begin_of_a_lesson_is_no_change():
    """Until the band is known nothing is told."""
    assert events(lesson((60, 0.7), (100, 0.1)), CONFIG) == []


def test_thresholds_come_from_the_configuration():
    """A class may ask for large changes only."""
    points = lesson((900, 0.1), (900, 0.5))

    assert events(points, AttentionConfig(least_change=0.6)) == []
    assert events([], CONFIG) == []


def test_more_of_the_lesson_does_not_change_the_events_before():
    """What was told stays told: each prefix of a lesson has the first events of the whole."""
    points = lesson((600, 0.1), (600, 0.5), (600, 0.2))
    whole = events(points, CONFIG)

    for end in range(0, len(points), 7):
        part = events(points[:end], CONFIG)
        assert part == whole[: len(part)]


def test_an_event_is_published_as_json():
    """Times, room and the shares before and since."""
    (event,) = events(lesson((900, 0.1), (900, 0.5)), CONFIG)

    fields = json.loads(event.to_json(Room("north", "r101")))

    assert fields["room"] == "r101"
    assert fields["schema"] == 1
    assert all(len(pair) == 2 for pair in fields["changes"].values())
