"""A change that lasts is one event, a flicker is none."""

import json
import random
from math import sqrt

import numpy as np
import pytest

from aggregator.analysis.attention import Detector, Points, events
from aggregator.config import AttentionConfig
from contract.labels import EMOTIONS
from contract.topics import Room

CONFIG = AttentionConfig()
SAD, NEUTRAL = EMOTIONS.index("sad"), EMOTIONS.index("neutral")


def lesson(*spans, noise=0.02, seed=0):
    """Windows of a lesson: each span is (seconds, share of sad, faces=25, unsure=0), the rest is neutral."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    rows = []
    for seconds, mean, *more in spans:
        faces, unsure = (*more, 25, 0.0)[:2] if more else (25, 0.0)
        for _ in range(seconds // 10):
            shares = [0.0] * len(EMOTIONS)
            shares[SAD] = sad = min(1, max(0, mean + chance.gauss(0, noise)))
            shares[NEUTRAL] = 1 - sad
            rows.append((0.0, 1 - sad, sad, faces + chance.gauss(0, 0.5), unsure, *shares))
    return Points(("pleasant", "neutral", "unpleasant"), 10 * np.arange(len(rows)), np.array(rows).reshape(-1, 12))


def part(points, begin, end):
    """Some windows of a lesson."""
    return points._replace(starts=points.starts[begin:end], values=points.values[begin:end])


def test_a_lasting_change_is_one_event_that_names_groups_and_labels():
    """Sad goes from a tenth to half for the rest of the lesson: one event within minutes, with both groups."""
    (event,) = events(lesson((900, 0.1), (900, 0.5)), CONFIG)

    assert list(event.changes) == ["unpleasant", "neutral"]  # what rises is told first
    assert set(event.labels) == {"sad", "neutral"}
    before, after = event.changes["unpleasant"]
    assert abs(before - 0.1) < 0.03
    assert after > 0.3
    assert 880 <= event.since.timestamp() <= 920
    assert 60 <= event.t.timestamp() - 900 <= 150


def test_a_slow_change_is_noticed():
    """Ten minutes from a tenth to four tenths."""
    ramp = [(10, 0.1 + 0.3 * step / 60) for step in range(60)]

    found = events(lesson((900, 0.1), *ramp, (600, 0.4)), CONFIG)

    assert found
    assert all(event.changes["unpleasant"][0] < event.changes["unpleasant"][1] for event in found)
    assert 900 <= found[0].t.timestamp() <= 1500


def test_a_change_in_the_first_minutes_is_noticed():
    """Little is known of the class before, but the change is large."""
    (event,) = events(lesson((100, 0.1), (900, 0.6)), CONFIG)

    assert event.since.timestamp() == 100


def test_people_who_leave_are_an_event_of_their_own():
    """From 26 to 14 faces; a few who look down are none."""
    (event,) = events(lesson((900, 0.1, 26), (900, 0.1, 14)), CONFIG)

    assert list(event.changes) == ["faces"]
    assert [round(faces) for faces in event.changes["faces"]] == [26, 14]
    assert not event.labels
    assert events(lesson((900, 0.1, 26), (900, 0.1, 23)), CONFIG) == []


def test_faces_that_cannot_be_read_are_an_event():
    """Somebody should look at light and camera."""
    (event,) = events(lesson((900, 0.1, 25, 0.05), (900, 0.1, 25, 0.5)), CONFIG)

    assert list(event.changes) == ["unsure"]


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
    assert found[1].changes["unpleasant"][0] > found[1].changes["unpleasant"][1]


def test_a_restless_class_has_a_wide_band():
    """A change within what the lesson does anyway is none."""
    restless = [(60, share) for share in (0.1, 0.4) * 10]

    assert events(lesson(*restless), CONFIG) == []


def test_there_is_no_change_before_there_is_something_to_compare_with():
    """A minute is too little."""
    assert events(lesson((60, 0.7), (80, 0.1)), CONFIG) == []


def test_thresholds_come_from_the_configuration():
    """A class may ask for large changes only."""
    points = lesson((900, 0.1), (900, 0.5))

    assert events(points, AttentionConfig(least_change=0.6)) == []
    assert events(lesson(), CONFIG) == []


def test_more_of_the_lesson_does_not_change_the_events_before():
    """What was told stays told: each prefix of a lesson has the first events of the whole."""
    points = lesson((600, 0.1), (600, 0.5), (600, 0.2))
    whole = events(points, CONFIG)
    assert len(whole) == 2

    for end in range(0, len(points.starts), 7):
        found = events(part(points, 0, end), CONFIG)
        assert found == whole[: len(found)]


def test_an_event_is_published_as_json():
    """Times, room and the shares before and since."""
    (event,) = events(lesson((900, 0.1), (900, 0.5)), CONFIG)

    fields = json.loads(event.to_json(Room("north", "r101")))

    assert fields["room"] == "r101"
    assert fields["schema"] == 1
    assert all(len(pair) == 2 for pair in fields["changes"].values())


def test_windows_one_by_one_or_all_at_once_give_the_same_events():
    """Three changes, of which one ends within the block of windows that is examined at once."""
    points = lesson((600, 0.1), (500, 0.5), (300, 0.1), (900, 0.6))
    detector = Detector(CONFIG)

    single = [event for i in range(len(points.starts)) for event in detector.push(part(points, i, i + 1))]

    assert len(single) >= 3
    assert [(each.t, each.since) for each in single] == [(each.t, each.since) for each in events(points, CONFIG)]


def test_a_day_long_lesson_takes_no_more_memory_than_what_is_looked_back_at():
    """A thousand rooms in their sixth hour: only windows that a change can begin in are kept."""
    detector = Detector(AttentionConfig())

    points = lesson((6 * 3600, 0.1))
    for i in range(len(points.starts)):
        detector.push(part(points, i, i + 1))

    assert detector._sums.nbytes < 20_000
    assert detector.push(part(lesson((6 * 3600, 0.1), (600, 0.5), seed=1), 2160, None))


def test_a_change_that_begins_early_needs_to_be_less_clear():
    """Few moments have been compared by then, so few look like a change by chance."""
    early = lesson((120, 0.1), (900, 0.35))

    assert len(events(early, AttentionConfig(deviations=8.5))) == 1


def by_definition(points, config):
    """When each event is told and began: one window and one possible begin of the change after another."""
    rows, found, begin, settle = points.values.tolist(), [], 0, int(config.settle_s // 10)
    for end in range(1, len(rows) + 1):
        best = max(
            (max(clearness(rows[begin:end], length, config, told=bool(found))), -length)
            for length in [0, *range(1, min(60, end - begin - settle) + 1)]
        )
        if best[0] >= config.deviations and -best[1] * 10 >= config.lasts_s:
            begin = end + best[1]
            found.append((10 * end, 10 * begin))
    return found


def clearness(rows, length, config, *, told):
    """How clearly each signal of the last `length` windows differs from those before."""
    if not length:
        return [0.0]
    known, looks, found = len(rows) - length, 0.0, []
    alike = config.smooth_s / 10
    looks = min(alike / length, 1) + min(alike / known, 1)
    newest = min(int(alike), max(1, len(rows) - int(config.settle_s // 10)))
    faces = max(sum(row[3] for row in rows[:known]) / known, 1)
    for i in range(5):
        values = [row[i] for row in rows]
        was, now, recent = sum(values[:known]) / known, sum(values[known:]) / length, sum(values[-newest:]) / newest
        share = min(max(was, 0.02), 0.98)
        theory, least = (faces / 4, max(4, faces / 4)) if i == 3 else (share * (1 - share) / faces, config.least_change)
        own = max(sum(value**2 for value in values[:known]) / known - was**2, 0) * min(known / 12, 1)
        clear = abs(now - was) / sqrt(max(theory, own) * looks)
        early = 1 if told or known > 15 else 0.8
        lasts = abs(now - was) >= least and abs(recent - was) >= abs(now - was) / 2
        found.append(clear / early if lasts else 0.0)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_only_windows_that_may_end_a_change_are_compared_and_none_is_missed(seed):
    """Drawn lessons of changes that are clear, doubtful, slow and of faces give the events of the definition."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    spans = [
        (chance.randrange(30, 400), chance.uniform(0, 0.5), chance.choice((9, 25)), chance.uniform(0, 0.3))
        for _ in range(6)
    ]
    points = lesson(*spans, noise=0.1, seed=seed)

    expected = by_definition(points, CONFIG)

    assert expected
    assert [(each.t.timestamp(), each.since.timestamp()) for each in events(points, CONFIG)] == expected
