"""Detectors: real faces are found where they are, and a wrong file is an error that says what to do."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera.source import Frame
from edge.config import DetectorConfig
from edge.vision.detector import DetectorError, boxes_in_frame, open_detector, shrunk

FACE = (180, 65, 270, 175)
"""The astronaut's."""


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Intersection over union of two xyxy boxes."""
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    both = max(across, 0) * max(down, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def test_a_real_face_is_found_where_it_is(detector_config, astronaut):
    """One face, one box, around the face."""
    boxes = open_detector(detector_config).detect(astronaut)

    assert len(boxes) == 1
    assert overlap(boxes[0], FACE) > 0.6


def test_a_picture_without_faces_gives_no_boxes(detector_config, grey_frame):
    """No face is no box, not an error."""
    assert open_detector(detector_config).detect(grey_frame) == []


def test_boxes_are_in_pixels_of_the_frame_however_small_it_is_searched(yunet_file, astronaut):
    """A picture shrunk for the search gives boxes in pixels of the full picture."""
    detector = open_detector(DetectorConfig(model=yunet_file, width=200, height=200))

    boxes = detector.detect(astronaut)

    assert len(boxes) == 1
    assert overlap(boxes[0], FACE) > 0.6


def test_faces_are_looked_for_in_the_second_stream_where_there_is_one(yunet_file, astronaut):
    """With `lores`, boxes come from it, still in pixels of the full picture."""
    detector = open_detector(DetectorConfig(model=yunet_file))
    padded = cv2.copyMakeBorder(astronaut.image, 0, 0, 0, 64, cv2.BORDER_CONSTANT)
    small = cv2.resize(padded, (288, 256), interpolation=cv2.INTER_AREA)[:, :256]  # as rows of a camera are padded

    found = detector.detect(Frame(np.zeros_like(astronaut.image), 0.0, lores=small))

    assert len(found) == 1
    assert overlap(found[0], FACE) > 0.6


def test_one_detector_serves_pictures_of_any_size(yunet_file, astronaut):
    """The size of one picture does not spoil the next one's boxes."""
    detector = open_detector(DetectorConfig(model=yunet_file))
    wide = cv2.copyMakeBorder(astronaut.image, 0, 0, 300, 300, cv2.BORDER_REPLICATE)

    first, second, third = (detector.detect(frame) for frame in (astronaut, Frame(wide, 0.0), astronaut))

    assert first == third
    assert overlap(second[0], (FACE[0] + 300, FACE[1], FACE[2] + 300, FACE[3])) > 0.6


def test_a_face_cut_by_the_border_keeps_its_whole_box(yunet_file, astronaut):
    """The box reaches over the border, so that the crop's centre and side are the face's."""
    detector = open_detector(DetectorConfig(model=yunet_file))

    box = detector.detect(Frame(astronaut.image[90:].copy(), 0.0))[0]

    assert box[1] < 0


def test_a_smaller_picture_is_searched_as_it_is():
    """Pictures are shrunk, never blown up."""
    picture = np.zeros((100, 200, 3), np.uint8)

    assert shrunk(Frame(picture, 0.0), 960, 540) is picture


@pytest.mark.parametrize(
    ("size", "wanted"), [((1280, 720), (960, 540)), ((1920, 1440), (720, 540)), ((100, 4000), (14, 540))]
)
def test_a_larger_picture_is_shrunk_until_both_sides_fit(size, wanted):
    """Width and height keep their ratio."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)

    assert shrunk(Frame(picture, 0.0), 960, 540).shape[1::-1] == wanted


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "row",
    [
        pytest.param((-60, 10, 40, 40), id="centre left of the picture"),
        pytest.param((300, 10, 50, 40), id="centre right of the picture"),
        pytest.param((10, 230, 40, 40), id="centre below the picture"),
        pytest.param((10, 10, 0.2, 40), id="no width"),
        pytest.param((10, 10, 40, 0), id="no height"),
        pytest.param((10, -300, 400, 700), id="far higher than the picture"),
        pytest.param((np.nan, 10, 40, 40), id="no number"),
        pytest.param((-np.inf, 10, np.inf, 40), id="infinite"),
    ],
)
def test_what_cannot_be_a_face_is_left_out(row):
    """A box that no crop can be made of is no face."""
    frame = Frame(np.zeros((240, 320, 3), np.uint8), 0.0)

    assert boxes_in_frame(np.array([row], np.float32), frame.image, frame) == []


def test_a_missing_yunet_file_is_an_error_that_says_what_to_do(tmp_path):
    """The file is named, and so are both ways out."""
    path = tmp_path / "none.onnx"

    with pytest.raises(DetectorError, match=rf"{path}.*make models.*haar"):
        open_detector(DetectorConfig(model=path))


@pytest.mark.parametrize("data", [b"", b"no model", b"\x08\x07" * 1000])
def test_another_file_than_the_one_known_is_refused_unread(tmp_path, data):
    """Its SHA-256 is checked before OpenCV parses it."""
    path = tmp_path / "other.onnx"
    path.write_bytes(data)

    with pytest.raises(DetectorError, match=r"other\.onnx: its SHA-256 is "):
        open_detector(DetectorConfig(model=path))


def test_the_size_of_a_truncated_file_is_noticed(tmp_path: Path, yunet_file: Path):
    """A half-written download never becomes a detector."""
    path = tmp_path / "half.onnx"
    path.write_bytes(yunet_file.read_bytes()[:-1])

    with pytest.raises(DetectorError, match="make models"):
        open_detector(DetectorConfig(model=path))
