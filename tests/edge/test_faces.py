"""Faces drawn on copies of pictures: which box for which face, and labels that cover none."""

import numpy as np
import pytest

from contract.labels import EMOTIONS
from edge.camera.source import Frame
from edge.commands.faces import Face, advice, caption, draw, find_faces
from edge.config import RuntimeConfig
from edge.vision.classifier import EmotionClassifier
from edge.vision.pipeline import Pipeline


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


def test_faces_keep_their_boxes(brightness_model):
    """Each box has its own probabilities, in the detector's order, and a small face has none."""

    class FixedBoxes:
        def detect(self, _frame):
            return [(60, 20, 110, 70), (0, 0, 10, 10), (0, 20, 50, 70)]

    image = np.zeros((100, 120, 3), np.uint8)
    for index, label in enumerate(("happy", "sad")):
        image[:, 60 * index : 60 * index + 60] = round((EMOTIONS.index(label) + 0.5) * 255 / len(EMOTIONS))
    pipeline = Pipeline(FixedBoxes(), EmotionClassifier(brightness_model, RuntimeConfig()), min_face_px=24)

    faces = find_faces(pipeline, Frame(image, 0.0))

    assert [face.box for face in faces] == FixedBoxes().detect(None)
    assert faces[1].probabilities is None
    assert [EMOTIONS[face.probabilities.argmax()] for face in (faces[0], faces[2])] == ["sad", "happy"]
    assert [face.sure for face in faces] == [True, False, True]
    assert [face.too_small for face in faces] == [False, True, False]


def crowd(across: int, down: int, gap: int) -> list[Face]:
    """Faces of 40 px in rows and columns, so many pixels apart."""
    step = 40 + gap
    corners = [(20 + step * x, 30 + step * y) for y in range(down) for x in range(across)]
    return [face((x, y, x + 40, y + 40), 0.9) for x, y in corners]


@pytest.mark.parametrize(("gap", "legend"), [(90, False), (20, True), (0, True)])
def test_no_label_covers_a_face(gap, legend):
    """Inside every box the picture is as it was, however close they stand; what finds no place is told at the side."""
    faces = crowd(5, 4, gap)
    image = np.full((700, 700, 3), 90, np.uint8)

    copy = draw(image, faces)

    assert (copy.shape[1] > 700) is legend
    for number, each in enumerate(faces, 1):
        x0, y0, x1, y1 = each.box
        if gap:  # faces that touch have room for their numbers nowhere else
            assert (copy[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] == 90).all(), number


def test_a_legend_of_many_faces_has_as_many_columns_as_it_needs():
    """None is left out: forty rows of twenty pixels do not fit into 300."""
    faces = crowd(8, 5, 0)

    wide = draw(np.full((300, 500, 3), 90, np.uint8), faces).shape[1] - 500
    narrow = draw(np.full((900, 500, 3), 90, np.uint8), faces).shape[1] - 500

    assert wide >= 2 * narrow > 0


@pytest.mark.parametrize(
    ("found", "colour"),
    [
        (face((20, 20, 80, 80), 0.9), (0, 159, 230)),  # pleasant, as on the page
        (face((20, 20, 80, 80), 0.31), (255, 255, 255)),
        (face((20, 20, 80, 80), None), (80, 220, 80)),
        (Face((20, 20, 80, 80), None, sure=False, too_small=True), (40, 40, 230)),
    ],
)
def test_the_box_tells_what_became_of_a_face(found, colour):
    """By its group's colour, white if unsure, green with emotions off, red if it is too small to be read."""
    copy = draw(np.zeros((100, 100, 3), np.uint8), [found])

    assert tuple(copy[50, 20]) == colour


@pytest.mark.parametrize(
    ("heights", "told"),
    [
        ((), "no face found"),
        ((30,), "1 face, all large enough (the smallest is 30 px high, 24 are needed)"),
        ((30, 24), "2 faces, all large enough (the smallest is 24 px high, 24 are needed)"),
        (
            (30, 20, 18, 40),
            "4 faces, 2 too small: come closer or raise the resolution (the smallest is 18 px high, 24 are needed)",
        ),
    ],
)
def test_the_line_says_what_to_do(heights, told):
    """How many faces, how many too small, and the smallest: of `preview` and of `check`."""
    assert advice(heights, 24) == told
