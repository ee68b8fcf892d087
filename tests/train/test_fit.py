"""Training runs on drawn faces: what they write, how they go on, and what they refuse."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from contract.labels import EMOTIONS
from train.hyperparameters import hyperparameters

# ruff: noqa: PLC0415 - this file is collected where there is no TensorFlow, too
pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs TensorFlow: make test-train"),
]

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--architecture", "plain", "--set", "batch_size=32", "--set", "average=0.9", "--set", "learning_rate=0.02")


def train(*arguments, limit_bytes: int | None = None) -> subprocess.CompletedProcess:
    """Run the command as a user does; no file may grow beyond `limit_bytes`."""

    def limit() -> None:
        if limit_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.run(
        [sys.executable, "-m", "train", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=limit,
    )  # fmt: skip


def epochs_in(run: Path) -> int:
    """Rows of the run's history."""
    history = run / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


@pytest.fixture(scope="module")
def run(faces, tmp_path_factory):
    """A finished run of two epochs."""
    out = tmp_path_factory.mktemp("runs") / "run"
    ended = train("fit", "--data", faces, "--out", out, "--epochs", 2, *QUICK)
    assert ended.returncode == 0, ended.stderr
    return out


def test_a_run_leaves_models_history_curves_and_settings(run):
    """Everything that the README promises lies in the run's folder, and no half-written file."""
    names = {path.name for path in run.iterdir()}

    assert names == {
        "model.keras", "model.h5", "checkpoint.npz", "history.csv", "curves.png", "run.json", "origin.json",
    }  # fmt: skip
    assert epochs_in(run) == 2
    assert json.loads((run / "run.json").read_text())["batch_size"] == 32


def test_a_finished_run_given_again_trains_nothing(run, faces):
    """The same command is harmless."""
    before = (run / "checkpoint.npz").stat().st_mtime_ns

    ended = train("fit", "--data", faces, "--out", run, "--epochs", 2, *QUICK)

    assert ended.returncode == 0
    assert (run / "checkpoint.npz").stat().st_mtime_ns == before


def test_a_run_can_be_evaluated_every_few_epochs(faces, tmp_path):
    """Then and at its end it is written; given again it trains nothing."""
    run = tmp_path / "run"
    given = ("fit", "--data", faces, "--out", run, "--epochs", 5, *QUICK, "--set", "evaluate_every=2")

    ended = train(*given)
    history = (run / "history.csv").read_text()
    again = train(*given)

    assert ended.returncode == again.returncode == 0, ended.stderr + again.stderr
    assert [line.split(",")[0] for line in history.splitlines()] == ["epoch", "1", "3", "4"]
    assert (run / "history.csv").read_text() == history


