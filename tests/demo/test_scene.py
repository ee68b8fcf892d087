"""The drawn class: its faces are where it says, and both detectors find most of them."""

from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo import scene
from edge.camera.source import Frame
from edge.config import DetectorConfig
from edge.vision.detector import Box, Haar


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """One picture of every other second of the lesson."""
    return list(scene.lesson(rate_hz=0.5))


def found(picture: np.ndarray) -> list[Box]:
    """What the detector that needs no file finds."""
    return Haar(DetectorConfig(name="haar")).detect(Frame(picture, 0.0))


def holds(outer: Box, box: Box) -> bool:
    """Whether the centre of `box` lies in `outer`."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return outer[0] <= x <= outer[2] and outer[1] <= y <= outer[3]


def test_a_still_says_where_its_faces_are():
    """A detector finds nearly every face in the box that `still` gives for it."""
    picture, boxes = scene.still(scene.portraits()[:10], 1280, 720, 100)

    faces = found(picture)

    assert picture.shape == (720, 1280, 3)
    assert sum(any(holds(box, face) for face in faces) for box in boxes) >= 9


def test_a_still_that_cannot_hold_its_faces_is_an_error():
    """Faces never overlap silently."""
    with pytest.raises(ValueError, match="30 faces"):
        scene.still(scene.portraits()[:30], 640, 480, 100)


def test_most_faces_of_the_lesson_are_found(pictures: list[np.ndarray]):
    """There are enough in almost every picture for the default min_faces of 5, even with Haar."""
    faces = [len(found(picture)) for picture in pictures[::10]]

    assert np.mean(faces) >= 6


def test_the_class_sways_without_a_jump():
    """Each picture differs from the next, and where the sway begins again it is as near as elsewhere."""
    sway = list(islice(scene.lesson(rate_hz=2), 13))
    steps = [float(cv2.absdiff(a, b).mean()) for a, b in pairwise(sway)]

    assert np.array_equal(sway[0], sway[12])
    assert min(steps) > 0
    assert steps[-1] < 2 * np.median(steps)


def test_the_lesson_changes_once_for_a_while_with_heads_down(pictures: list[np.ndarray]):
    """The class is the same until CHANGE_S, and another from then on; three are under the desk meanwhile."""
    change = int(scene.CHANGE_S / 2)

    assert np.array_equal(pictures[change - 3], pictures[0])
    assert not np.array_equal(pictures[change], pictures[0])
    assert np.array_equal(pictures[change], pictures[-3])
    assert len(found(pictures[change + 12])) < len(found(pictures[change]))


def test_a_face_over_the_border_is_cut_off():
    """Drawing outside the picture is neither an error nor wraps around."""
    portrait = scene.portraits()[0]
    picture = np.zeros((100, 100, 3), np.uint8)

    scene.draw(picture, scene.Placed(portrait, 100, 50, 40))
    scene.draw(picture, scene.Placed(portrait, 400, 50, 40))

    assert picture[:, 80:].any()
    assert not picture[:, :60].any()


def test_the_video_is_rendered_once(tmp_path: Path):
    """A second start uses the file that is there."""
    path = tmp_path / "class.mp4"
    path.write_bytes(b"rendered before")

    assert scene.video(path) == path
    assert path.read_bytes() == b"rendered before"


def test_dataset_faces_carry_their_label(tmp_path: Path):
    """Files are taken in order of their names; too few are an error that names the folder."""
    (tmp_path / "happy").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / "happy" / f"{number}.png"), np.full((48, 48), number, np.uint8))

    faces = scene.dataset(tmp_path, "happy", 2)

    assert [(face.label, int(face.pixels[0, 0])) for face in faces] == [("happy", 0), ("happy", 1)]
    with pytest.raises(FileNotFoundError, match="happy has 3 pictures, not 4"):
        scene.dataset(tmp_path, "happy", 4)
    with pytest.raises(FileNotFoundError, match="sad has 0 pictures"):
        scene.dataset(tmp_path, "sad", 1)
