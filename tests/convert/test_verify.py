"""`convert verify` and `convert conditions`, as run in the device's environment."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from contract.labels import EMOTIONS
from convert import conditions, verify
from edge.camera.source import Frame
from tests import yunet
from train.data import Faces

pytestmark = pytest.mark.tflite

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "emotion_int8.tflite"


def convert(*arguments) -> subprocess.CompletedProcess:
    """Run the command as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "convert", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture
def data(tmp_path):
    """A test split of eight blurred patterns per label; what they are read as does not matter."""
    rng = np.random.default_rng(0)
    for label in EMOTIONS:
        folder = tmp_path / "data" / "test" / label
        folder.mkdir(parents=True)
        for number in range(8):
            noise = cv2.GaussianBlur(rng.integers(0, 256, (48, 48)).astype(np.uint8), (0, 0), 3)
            cv2.imwrite(str(folder / f"{number}.png"), noise)
    return tmp_path / "data"


@pytest.fixture
def model(tmp_path):
    """A copy of the shipped model and card, to be damaged."""
    for file in (MODEL, MODEL.with_suffix(".json")):
        shutil.copy(file, tmp_path)
    return tmp_path / MODEL.name


def test_json_has_accuracy_classes_and_confusions_of_every_face(data):
    """What is printed adds up to the faces of the split, and nothing else is on standard output."""
    report = json.loads(convert("verify", MODEL, "--data", data, "--json").stdout)

    hard = np.array(report["confusion"]["hard"])
    assert report["faces"] == hard.sum() == 56
    assert hard.sum(axis=1).tolist() == [8] * 7
    assert np.trace(hard) / 56 == pytest.approx(report["accuracy"])
    assert list(report["per_class"]) == list(EMOTIONS)
    assert np.array(report["confusion"]["soft"]).sum(axis=1) == pytest.approx(np.ones(7), abs=1e-3)


def test_the_table_for_reading_has_a_row_per_label(data):
    """Without --json, labels, precision, recall and counts stand in a table."""
    shown = convert("verify", MODEL, "--data", data).stdout

    for label in EMOTIONS:
        assert f"\n{label} " in shown


def test_probabilities_are_stored_for_evaluation(data, tmp_path):
    """`train evaluate` finds names, labels and rows that sum to one."""
    convert("verify", MODEL, "--data", data, "--probabilities", tmp_path / "p.npz")

    with np.load(tmp_path / "p.npz") as stored:
        assert stored["probabilities"].shape == (56, 7)
        assert stored["probabilities"].sum(axis=1) == pytest.approx(np.ones(56), abs=1e-5)
        assert len(stored["names"]) == len(stored["labels"]) == 56
        assert str(stored["split"]) == "test"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda model: model.write_bytes(model.read_bytes()[:1000]), "SHA-256"),
        (lambda model: model.unlink(), "No such file"),
        (lambda model: model.with_suffix(".json").unlink(), "No such file"),
        (lambda model: model.with_suffix(".json").write_text("{}"), "missing key"),
    ],
    ids=["truncated", "no model", "no card", "empty card"],
)
def test_a_damaged_model_is_refused_in_one_line(model, data, damage, said):
    """Exit status 1 and one line that names the file; no traceback."""
    damage(model)

    ended = convert("verify", model, "--data", data)

    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert str(model.with_suffix("")) in ended.stderr


def test_a_missing_split_is_refused_in_one_line(data):
    """Data without a training split cannot be measured on its validation part."""
    ended = convert("verify", MODEL, "--data", data, "--split", "validation")

    assert ended.returncode == 1
    assert "train" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_card_that_claims_too_much_of_these_faces_is_refused(model, data):
    """The very same faces, another accuracy: the card and the file do not tell the same."""
    measured = json.loads(convert("verify", model, "--data", data, "--json").stdout)
    path = model.with_suffix(".json")
    document = json.loads(path.read_text())
    document["data"]["measured_digest"] = measured["digest"]
    document["int8"]["tflite_runtime"]["accuracy"] = measured["accuracy"] + 0.02
    path.write_text(json.dumps(document))

    ended = convert("verify", model, "--data", data)

    assert ended.returncode == 1
    assert "its card states" in ended.stderr


def test_no_training_framework_is_imported():
    """Verify and conditions run on a device that has neither TensorFlow nor matplotlib."""
    script = (
        "import sys, convert.__main__, convert.verify, convert.conditions, convert.golden; "
        "print([m for m in ('tensorflow', 'keras', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert shown.strip() == "[]"


class FixedDetector:
    """Finds one face, in the middle half of every picture, unless the picture is dark."""

    def detect(self, frame: Frame) -> list[tuple[int, int, int, int]]:
        """A box as high as the pasted face, and one that is somebody else's."""
        if frame.image.mean() < 20:
            return []
        height = frame.image.shape[0]
        return [(0, 0, 9, 9), (height // 4, height // 4, height * 3 // 4, height * 3 // 4)]


def test_detected_faces_are_compared_with_their_own_crops():
    """Found is the share of pasted faces with a box on them; both accuracies are of these alone."""
    brightness = ROOT / "tests" / "data" / "brightness_int8.tflite"
    classifier = verify.EmotionClassifier(brightness, verify.RuntimeConfig())
    labels = np.arange(len(EMOTIONS)).repeat(2)
    # a frame around each face that would be read otherwise: the device's crop has to lie inside
    images = np.full((len(labels), 48, 48), 255, np.uint8)
    images[:, 2:-2, 2:-2] = (256 * (labels + 0.5) / len(EMOTIONS))[:, None, None]
    images[0] = 0

    row = conditions.through_detector(FixedDetector(), classifier, Faces(images, labels, ("",) * len(images)), 96)

    assert row["found"] == pytest.approx(1 - 1 / len(images))
    assert row["accuracy"] == 1
    assert row["accuracy_own_crop"] < 1


@pytest.mark.skipif(yunet.find() is None, reason=yunet.MISSING)
def test_conditions_are_measured_with_the_devices_detector(data):
    """Every condition and every width through the detector is in the report."""
    ended = convert("conditions", MODEL, "--data", data, "--detector", yunet.find(), "--faces", 14, "--json")

    report = json.loads(ended.stdout)
    assert report["faces"] == 14
    assert len(report["accuracy"]) > 20
    assert [row["side_px"] for row in report["detected"]] == [96, 48, 32]
