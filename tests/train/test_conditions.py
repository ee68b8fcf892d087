"""What is done to faces in the conditions that are measured."""

import numpy as np
import pytest

from contract.labels import EMOTIONS
from train.conditions import AS_IS, CONDITIONS, accuracies, light, rotate, shrink


@pytest.fixture
def face():
    """Noise with a bright square."""
    picture = np.random.default_rng(0).integers(60, 120, (48, 48)).astype(np.uint8)
    picture[10:20, 10:20] = 230
    return picture


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_condition_gives_a_face_and_changes_it(face, name):
    """Shape and type stay; only the first and the full width change nothing."""
    changed = CONDITIONS[name](face, np.random.default_rng(0))

    assert (changed.shape, changed.dtype) == ((48, 48), np.uint8)
    assert (changed == face).all() == (name in (AS_IS, "48 px wide"))


def test_smaller_faces_keep_less_detail(face):
    """Shrinking to 16 px leaves less variance than to 32 px."""
    assert shrink(face, 16).std() < shrink(face, 32).std() < face.std()


def test_turning_moves_what_is_off_the_centre(face):
    """A quarter turn brings the bright square from the top left to the bottom left."""
    turned = rotate(face, 90)

    assert turned[28:38, 10:20].mean() > 220


def test_light_stays_within_a_pixels_range(face):
    """Brightness beyond white is white."""
    assert light(face, 1, 300).min() == 255


def test_accuracies_are_told_by_condition(face):
    """A classifier that looks at brightness alone is right as the face is, and told to be wrong when it is darker."""
    images, labels = face[None].repeat(4, axis=0), np.full(4, EMOTIONS.index("happy"))
    told = []

    def by_brightness(pictures):
        return np.eye(7)[np.where(pictures.mean(axis=(1, 2)) > face.mean() - 20, 3, 4)]

    found = accuracies(by_brightness, images, labels, lambda name, share: told.append((name, share)))

    assert found[AS_IS] == 1
    assert found["darker by 60"] == 0
    assert dict(told) == found
