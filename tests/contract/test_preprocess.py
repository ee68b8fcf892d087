"""Preprocessing: the same pixels everywhere and for ever, or a new PREPROCESSING_VERSION."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from contract.card import INPUT_SIZE, PREPROCESSING_VERSION
from contract.preprocess import crop, grey, resize, square

DATA = Path(__file__).parents[1] / "data"
BOXES = {"large": (30, 10, 130, 120), "small": (100, 60, 120, 90), "over the corner": (-20, -30, 40, 50)}


def picture() -> np.ndarray:
    """A pattern of nobody with edges, gradients and colours, (140, 180, 3) uint8 bgr; whole numbers on any machine."""
    y, x = np.mgrid[0:140, 0:180]
    return np.stack([(x * x // 40 + y * y // 30) % 256, 2 * x % 256, (x * y // 50) % 256], axis=2).astype(np.uint8)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize(("name", "levels"), [("large", 0), ("over the corner", 0), ("small", 1)])
def test_a_crop_equals_the_stored_one(name, levels, colour):
    """The arrays stored are of version 1; whoever changes a pixel changes the version, and trains anew.

    Of a colour picture only the face is made grey, which gives the same.
    A face that is enlarged may differ by one grey level: OpenCV's bilinear rounds otherwise on ARM than on x86.
    """
    stored = np.load(DATA / "crops_v1.npz")[name].astype(int)

    assert PREPROCESSING_VERSION == 1
    assert np.abs(crop(picture() if colour else grey(picture()), BOXES[name]) - stored).max() <= levels


def test_the_crop_is_a_square_of_nine_tenths_of_the_boxs_height_about_its_centre():
    """Width plays no part: detectors disagree about it."""
    assert square((0, 0, 100, 100)) == (5, 5, 95, 95)
    assert square((40, 0, 60, 100)) == (5, 5, 95, 95)


def test_what_lies_outside_the_picture_repeats_its_border():
    """A face cut by the border stays in the middle."""
    image = np.zeros((50, 50), np.uint8)
    image[:, 0] = 200

    face = crop(image, (-50, 0, 50, 100))

    assert (face[:, : INPUT_SIZE // 2 - 1] == 200).all()
    assert (face[:, INPUT_SIZE // 2 + 2 :] == 0).all()


@pytest.mark.parametrize("box", [(-500, -500, -400, -400), (900, 900, 990, 990), (10, 10, 10, 10), (0, 0, 1, 1)])
def test_any_box_gives_a_crop(box):
    """Even one beside the picture or without extent: never an empty array, never an error."""
    assert crop(np.full((60, 80), 77, np.uint8), box).tolist() == [[77] * INPUT_SIZE] * INPUT_SIZE


def test_a_picture_of_the_models_size_passes_unchanged():
    """FER2013's own faces are 48x48: training sees them as they are."""
    face = np.random.default_rng(0).integers(0, 256, (INPUT_SIZE, INPUT_SIZE), np.uint8)

    assert np.array_equal(resize(face), face)


@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_grey_is_grey_whatever_the_channels(channels):
    """Grey, bgr and bgra pictures of the same scene give the same pixels."""
    scene = np.arange(60, dtype=np.uint8).reshape(6, 10)
    image = scene if channels is None else cv2.merge([scene] * channels).reshape(6, 10, channels)

    assert np.array_equal(grey(image), scene)


def test_blue_counts_least():
    """The order is b, g, r: a picture in r, g, b would give other greys."""
    blue = np.zeros((4, 4, 3), np.uint8)
    blue[..., 0] = 255

    assert grey(blue).max() == 29
