"""Boxes and labels on copies."""

import numpy as np
import pytest

from contract.labels import EMOTIONS
from edge.commands.draw import caption, draw
from edge.vision.pipeline import Face


def face(box: tuple[int, int, int, int], happy: float | None) -> Face:
    """A face whose probability of being happy is known; None was not classified."""
    if happy is None:
        return Face(box, None, sure=False)
    rest = (1 - happy) / 6
    probabilities = np.array([happy if label == "happy" else rest for label in EMOTIONS], np.float32)
    return Face(box, probabilities, sure=happy >= 0.5)


@pytest.mark.parametrize(("happy", "text"), [(0.93, "happy 93%"), (0.31, "unsure (happy 31%)"), (None, "")])
def test_a_caption_says_label_and_probability_and_whether_it_is_sure(happy, text):
    """A face below the threshold is unsure, one that was not classified has no caption."""
    assert caption(face((0, 0, 9, 9), happy)) == text


def test_the_picture_itself_is_not_touched():
    """Boxes are drawn on a copy."""
    image = np.zeros((100, 100, 3), np.uint8)

    copy = draw(image, [face((20, 20, 60, 60), 0.9)])

    assert not image.any()
    assert copy[60, 40].any()


@pytest.mark.parametrize("box", [(-40, -40, 30, 30), (80, 80, 200, 200), (0, 0, 100, 100)])
def test_a_box_over_the_border_is_drawn_as_far_as_it_is_seen(box):
    """With a caption that stays within the picture."""
    image = np.zeros((100, 100, 3), np.uint8)

    assert draw(image, [face(box, 0.9)]).any()
