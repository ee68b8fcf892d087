"""Properties of the estimate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.analysis.estimate import on_simplex, posterior

CONFUSION = tuple(tuple(0.64 if i == j else 0.06 for j in range(7)) for i in range(7))
PERFECT = tuple(tuple(float(i == j) for j in range(7)) for i in range(7))
MIXES = st.lists(st.floats(0, 50), min_size=7, max_size=7).filter(lambda values: sum(values) > 0.01)


@given(MIXES, st.floats(0.5, 5000), st.sampled_from([CONFUSION, PERFECT]))
def test_an_estimate_is_a_mix_inside_its_interval(expected, faces, confusion):
    """Shares are not negative and sum to 1; each lies in its interval, which lies in 0 to 1."""
    found = posterior(expected, faces, confusion).estimate()

    assert sum(found.mix) == pytest.approx(1)
    assert all(
        0 <= low <= share + 1e-9 and share <= high + 1e-9 and high <= 1
        for share, low, high in zip(found.mix, found.low, found.high, strict=True)
    )


@given(MIXES)
def test_a_known_confusion_is_undone(true):
    """With very many faces the true mix comes back from what the confusion made of it, to what a card is worth."""
    true = np.array(true) / sum(true)

    found = posterior(true @ np.array(CONFUSION), 1e6, CONFUSION).estimate()

    assert found.mix == pytest.approx(true, abs=0.05)


@pytest.mark.parametrize("faces", [10, 25, 100])
def test_nine_of_ten_intervals_have_the_true_share(faces):
    """Of classes of any mix, whose faces' probabilities err as the confusion says: neither boastful nor useless."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(100):
        labels = rng.choice(7, faces, p=rng.dirichlet(np.ones(7)))
        probabilities = np.array([rng.dirichlet(3 * np.array(CONFUSION[label])) for label in labels])
        true = np.bincount(labels, minlength=7) / faces
        found = posterior(probabilities.sum(axis=0).tolist(), faces, CONFUSION).estimate()
        inside += [
            low <= share + 1e-9 and share <= high + 1e-9
            for low, share, high in zip(found.low, true, found.high, strict=True)
        ]

    assert 0.88 < np.mean(inside) < 0.98


@pytest.mark.parametrize("faces", [10, 25])
def test_intervals_hold_what_devices_added_noise_to(faces):
    """Laplace noise of one face per label, cut at 0; without being told of it they hold 70 % of ten people's shares."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(100):
        labels = rng.choice(7, faces, p=rng.dirichlet(np.ones(7)))
        read = sum(rng.dirichlet(3 * np.array(CONFUSION[label])) for label in labels) + rng.laplace(0, 1, 7)
        true = np.bincount(labels, minlength=7) / faces
        found = posterior(np.clip(read, 0, None).tolist(), faces, CONFUSION, added=2.0).estimate()
        inside += [
            low - 1e-9 <= share <= high + 1e-9 for low, share, high in zip(found.low, true, found.high, strict=True)
        ]

    assert 0.88 < np.mean(inside) < 0.98


def test_the_interval_narrows_with_people():
    """400 faces say more than 25, and 25 more than 5."""
    widths = [
        sum(found.high) - sum(found.low)
        for found in (posterior((1, 1, 1, 5, 1, 1, 4), faces, CONFUSION).estimate() for faces in (5, 25, 400))
    ]

    assert widths[0] > 1.2 * widths[1] > 1.2 * 1.2 * widths[2]


def test_the_scale_of_expected_does_not_matter():
    """Sums over a lesson and means per frame give the same."""
    values = np.array([1, 1, 1, 5, 1, 1, 4.0])
    once, often = (posterior(values * scale, 14, CONFUSION).estimate().mix for scale in (1, 1000))

    assert once == pytest.approx(often)


@pytest.mark.parametrize(("expected", "faces"), [((0,) * 7, 10), ((1,) * 7, 0)])
def test_no_face_has_no_mix(expected, faces):
    """An estimate of nothing is refused, not invented."""
    with pytest.raises(ValueError, match="no mix"):
        posterior(expected, faces, CONFUSION).estimate()


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=9))
def test_on_simplex_gives_shares_and_leaves_shares_alone(values):
    """It projects: the result is a mix, and a mix is its own result."""
    shares = on_simplex(np.array(values))

    assert shares.min() >= 0
    assert shares.sum() == pytest.approx(1)
    assert on_simplex(shares) == pytest.approx(shares)


TAKEN_FOR_EACH_OTHER = np.eye(7)
TAKEN_FOR_EACH_OTHER[:2, :2] = 0.5


def test_labels_that_are_taken_for_one_another_do_not_widen_their_group():
    """Nobody can tell the first two apart, but everybody sees that it is one of them."""
    known = posterior((10, 10, 0, 0, 0, 0, 20), 40, tuple(map(tuple, TAKEN_FOR_EACH_OTHER.tolist())))
    labels, groups = known.estimate(), known.estimate(((0, 1), (2, 3, 4, 5), (6,)))

    assert sum(groups.mix) == pytest.approx(1)
    assert groups.mix[0] == pytest.approx(labels.mix[0] + labels.mix[1], abs=0.01)
    assert groups.high[0] - groups.low[0] < labels.high[0] - labels.low[0]
