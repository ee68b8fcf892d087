"""`annotate`: what is in the pictures that the user names, and copies with boxes."""

import argparse
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from contract.labels import EMOTIONS
from edge.camera.source import Frame
from edge.commands import annotate
from edge.commands.annotate import Face, caption, draw, find_faces
from edge.config import RuntimeConfig
from edge.vision.classifier import EmotionClassifier
from edge.vision.pipeline import Pipeline


@pytest.fixture
def run(edge_toml: Callable[..., Path], capsys: pytest.CaptureFixture) -> Callable[..., tuple]:
    """`run(*arguments)`: exit status, standard output and standard error of the command."""
    config = edge_toml("pi")

    def command(*arguments: object) -> tuple[int, str, str]:
        parser = argparse.ArgumentParser()
        annotate.configure(parser)
        parser.add_argument("--config", type=Path)
        status = annotate.run(parser.parse_args([*map(str, arguments), "--config", str(config)]))
        said = capsys.readouterr()
        return status, said.out, said.err

    return command


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_face_is_told_as_json_with_its_box_and_probabilities(run, astronaut_file):
    """One real face: box, top label, probability, and all seven."""
    status, out, _ = run(astronaut_file, "--json")

    (picture,) = json.loads(out)
    (face,) = picture["faces"]
    assert status == 0
    assert (picture["image"], picture["width"], picture["height"]) == (str(astronaut_file), 512, 512)
    assert picture["written"] is None
    assert face["box"] == pytest.approx([180, 65, 270, 175], abs=15)
    assert list(face["probabilities"]) == list(EMOTIONS)
    assert face["probability"] == face["probabilities"][face["label"]] == max(face["probabilities"].values())
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=0.001)


def test_a_copy_gets_the_box_and_the_picture_stays_as_it_was(run, astronaut_file, tmp_path):
    """The picture named is only read."""
    before = sha256(astronaut_file)

    status, out, _ = run(astronaut_file, "--out", tmp_path / "out")

    copy = cv2.imread(str(tmp_path / "out" / "astronaut.png"))
    changed = (copy != cv2.imread(str(astronaut_file))).any(axis=2)
    assert status == 0
    assert "faces: 1, " in out
    assert sha256(astronaut_file) == before
    assert changed[65:176, 178:182].any()
    assert not changed[300:].any()


def test_the_copy_of_a_grey_picture_has_coloured_boxes_too(run, astronaut, tmp_path):
    """A .pgm cannot hold them, so its copy is a .png."""
    path = tmp_path / "grey.pgm"
    cv2.imwrite(str(path), cv2.cvtColor(astronaut.image, cv2.COLOR_BGR2GRAY))

    status, _, _ = run(path, "--out", tmp_path / "out")

    copy = cv2.imread(str(tmp_path / "out" / "grey.pgm.png"))
    assert status == 0
    assert copy.shape == astronaut.image.shape


def test_an_image_that_is_no_image_is_named_and_the_others_are_done(run, astronaut_file, tmp_path):
    """Exit status 1, because one of three failed."""
    broken = tmp_path / "broken.jpg"
    broken.write_text("no picture")

    status, out, err = run(broken, astronaut_file, tmp_path / "gone.png", "--json", "--out", tmp_path / "out")

    assert status == 1
    assert [picture["image"] for picture in json.loads(out)] == [str(astronaut_file)]
    assert f"{broken}: not a picture" in err
    assert f"{tmp_path / 'gone.png'}: No such file" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["astronaut.png"]


def test_a_picture_without_faces_has_none(run, tmp_path, grey_frame):
    """That is no error."""
    path = tmp_path / "empty.png"
    cv2.imwrite(str(path), grey_frame.image)

    status, out, _ = run(path, "--json")

    assert (status, json.loads(out)[0]["faces"]) == (0, [])


def test_a_picture_is_never_overwritten(run, astronaut_file):
    """`--out` with the picture's own folder is refused before anything is written."""
    before = sha256(astronaut_file)

    status, _, err = run(astronaut_file, "--out", astronaut_file.parent)

    assert status == 1
    assert f"{astronaut_file} would be overwritten" in err
    assert sha256(astronaut_file) == before


def test_two_pictures_of_one_name_do_not_overwrite_each_others_copies(run, astronaut_file, tmp_path):
    """They are refused, and nothing is written."""
    other = tmp_path / "other" / "astronaut.png"
    other.parent.mkdir()
    cv2.imwrite(str(other), np.zeros((64, 64, 3), np.uint8))

    status, _, err = run(astronaut_file, other, "--out", tmp_path / "out")

    assert status == 1
    assert f"{other}: another picture is written to" in err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(run, astronaut_file, tmp_path):
    """Here a file stands in its place."""
    (tmp_path / "out").write_text("in the way")

    status, _, err = run(astronaut_file, "--out", tmp_path / "out")

    assert status == 1
    assert str(tmp_path / "out") in err


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
