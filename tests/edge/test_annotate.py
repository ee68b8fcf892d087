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
from edge.commands import annotate, load_or_default
from edge.commands.faces import Face
from edge.config import DEFAULT_PATH, CameraConfig, DetectorConfig, EmotionsConfig
from service.config import ConfigError


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


@pytest.mark.parametrize(
    ("sure", "unsure", "small", "told"),
    [
        (["happy"] * 3 + ["sad"] * 2, 1, 2, "would be published: 8 faces, 3 unsure, 3 happy, 2 sad"),
        (["happy"] * 4, 2, 0, "would be withheld: faces with a sure label: 4, min_faces = 5"),
        ([], 0, 0, "would be withheld: faces with a sure label: 0, min_faces = 5"),
    ],
)
def test_a_line_says_what_would_be_published(sure, unsure, small, told):
    """As the daemon counts: small and unsure faces are unsure, and few sure ones are withheld."""
    rows = [*sure, *["fear"] * unsure]
    faces = [
        Face((0, 0, 30, 30), np.eye(7, dtype=np.float32)[EMOTIONS.index(label)], sure=index < len(sure))
        for index, label in enumerate(rows)
    ]
    faces += [Face((0, 0, 9, 9), None, sure=False, too_small=True)] * small

    assert annotate.published(faces, 5, emotions=True) == told


@pytest.mark.parametrize(
    ("faces", "told"), [(5, "would be published: 5 faces"), (1, "would be withheld: 1 face, min_faces = 5")]
)
def test_with_emotions_off_only_the_faces_would_be_published(faces, told):
    """If they are enough."""
    assert annotate.published([Face((0, 0, 30, 30), None, sure=False)] * faces, 5, emotions=False) == told


def test_no_configuration_is_needed(tmp_path):
    """On a machine that is no device; a file that is named must be there."""
    if DEFAULT_PATH.exists():
        pytest.skip(f"{DEFAULT_PATH} exists")

    config = load_or_default(DEFAULT_PATH)

    assert config.detector == DetectorConfig()
    assert config.emotions == EmotionsConfig()
    assert load_or_default(DEFAULT_PATH, "usb:3").camera == CameraConfig("usb:3")
    with pytest.raises(ConfigError, match="No such file"):
        load_or_default(tmp_path / "named.toml")
