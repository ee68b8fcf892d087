"""The whole recipe on drawn faces: teachers, a student, an int8 file, by the commands of the Makefile."""

import csv
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


def make(target: str, backend: str = "tensorflow", **variables: object) -> subprocess.CompletedProcess:
    """`make TARGET` in this checkout, with the environments that are there."""
    made = (".venv/.ready", ".venv-train/.ready", ".venv-litert/.ready", "models")
    old = [word for name in made for word in ("-o", name)]
    given = [f"{name}={value}" for name, value in variables.items()]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    return subprocess.run(
        ["make", *old, target, *given], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def rows(history: Path) -> list[dict[str, float]]:
    """Of a run's history."""
    with history.open(newline="") as lines:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]


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
    again, converted = make("train", **given), make("convert", DATA=data, RUN=run)

    assert again.returncode == converted.returncode == 0, again.stderr + converted.stderr
    assert [history.read_text() for history in histories] == before
    assert [len(text.splitlines()) for text in before] == [17, 17, 17]
    origins = [json.loads((run / part / "origin.json").read_text())["teachers"] for part in ("teacher-1", ".")]
    assert origins == [None, "teacher-1/model.keras, teacher-2/model.keras"]
    seeds = [json.loads((run / part / "run.json").read_text())["seed"] for part in ("teacher-1", "teacher-2")]
    assert seeds == [1, 2]
    stated, _ = card.read_with_model(run / "int8" / "emotion_int8.tflite")
    assert stated.document["data"]["measured_on"] == "test"
    assert min(row["accuracy"] for row in stated.document["int8"].values()) > 0.25  # guessing reaches 0.14


@pytest.mark.skipif(not (ROOT / ".venv-jax/.ready").exists(), reason="needs JAX: make test-train")
def test_the_recipe_runs_on_jax(data, tmp_path):
    """As on a GPU: evaluated every fourth epoch, the student learns from its teacher."""
    run, jax = tmp_path / "run", {"backend": "jax", "TRAIN_PYTHON": ROOT / ".venv-jax/bin/python"}
    setting = f"{SMALL} evaluate_every=4"

    trained = make("train", **jax, DATA=data, RUN=run, TEACHERS=1, SET=setting, TEACHER_SET=setting)

    assert trained.returncode == 0, trained.stderr
    assert "backend" not in trained.stderr
    for history in (run / "teacher-1" / "history.csv", run / "history.csv"):
        assert [row["epoch"] for row in rows(history)] == [3, 7, 11, 15]
        assert max(row["val_accuracy"] for row in rows(history)) > 0.25  # guessing reaches 0.14