@pytest.fixture
def killed(faces, tmp_path):
    """A run of eight epochs that met SIGKILL in the middle, and the arguments that began it."""
    given = ["fit", "--data", faces, "--out", tmp_path / "run", "--epochs", "8", *QUICK]
    child = subprocess.Popen(
        [sys.executable, "-m", "train", *map(str, given)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while epochs_in(tmp_path / "run") < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert 2 <= epochs_in(tmp_path / "run") < 8
    return tmp_path / "run", given


def test_a_killed_run_goes_on_after_its_last_epoch(killed):
    """SIGKILL costs the epoch that was running, no more; what was written of it stays."""
    run, given = killed
    history = (run / "history.csv").read_text()
    done = epochs_in(run)

    ended = train(*given)

    assert ended.returncode == 0, ended.stderr
    assert f"going on after epoch {done}" in ended.stderr
    assert (run / "history.csv").read_text().startswith(history)
    assert epochs_in(run) == 8


def test_a_full_disk_leaves_the_last_good_checkpoint(killed):
    """The run ends with one line, the files of the epoch before are whole, and it goes on when there is room."""
    run, given = killed
    names = ("checkpoint.npz", "model.keras", "history.csv")
    done = epochs_in(run)
    before = (run / "checkpoint.npz").read_bytes()

    full = train(*given, limit_bytes=max((run / name).stat().st_size for name in names) // 2)

    assert full.returncode == 1
    assert "the same command goes on" in full.stderr
    assert "Traceback" not in full.stderr
    assert (run / "checkpoint.npz").read_bytes() == before
    assert epochs_in(run) == done
    assert train(*given).returncode == 0
    assert epochs_in(run) == 8
    assert not [path.name for path in run.iterdir() if path.name.startswith("new-")]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--set", "dropout=0.2"), "a run with other dropout"),
        (("--set", "droopout=0.1"), "unknown key droopout"),
        (("--set", "dropout=1.5"), "dropout = 1.5: expected `float` <= 0.9"),
        (("--set", "augmentation.blur=often"), "--set"),
        (("--set", "batch_size=64"), "--set"),
        (("--votes", "/nonexistent.csv"), "/nonexistent.csv"),
        (("--data", "/nonexistent"), "no such file or folder"),
    ],
)
def test_what_does_not_fit_the_run_is_refused_in_one_line(run, faces, changed, said):
    """The key or file is named, and the run stays as it is."""
    before = (run / "run.json").read_text()

    ended = train("fit", "--data", faces, "--out", run, "--epochs", 2, *QUICK, *changed)

    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (run / "run.json").read_text() == before


def test_a_checkpoint_of_another_architecture_is_refused(run, faces, tmp_path):
    """Both architectures are named."""
    (tmp_path / "checkpoint.npz").write_bytes((run / "checkpoint.npz").read_bytes())

    ended = train("fit", "--data", faces, "--out", tmp_path, "--epochs", 2, "--set", "batch_size=32")

    assert ended.returncode == 1
    assert "is of plain with emotion, but this run trains deep with emotion" in ended.stderr


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_damaged_checkpoint_is_refused(faces, tmp_path, content):
    """The file is named."""
    (tmp_path / "checkpoint.npz").write_bytes(content)

    ended = train("fit", "--data", faces, "--out", tmp_path, "--epochs", 2, *QUICK)

    assert ended.returncode == 1
    assert "checkpoint.npz: not a checkpoint" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_too_few_pictures_are_refused_before_anything_is_written(draw, tmp_path):
    """No run's folder appears for data that cannot be learned from."""
    draw(tmp_path / "faces", dict.fromkeys(EMOTIONS, 20) | {"fear": 2})

    ended = train("fit", "--data", tmp_path / "faces", "--out", tmp_path / "run")

    assert ended.returncode == 1
    assert "2 of fear" in ended.stderr
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_data_is_refused(faces, tmp_path):
    """Otherwise an epoch would have no step."""
    ended = train("fit", "--data", faces, "--out", tmp_path / "run", "--set", "batch_size=1000")

    assert ended.returncode == 1
    assert "batch_size = 1000, but there are only" in ended.stderr


def test_evaluation_writes_tables_and_plots(run, draw, tmp_path):
    """Metrics, both confusion matrices, calibration, coverage and mistakes; the conditions where asked for."""
    draw(tmp_path / "faces" / "test", dict.fromkeys(EMOTIONS, 4), seed=5)

    ended = train(
        "evaluate", run / "model.keras", "--data", tmp_path / "faces", "--out", tmp_path / "out", "--conditions"
    )

    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert ended.returncode == 0, ended.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "metrics.json", "confusion_matrix.txt", "confusion_matrix.png", "calibration.png", "coverage.png",
        "mistakes.png", "conditions.txt",
    }  # fmt: skip
    assert np.array(report["confusion"]["hard"]).sum() == report["faces"] == 28
    assert report["conditions"]["as they are"] == pytest.approx(report["accuracy"])


