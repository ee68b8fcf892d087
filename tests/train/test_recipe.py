"""The whole recipe on drawn faces: teachers, a student, an int8 file, by the commands of the Makefile."""

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from contract import card
from contract.labels import EMOTIONS

pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs TensorFlow: make test-train"),
]

ROOT = Path(__file__).resolve().parents[2]
SMALL = "architecture=\\'plain\\' batch_size=32 average=0.9 learning_rate=0.02 epochs=16"
"""Of teachers and student: those of the recipe want a GPU."""
JAX = ROOT / ".venv-jax/bin/python"
with_jax = pytest.mark.skipif(not (ROOT / ".venv-jax/.ready").exists(), reason="needs JAX: make test-train")


def make(target: str, backend: str = "tensorflow", **variables: object) -> subprocess.CompletedProcess:
    """`make TARGET` in this checkout, with the environments that are there."""
    made = (".venv/.ready", ".venv-train/.ready", ".venv-litert/.ready", "models")
    old = [word for name in made for word in ("-o", name)]
    given = [f"{name}={value}" for name, value in variables.items()]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    return subprocess.run(
        ["make", *old, target, *given], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def data(draw, tmp_path):
    """A training split, and a test split of other pictures."""
    draw(tmp_path / "faces" / "train", dict.fromkeys(EMOTIONS, 40))
    draw(tmp_path / "faces" / "test", dict.fromkeys(EMOTIONS, 6), seed=7)
    return tmp_path / "faces"


@pytest.mark.skipif("CLASSPULSE_MODEL_MIRROR" not in os.environ, reason="CLASSPULSE_MODEL_MIRROR has YuNet's file")
def test_from_labelled_faces_to_an_int8_file(data, tmp_path):
    """Two teachers learn from labels, the student from them, int8 reads the faces; given again, nothing is trained."""
    onnx = Path(os.environ["CLASSPULSE_MODEL_MIRROR"], "yunet_n_640_640.onnx")
    subprocess.run([".venv/bin/python", "-m", "convert", "detector", onnx, "--out", "models"], cwd=ROOT, check=True)
    run = tmp_path / "run"
    given = {"DATA": data, "RUN": run, "TEACHERS": 2, "SET": SMALL, "TEACHER_SET": SMALL}

    trained = make("train", **given)
    assert trained.returncode == 0, trained.stderr
    histories = [run / part / "history.csv" for part in ("teacher-1", "teacher-2", ".")]
    before = [history.read_text() for history in histories]
    again, converted = make("train", **given), make("convert", DATA=data, RUN=run, BIAS="disgust=0.5")

    assert again.returncode == converted.returncode == 0, again.stderr + converted.stderr
    assert [history.read_text() for history in histories] == before
    assert [len(text.splitlines()) for text in before] == [17, 17, 17]
    origins = [json.loads((run / part / "origin.json").read_text())["teachers"] for part in ("teacher-1", ".")]
    assert origins == [None, "teacher-1/model.keras, teacher-2/model.keras"]
    seeds = [json.loads((run / part / "run.json").read_text())["seed"] for part in ("teacher-1", "teacher-2")]
    assert seeds == [1, 2]
    stated, _ = card.read_with_model(run / "int8" / "emotion_int8.tflite")
    assert stated.document["data"]["measured_on"] == "test"
    assert stated.document["bias"] == {"disgust": 0.5}
    assert min(row["accuracy"] for row in stated.document["int8"].values()) > 0.25  # guessing reaches 0.14


@with_jax
def test_the_recipe_runs_on_jax(data, tmp_path):
    """As on a GPU: evaluated every fourth epoch, the student learns from its teacher, which has its precision."""
    from train import curves  # noqa: PLC0415 - this file is collected where there is no matplotlib, too

    run = tmp_path / "run"
    setting = f"{SMALL} evaluate_every=4"

    trained = make(
        "train", "jax", DATA=data, RUN=run, TEACHERS=1, SET=f"{setting} bfloat16=true", TEACHER_SET=setting,
        TRAIN_PYTHON=JAX,
    )  # fmt: skip

    assert trained.returncode == 0, trained.stderr
    assert "backend" not in trained.stderr
    assert json.loads((run / "teacher-1" / "run.json").read_text())["bfloat16"] is True
    for history in (curves.read(folder / "history.csv") for folder in (run / "teacher-1", run)):
        assert [row["epoch"] for row in history] == [3, 7, 11, 15]
        assert max(row["val_accuracy"] for row in history) > 0.25  # guessing reaches 0.14


PRECISIONS = """
import sys
from pathlib import Path
from train.fit import Sources, _step
from train.hyperparameters import hyperparameters
from train.model import build, classifier, with_heads

saved = [Path(sys.argv[1], f"{name}.keras") for name in ("teacher", "compact")]
for path in saved:
    classifier(with_heads(build(path.stem))).save(path)
step = _step(hyperparameters({"bfloat16": True}), Sources(Path(), teachers=tuple(saved)))
for network in (step.network, *step.teachers):
    print(network.name, network.layers[2].compute_dtype)
"""


@with_jax
def test_only_large_networks_compute_in_bfloat16(tmp_path):
    """In training as when they are asked: `deep` diverged in it on a GPU, and gains nothing by it."""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    told = subprocess.run(
        [JAX, "-c", PRECISIONS, tmp_path], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    assert told.stdout.splitlines() == ["deep float32", "teacher bfloat16", "compact float32"], told.stderr
