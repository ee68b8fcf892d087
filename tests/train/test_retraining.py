"""docs/retraining.md, walked through on a tiny data set: its commands are taken from the page itself."""

import json
import os
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from contract import card
from contract.labels import EMOTIONS

pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs TensorFlow: make test-train"),
]

ROOT = Path(__file__).resolve().parents[2]


def commands(data: Path, runs: Path) -> list[str]:
    """The page's commands, on other folders and with few epochs."""
    page = (ROOT / "docs" / "retraining.md").read_text()
    block = re.search(r"```sh\n(.*?)```", page, re.DOTALL).group(1)
    block = block.replace("my-faces", str(data)).replace("runs/mine", str(runs / "mine"))
    return block.replace("--epochs 60", "--epochs 6 --set batch_size=32 --set average=0.9").splitlines()


def test_the_pages_commands_make_a_model_of_own_faces(draw, tmp_path):
    """Folders in, a verified int8 file with its card out, which tells drawn expressions apart."""
    draw(tmp_path / "faces" / "train", dict.fromkeys(EMOTIONS, 40))
    draw(tmp_path / "faces" / "test", dict.fromkeys(EMOTIONS, 10), seed=7, side=120)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}

    shown = [
        subprocess.run(["bash", "-c", line], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        for line in commands(tmp_path / "faces", tmp_path / "runs")
    ]

    assert len(shown) == 4
    for ended in shown:
        assert ended.returncode == 0, ended.stderr
    stated, _ = card.read_with_model(tmp_path / "runs" / "mine" / "models" / "emotion_int8.tflite")
    assert stated.document["data"]["measured_on"] == "test"
    assert stated.document["training"]["origin"]["initial"] == "emotion.keras"
    assert stated.document["int8"]["tflite_runtime"]["accuracy"] > 0.5
    assert json.loads((tmp_path / "runs" / "mine" / "evaluation" / "metrics.json").read_text())["faces"] == 70


def test_messages_of_the_page_are_those_of_the_code():
    """What the page tells to look for is what is printed."""
    page = (ROOT / "docs" / "retraining.md").read_text()
    sources = "".join(path.read_text() for folder in ("train", "convert") for path in (ROOT / folder).glob("*.py"))

    for said in ("pictures of every label", "is none of the labels", "unreadable pictures", "a run with other",
                 "is kept, the same command goes on", "too much is lost", "but this run is"):  # fmt: skip
        assert said in page, said
        assert said in sources, said