@pytest.mark.parametrize("name", ["checkpoint.npz", "history.csv", "missing.keras", "model.tflite"])
def test_what_is_no_classifier_is_not_evaluated(run, faces, tmp_path, name):
    """A training checkpoint, another file, none at all, and a .tflite file each get one line that names it."""
    ended = train("evaluate", run / name, "--data", faces, "--out", tmp_path / "out")

    assert ended.returncode == 1
    assert name in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_student_learns_from_stored_targets(run, faces, tmp_path):
    """`targets` writes a probability row per training face, and `fit --targets` takes them."""
    written = train(
        "targets", run / "model.keras", run / "model.keras", "--data", faces, "--out", tmp_path / "targets.npz"
    )

    with np.load(tmp_path / "targets.npz") as stored:
        assert stored["probabilities"].dtype == np.float16
        assert stored["probabilities"].sum(axis=1) == pytest.approx(np.ones(len(stored["pictures"])), abs=0.01)
    fitted = train(
        "fit", "--data", faces, "--out", tmp_path / "run", "--epochs", 1, "--targets", tmp_path / "targets.npz", *QUICK
    )
    assert written.returncode == 0, written.stderr
    assert fitted.returncode == 0, fitted.stderr
    assert json.loads((tmp_path / "run" / "origin.json").read_text())["targets"] == "targets.npz"


def test_a_student_learns_from_teachers_that_are_asked_about_every_view(run, faces, tmp_path):
    """Several teachers; the run's origin names them, and another teacher is another run."""
    teachers = ("--teacher", run / "model.keras", "--teacher", run / "model.keras")
    given = ("fit", "--data", faces, "--out", tmp_path / "run", *QUICK)
    fitted = train(*given, "--epochs", 1, *teachers)
    other = train(*given, "--epochs", 1, *teachers[:2])

    assert fitted.returncode == 0, fitted.stderr
    assert json.loads((tmp_path / "run" / "origin.json").read_text())["teachers"] == "run/model.keras, run/model.keras"
    assert other.returncode == 1
    assert "a run with other teachers" in other.stderr


def test_a_run_stops_when_its_minutes_are_spent(faces, tmp_path):
    """By --minutes it ends before its epochs, and given again trains nothing; with more minutes it goes on."""
    given = ("fit", "--data", faces, "--out", tmp_path / "run", "--epochs", 9999, *QUICK, "--minutes")
    first, again = train(*given, 0.0001), train(*given, 0.0001)

    assert first.returncode == again.returncode == 0, first.stderr
    assert epochs_in(tmp_path / "run") == 1
    epoch_s = float((tmp_path / "run" / "history.csv").read_text().split(",")[-1])
    more = train(*given, 3 * epoch_s / 60)
    assert more.returncode == 0, more.stderr
    assert "going on after epoch 1 of" in more.stderr
    assert 1 < epochs_in(tmp_path / "run") < 9999


def test_a_failed_start_leaves_a_folder_that_can_be_used(faces, tmp_path):
    """Wrong files, and a run that ended within its first epoch, do not claim --out for their hyper-parameters."""
    given = ("fit", "--data", faces, "--out", tmp_path / "run", "--epochs", 1, *QUICK)
    (tmp_path / "targets.npz").write_bytes(b"nothing")
    failed = train(*given, "--targets", tmp_path / "targets.npz")
    diverged = train(*given[:7], "--architecture", "plain", "--set", "batch_size=8", "--set", "learning_rate=10.0",
                     "--set", "weight_decay=1.0")  # fmt: skip
    ended = train(*given)

    assert failed.returncode == 1
    assert "targets.npz: no teachers' probabilities" in failed.stderr
    assert diverged.returncode == 1
    assert re.search("the loss is (nan|inf)", diverged.stderr)
    assert ended.returncode == 0, ended.stderr


def test_progress_is_told_within_an_epoch(faces, tmp_path):
    """Where nobody looks at a terminal, too: share of the epoch, minutes to the end; once where epochs are short."""
    few = ("--epochs", 3, "--architecture", "plain", "--set", "batch_size=3")
    ended = train("fit", "--data", faces, "--out", tmp_path / "run", *few)

    assert ended.returncode == 0, ended.stderr
    told = [line for line in ended.stderr.splitlines() if "minutes to the end of the run" in line]
    assert len(told) == 1
    assert "epoch 1 of 3, " in told[0]
    assert not [line for line in ended.stderr.splitlines() if "oneDNN" in line or "absl" in line]


