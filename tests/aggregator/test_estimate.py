"""Properties of the estimate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.analysis.estimate import LABELS, on_simplex, posteriors

CONFUSION = tuple(tuple(0.64 if i == j else 0.06 for j in range(7)) for i in range(7))
PERFECT = tuple(tuple(float(i == j) for j in range(7)) for i in range(7))
MIXES = st.lists(st.floats(0, 50), min_size=7, max_size=7).filter(lambda values: sum(values) > 0.01)


def estimate(expected, faces, confusion, groups=LABELS, added=0.0):
    """Shares of one class, and the bounds of their intervals."""
    found = posteriors(np.array([expected], float), np.array([faces], float), confusion, np.array([added]))
    return found.estimates(groups)[0].T


@given(MIXES, st.floats(0.5, 5000), st.sampled_from([CONFUSION, PERFECT]))
def test_an_estimate_is_a_mix_inside_its_interval(expected, faces, confusion):
    """Shares are not negative and sum to 1; each lies in its interval, which lies in 0 to 1."""
    mix, low, high = estimate(expected, faces, confusion)

    assert sum(mix) == pytest.approx(1)
    assert (low >= 0).all()
    assert (high <= 1).all()
    assert (low <= mix + 1e-9).all()
    assert (mix <= high + 1e-9).all()


@given(MIXES)
def test_a_known_confusion_is_undone(true):
    """With very many faces the true mix comes back from what the confusion made of it, to what a card is worth."""
    true = np.array(true) / sum(true)

    mix, _, _ = estimate(true @ np.array(CONFUSION), 1e6, CONFUSION)

    assert mix == pytest.approx(true, abs=0.05)


@pytest.mark.parametrize("faces", [10, 25, 100])
def test_nine_of_ten_intervals_have_the_true_share(faces):
    """Of classes of any mix, whose faces' probabilities err as the confusion says: neither boastful nor useless."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(100):
        labels = rng.choice(7, faces, p=rng.dirichlet(np.ones(7)))
        probabilities = np.array([rng.dirichlet(3 * np.array(CONFUSION[label])) for label in labels])
        true = np.bincount(labels, minlength=7) / faces
        _, low, high = estimate(probabilities.sum(axis=0), faces, CONFUSION)
        inside += [*((low <= true + 1e-9) & (true <= high + 1e-9))]

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
        _, low, high = estimate(np.clip(read, 0, None), faces, CONFUSION, added=2.0)
        inside += [*((low <= true + 1e-9) & (true <= high + 1e-9))]

    assert 0.88 < np.mean(inside) < 0.98


def test_the_interval_narrows_with_people():
    """400 faces say more than 25, and 25 more than 5."""
    widths = [
        sum(high) - sum(low)
        for _, low, high in (estimate((1, 1, 1, 5, 1, 1, 4), faces, CONFUSION) for faces in (5, 25, 400))
    ]

    assert widths[0] > 1.2 * widths[1] > 1.2 * 1.2 * widths[2]


def test_the_scale_of_expected_does_not_matter():
    """Sums over a lesson and means per frame give the same."""
    values = np.array([1, 1, 1, 5, 1, 1, 4.0])
    once, often = (estimate(values * scale, 14, CONFUSION)[0] for scale in (1, 1000))

    assert once == pytest.approx(often)


@pytest.mark.parametrize(("expected", "faces"), [((0,) * 7, 10), ((1,) * 7, 0)])
def test_no_face_has_no_mix(expected, faces):
    """An estimate of nothing is refused, not invented."""
    with pytest.raises(ValueError, match="no mix"):
        estimate(expected, faces, CONFUSION)


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
    seen = (10, 10, 0, 0, 0, 0, 20), 40, tuple(map(tuple, TAKEN_FOR_EACH_OTHER.tolist()))
    labels, low, high = estimate(*seen)
    groups, group_low, group_high = estimate(*seen, ((0, 1), (2, 3, 4, 5), (6,)))

    assert sum(groups) == pytest.approx(1)
    assert groups[0] == pytest.approx(labels[0] + labels[1], abs=0.01)
    assert group_high[0] - group_low[0] < high[0] - low[0]
