"""Conversion of a small trained network: what is written, and when nothing is."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from contract import card
from contract.labels import EMOTIONS

# ruff: noqa: PLC0415 - this file is collected where there is no TensorFlow, too
pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs TensorFlow: make test-train"),
]

ROOT = Path(__file__).resolve().parents[2]
DEVICE = ROOT / ".venv" / "bin" / "python"


def convert(*arguments) -> subprocess.CompletedProcess:
    """Run the command as a user does, from the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "convert", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Plain patterns, a brightness per label, 24 of each: enough for a network to tell them apart."""
    import cv2

    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("data")
    for index, label in enumerate(EMOTIONS):
        (root / label).mkdir()
        for number in range(24):
            picture = rng.normal(30 + 32 * index, 3, (48, 48))
            cv2.imwrite(str(root / label / f"{number}.png"), np.clip(picture, 1, 254).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A classifier of the shipped shape that has learned nothing: conversion does not mind."""
    import keras

    from train.model import build, classifier, with_heads

    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("run") / "model.keras"
    classifier(with_heads(build("plain"))).save(path)
    return path


@pytest.fixture(scope="module")
def written(network, data, tmp_path_factory):
    """A folder after one conversion."""
    out = tmp_path_factory.mktemp("out") / "models"
    ended = convert(network, "--data", data, "--out", out, "--device-python", DEVICE)
    assert ended.returncode == 0, ended.stderr
    return out


def test_model_card_and_keras_file_appear_together(written):
    """Three files, no leftovers; the card has the model's hash."""
    assert sorted(path.name for path in written.iterdir()) == [
        "emotion.keras", "emotion_int8.json", "emotion_int8.tflite",
    ]  # fmt: skip
    stated, data = card.read_with_model(written / "emotion_int8.tflite")
    assert stated.document["bytes"] == len(data)
    assert stated.document["data"]["measured_on"] == "validation"
    assert len(stated.document["golden"]) == 16


def test_the_device_takes_the_file_though_no_sample_was_black_or_white(written):
    """Calibration stretches one sample, so the input's scale is 1 whatever the pictures."""
    ended = subprocess.run(
        [DEVICE, "-c", "from convert.verify import *; check_input(Path(sys.argv[1]), RuntimeConfig())",
         written / "emotion_int8.tflite"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("python", ["/bin/false", "/nonexistent/python"])
def test_nothing_is_written_when_the_device_cannot_verify(network, data, written, tmp_path, python):
    """The files that were there stay as they were, and nothing half-made lies beside them."""
    out = shutil.copytree(written, tmp_path / "models")
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    ended = convert(network, "--data", data, "--out", out, "--device-python", python)

    assert ended.returncode == 1
    assert python in ended.stderr
    assert "Traceback" not in ended.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("old", [("emotion_int8.tflite", "emotion_int8.json", "emotion.keras"), ()])
def test_a_folder_is_as_before_when_one_file_cannot_be_moved(tmp_path, old):
    """File, card and Keras model change together, or none does."""
    from convert.promote import publish

    stage, out = tmp_path / "stage", tmp_path / "out"
    for folder, names in ((stage, ("emotion_int8.tflite", "emotion_int8.json")), (out, old)):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(folder.name)

    with pytest.raises(OSError, match=r"emotion\.keras"):
        publish(stage, out)

    assert {path.name: path.read_text() for path in out.iterdir()} == dict.fromkeys(old, "out")


@pytest.mark.parametrize("name", ["missing.keras", "text.keras"])
def test_what_is_no_classifier_is_refused(data, tmp_path, name):
    """One line that names the file, and no folder made for it."""
    (tmp_path / "text.keras").write_text("no model")

    ended = convert(tmp_path / name, "--data", data, "--out", tmp_path / "models")

    assert ended.returncode == 1
    assert name in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "models").exists()


def test_calibration_samples_hold_every_label_shuffled():
    """As many of each label, in no order of labels, from raw 0 to 255."""
    from convert.quantize import calibration_samples
    from train.data import Faces

    images = np.repeat(np.arange(7, dtype=np.uint8) + 100, 150)[:, None, None] * np.ones((1, 48, 48), np.uint8)
    samples = calibration_samples(Faces(images, np.repeat(np.arange(7), 150), ("",) * 1050))

    brightness = samples[1:, 0, 0]
    assert np.bincount(brightness - 100).tolist() == [100] * 7
    assert (np.diff(brightness.astype(int)) != 0).mean() > 0.7
    assert (samples.min(), samples.max()) == (0, 255)


def test_card_tells_the_run_that_the_model_came_from(written, network, data, tmp_path):
    """run.json, origin.json and history.csv beside model.keras are in the card; without them it says null."""
    assert json.loads((written / "emotion_int8.json").read_text())["training"]["hyperparameters"] is None

    shutil.copy(network, tmp_path)
    (tmp_path / "run.json").write_text('{"epochs": 3}')
    (tmp_path / "origin.json").write_text('{"commit": "abc"}')
    (tmp_path / "history.csv").write_text(
        "epoch,loss,val_loss,val_accuracy,seconds\n0,2,2,0.2,9\n1,2,2,0.4,9\n2,2,2,0.3,9\n"
    )
    ended = convert(tmp_path / "model.keras", "--data", data, "--out", tmp_path / "out", "--device-python", DEVICE)

    training = json.loads((tmp_path / "out" / "emotion_int8.json").read_text())["training"]
    assert ended.returncode == 0, ended.stderr
    assert training["hyperparameters"] == {"epochs": 3}
    assert training["origin"] == {"commit": "abc"}
    assert (training["best_epoch"], training["epochs"]) == (2, 3)


def test_a_bias_is_added_to_the_calibrated_logit(network, data, tmp_path):
    """To that label's and no other; the card tells it, and its report."""
    import keras

    out = tmp_path / "out"
    ended = convert(network, "--data", data, "--out", out, "--device-python", DEVICE, "--bias", "disgust=1.25")
    assert ended.returncode == 0, ended.stderr
    stated = json.loads((out / "emotion_int8.json").read_text())
    faces = np.random.default_rng(0).uniform(0, 255, (8, 48, 48, 1)).astype(np.float32)
    before, after = (
        np.log(keras.models.load_model(path).predict(faces, verbose=0)) for path in (network, out / "emotion.keras")
    )
    shift = after - before / stated["temperature"]
    shift -= shift[:, :1]

    assert shift == pytest.approx(1.25 * np.eye(7)[[EMOTIONS.index("disgust")]].repeat(8, axis=0), abs=1e-3)
    assert stated["bias"] == {"disgust": 1.25}
    assert "+1.25 on the logit of disgust" in convert("report", out / "emotion_int8.json").stdout


@pytest.mark.parametrize("given", ["disgust", "bored=1", "fear=nan"])
def test_a_bias_that_does_not_fit_is_refused_before_the_data_is_read(network, tmp_path, given):
    """One line that names it."""
    ended = convert(network, "--data", tmp_path / "nothing", "--out", tmp_path / "out", "--bias", given)

    assert ended.returncode == 1
    assert f"--bias {given}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()
