"""`convert crop`: photographs in label folders become faces in label folders."""

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from contract.labels import EMOTIONS
from convert.crop import only_face
from demo.scene import astronaut_photo
from tests import yunet
from train.layouts import Picture

ROOT = Path(__file__).resolve().parents[2]


class Boxes:
    """A detector that finds these."""

    def __init__(self, *boxes: tuple[int, int, int, int]) -> None:
        self._boxes = list(boxes)

    def detect(self, frame) -> list[tuple[int, int, int, int]]:
        """Whatever the picture."""
        return self._boxes


@pytest.fixture
def photograph():
    """Noise, 200 high and 300 wide, with a bright square of 40 px."""
    pixels = np.random.default_rng(0).integers(0, 90, (200, 300, 3)).astype(np.uint8)
    pixels[80:120, 100:140] = 240
    data = cv2.imencode(".png", pixels)[1].tobytes()
    return Picture("happy", "a.png", "happy/a.png", lambda: data)


def test_the_face_is_what_the_device_gives_its_network(photograph):
    """48x48 grey, cut from the box by contract.preprocess."""
    face = only_face(Boxes((98, 78, 142, 122)), photograph)

    assert (face.shape, face.dtype) == ((48, 48), np.uint8)
    assert face.mean() > 200


@pytest.mark.parametrize(
    ("boxes", "said"),
    [((), "no face found"), (((0, 0, 40, 40), (100, 0, 130, 30)), "2 faces found, and none of them much larger")],
)
def test_pictures_without_one_clear_face_are_left_out(photograph, boxes, said):
    """Nobody's, and two people's: which of them has the label cannot be known."""
    assert only_face(Boxes(*boxes), photograph).startswith(said)


def test_a_small_face_in_the_background_does_not_matter(photograph):
    """The larger one is the picture's, wherever the detector lists it."""
    assert only_face(Boxes((0, 0, 10, 10), (98, 78, 142, 122)), photograph).mean() > 200


@pytest.mark.skipif(yunet.find() is None, reason=yunet.MISSING)
def test_a_folder_of_photographs_becomes_a_data_set(tmp_path):
    """What has no face is listed with its reason; every other picture has its face in the folder of its label."""
    astronaut = astronaut_photo()
    for label in EMOTIONS:
        (tmp_path / "phone" / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "phone" / label / "IMG_1.jpg"), astronaut)
    shutil.copy(ROOT / "docs" / "confusion_matrix.png", tmp_path / "phone" / "sad" / "IMG_2.png")
    (tmp_path / "phone" / "fear" / "IMG_3.heic").write_bytes(b"\0\0\0 ftypheic")

    ended = subprocess.run(
        [sys.executable, "-m", "convert", "crop", tmp_path / "phone", "--out", tmp_path / "faces",
         "--detector", yunet.find()],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    first, *left_out = ended.stdout.splitlines()
    assert first.endswith("7 faces; 2 pictures left out")
    assert [line.strip().split(":")[0] for line in left_out] == ["fear/IMG_3.heic", "sad/IMG_2.png"]
    written = sorted(path.relative_to(tmp_path / "faces").parts for path in (tmp_path / "faces").rglob("*.png"))
    assert written == sorted(("train", label, "IMG_1.jpg.png") for label in EMOTIONS)
