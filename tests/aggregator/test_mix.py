"""All spans of a lesson at once are what one after another gives, by the definition and without arrays."""

from collections import Counter
from random import Random

import numpy as np
import pytest
from msgspec import structs

from aggregator.analysis.estimate import posteriors
from aggregator.analysis.mix import MIN_FRAMES, SPAN_WINDOWS, Estimator, mix_of, moments
from aggregator.store.windows import NOTHING, Key, Sums, add, table_of
from contract.card import ModelCard
from contract.labels import EMOTIONS, GROUPS

CARDS = {
    model: ModelCard(
        sha256=model * 8,
        unsure_below=0.4,
        soft_confusion=tuple(tuple(right if i == j else (1 - right) / 6 for j in range(7)) for i in range(7)),
        hard_confusion=(),
        document={},
    )
    for model, right in (("3f9c1a77", 0.7), ("00000001", 0.5))
}


def drawn(chance):
    """Windows of two devices in ten minutes, of models with and without a card, some withheld in part or whole."""
    windows = {}
    for start in range(0, 600, 10):
        for device, models in (("cam", (*CARDS, "")), ("east", ("3f9c1a77", "99999999"))):
            if chance.random() < 0.8:
                model = models[0] if chance.random() < 0.8 else chance.choice(models)
                frames = chance.choice((1, 10, 200))
                withheld = chance.choice((0, 0, 0, frames, frames // 2, max(frames - MIN_FRAMES, 0)))
                shown = frames - withheld
                counts = tuple(chance.randrange(5) * shown * bool(model) for _ in EMOTIONS)
                expected = tuple(round(100 * each * chance.random()) for each in counts)
                unsure = chance.randrange(3) * shown * bool(model)
                faces = sum(counts) + unsure + 3 * shown * (not model)
                windows[Key("north", "r1", device, model, start)] = Sums(
                    frames, withheld, faces, unsure, counts, expected
                )
    return list(windows.items())


def plain(rows, estimator):
    """The mix of one span as nested numbers; None without a frame."""
    windows, parts, devices = Counter(key.device for key, _ in rows), {}, {}
    for key, sums in rows:
        add(parts, (key.device, key.model), sums)
    for (device, model), sums in parts.items():
        if sums.withheld and 0 < sums.frames - sums.withheld < MIN_FRAMES:
            parts[device, model] = structs.replace(NOTHING, frames=sums.frames, withheld=sums.frames)
        add(devices, device, parts[device, model])

    def per_frame(values):
        """Of each device, added."""
        return sum(
            value / shown for device, value in values if (shown := devices[device].frames - devices[device].withheld)
        )

    read = {}
    for model in {model for _, model in parts}:
        own = [(device, sums) for (device, each), sums in parts.items() if each == model]
        read[model] = [per_frame((device, sums.expected[i] / 100) for device, sums in own) for i in range(7)]
    read = {model: values for model, values in read.items() if sum(values)}
    noise = estimator.noise * sum(min(1, SPAN_WINDOWS / number) for number in windows.values())
    estimates = [
        np.concatenate([known.estimates(), known.estimates(estimator.members)], axis=1)[0] * sum(values)
        for model, values in read.items()
        if read.keys() <= estimator.cards.keys()
        for known in [
            posteriors(
                np.array([values]),
                np.array([sum(values)]),
                estimator.cards[model].soft_confusion,
                np.array([noise]),
            )
        ]
    ]
    triples = (sum(estimates) / sum(map(sum, read.values()))).tolist() if estimates else None
    counts = [per_frame((device, sums.counts[i]) for device, sums in devices.items()) for i in range(7)]
    by_label = dict(zip(EMOTIONS, counts, strict=True))
    counted = (
        [[sum(by_label[label] for label in labels) / sum(counts), 0, 1] for labels in GROUPS.values()]
        if any(counts)
        else None
    )
    faces = per_frame((device, sums.faces) for device, sums in devices.items())
    unsure = per_frame((device, sums.unsure) for device, sums in devices.items())
    frames = sum(sums.frames for sums in devices.values())
    return (
        frames,
        sum(sums.withheld for sums in devices.values()) / frames,
        faces,
        unsure / faces if faces else 0,
        counts if any(model and sums.frames > sums.withheld for (_, model), sums in parts.items()) else None,
        triples and triples[:7],
        triples[7:] if triples else counted,
    )


def close(mix, expected):
    """Whether a mix tells these numbers."""
    told = (
        mix.frames,
        mix.withheld,
        mix.faces,
        mix.unsure,
        mix.counts and list(mix.counts.values()),
        mix.estimate and [list(triple) for triple in mix.estimate.values()],
        mix.groups and [list(triple) for triple in mix.groups.values()],
    )
    return all(
        a is b is None or (None not in (a, b) and np.allclose(a, b, rtol=0, atol=1e-9))
        for a, b in zip(told, expected, strict=True)
    )


@pytest.mark.parametrize("epsilon", [0.0, 2.0])
@pytest.mark.parametrize("span_s", [10, 60])
@pytest.mark.parametrize("seed", range(5))
def test_every_span_has_the_mix_of_its_windows(seed, span_s, epsilon):
    """Devices, models, missing cards, withheld frames and noise, in any order of the windows."""
    chance = Random(seed)  # noqa: S311 - no secret
    rows, estimator = drawn(chance), Estimator(CARDS, epsilon=epsilon)
    chance.shuffle(rows)

    told = moments(table_of(rows), estimator, span_s)

    assert [moment.start for moment in told] == sorted({key.start // span_s * span_s for key, _ in rows})
    for start, mix in told:
        inside = [(key, sums) for key, sums in rows if start <= key.start < start + span_s]
        assert close(mix, plain(inside, estimator))
    assert close(mix_of(table_of(rows), estimator), plain(rows, estimator))


def test_no_windows_have_no_mix():
    """Of a room that never had a frame."""
    assert mix_of(table_of([]), Estimator(CARDS)) is None
    assert moments(table_of([(Key("north", "r1", "cam", "", 0), NOTHING)]), Estimator(CARDS), 10) == []
