"""`convert detector`: the detector's file and its card, whole, the same each time, and only of the weights known."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from contract.card import ModelCardError, read_detector
from tests import yunet

pytestmark = pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="the format's schema is ai-edge-litert's")


def convert(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command as `make models` does."""
    command = [sys.executable, "-m", "convert", "detector", *map(str, arguments)]
    return subprocess.run(command, cwd=yunet.ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def onnx() -> Path:
    """YuNet as it is downloaded, or the test is skipped."""
    path = yunet.find_onnx()
    if path is None:
        pytest.skip(yunet.MISSING)
    return path


def test_the_file_and_its_card_belong_together_and_are_the_same_each_time(onnx, tmp_path):
    """A release that is built twice has one hash; a torn file of an earlier run does not stay."""
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "yunet.tflite").write_bytes(b"torn")

    for folder in ("1", "2"):
        assert convert(onnx, "--out", tmp_path / folder).returncode == 0

    first, second = (read_detector(tmp_path / folder / "yunet.tflite") for folder in ("1", "2"))
    assert first == second
    assert sorted(path.name for path in (tmp_path / "2").iterdir()) == ["yunet.json", "yunet.tflite"]
    assert json.loads((tmp_path / "1" / "yunet.json").read_text())["source"]["licence"] == "Apache-2.0"


@pytest.mark.parametrize("cut", [1, 40_000])
def test_a_truncated_download_is_refused_and_nothing_is_written(onnx, tmp_path, cut):
    """OpenCV is not asked to read it."""
    (tmp_path / "cut.onnx").write_bytes(onnx.read_bytes()[:-cut])

    ended = convert(tmp_path / "cut.onnx", "--out", tmp_path / "out")

    assert ended.returncode == 1
    assert "cut.onnx: its SHA-256 is" in ended.stderr
    assert "make models" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_without_the_download_the_file_is_named(tmp_path):
    """One line, no traceback."""
    ended = convert(tmp_path / "none.onnx", "--out", tmp_path)

    assert ended.returncode == 1
    assert "none.onnx" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_run_that_was_cut_off_leaves_nothing_that_is_used(onnx, tmp_path):
    """Between the two renames the new file stands beside no card, or beside an older one."""
    convert(onnx, "--out", tmp_path)
    (tmp_path / "yunet.json").unlink()

    with pytest.raises(ModelCardError, match=r"yunet\.json: No such file"):
        read_detector(tmp_path / "yunet.tflite")