def test_progress_is_told_where_an_epoch_has_few_slow_batches(tmp_path, monkeypatch, caplog):
    """Time alone is enough; the first line waits for no number of batches that the epoch does not have."""
    checkpoint = pytest.importorskip("train.checkpoint")
    monkeypatch.setattr(checkpoint, "_TOLD_EVERY_S", 0.0)
    saver = checkpoint.Checkpoint(tmp_path, None, hyperparameters({"epochs": 2}), None)
    saver.set_params({"steps": 20})
    saver.set_model(SimpleNamespace(begin_epoch=lambda epoch: None, optimizer=SimpleNamespace()))

    with caplog.at_level("INFO"):
        saver.on_train_begin()
        saver.on_epoch_begin(0)
        for batch in range(20):
            saver.on_train_batch_end(batch)

    assert "epoch 1 of 2, 55 % of it" in caplog.text


def test_a_run_can_begin_with_anothers_weights(run, faces, tmp_path):
    """--initial takes a finished model, and its architecture unless another is asked for, which is refused."""
    same = train(
        "fit", "--data", faces, "--out", tmp_path / "a", "--epochs", 1, "--initial", run / "model.keras", *QUICK
    )
    other = train(
        "fit", "--data", faces, "--out", tmp_path / "b", "--epochs", 1, "--initial", run / "model.keras",
        "--architecture", "compact", "--set", "batch_size=32",
    )  # fmt: skip
    own = train(
        "fit", "--data", faces, "--out", tmp_path / "c", "--epochs", 1, "--initial", run / "model.keras",
        "--set", "batch_size=32",
    )  # fmt: skip

    assert same.returncode == own.returncode == 0, same.stderr + own.stderr
    assert json.loads((tmp_path / "c" / "run.json").read_text())["architecture"] == "plain"
    assert other.returncode == 1
    assert "not of the architecture compact" in other.stderr


def test_models_of_one_architecture_are_averaged(run, faces, tmp_path):
    """The mean of a model and itself is that model; another architecture is refused by name."""
    import keras

    from train.model import build, classifier, with_heads

    classifier(with_heads(build("compact"))).save(tmp_path / "compact.keras")

    given = ("--data", faces, "--out", tmp_path / "mean.keras")
    same = train("average", run / "model.keras", run / "model.keras", *given)
    other = train("average", run / "model.keras", tmp_path / "compact.keras", "--data", faces, "--out", tmp_path / "x")

    before, after = (keras.models.load_model(path) for path in (run / "model.keras", tmp_path / "mean.keras"))
    assert same.returncode == 0, same.stderr
    for old, new in zip(before.get_weights(), after.get_weights(), strict=True):
        assert new == pytest.approx(old, abs=1e-6)
    assert other.returncode == 1
    assert "compact.keras: is compact, of other weights than plain" in other.stderr


def test_balance_draws_rare_labels_more_often_than_they_are():
    """At a balance of one half, a label four times as rare is drawn half as often as the other, not a quarter."""
    from train.batches import Batches, Targets, oversampling, smoothed
    from train.data import Faces
    from train.hyperparameters import hyperparameters

    labels = np.repeat([EMOTIONS.index("happy"), EMOTIONS.index("disgust")], [400, 100])
    faces = Faces(np.zeros((500, 48, 48), np.uint8), labels, ("",) * 500)
    drawn = oversampling(labels, 0.5)
    assert drawn.mean() == pytest.approx(1)
    assert drawn[400:].mean() == pytest.approx(2 * drawn[:400].mean())
    settings = hyperparameters({"batch_size": 50, "balance": 0.5})
    batches = Batches(faces, Targets(smoothed(labels, 0)), settings, epoch=0)
    seen = sum(batches[number][1]["emotion"].sum(axis=0) for number in range(len(batches)))
    assert seen.sum() == 500
    assert seen[EMOTIONS.index("disgust")] == pytest.approx(500 / 3, abs=25)


def test_bfloat16_is_a_setting_of_a_run(faces, tmp_path):
    """A run in bfloat16 trains, and its settings say so."""
    out = tmp_path / "run"
    ended = train("fit", "--data", faces, "--out", out, "--epochs", 1, *QUICK, "--set", "bfloat16=true")
    assert ended.returncode == 0, ended.stderr
    assert json.loads((out / "run.json").read_text())["bfloat16"] is True
    assert (out / "model.keras").is_file()
