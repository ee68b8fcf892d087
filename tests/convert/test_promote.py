"""`convert promote`: both cards side by side, and then all files or none."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from contract import card
from convert.promote import FILES, side_by_side

ROOT = Path(__file__).resolve().parents[2]


def promote(folder: Path, into: Path) -> subprocess.CompletedProcess:
    """Run the command as `make promote` does."""
    command = [sys.executable, "-m", "convert", "promote", str(folder), "--into", str(into)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def converted(tmp_path):
    """A folder as a conversion leaves it: the shipped file, with a card that claims a little less."""
    folder = tmp_path / "run" / "int8"
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy(ROOT / "models" / name, folder)
    document = json.loads((folder / FILES[1]).read_text())
    document["int8"]["tflite_runtime"]["accuracy"] = 0.123
    (folder / FILES[1]).write_text(json.dumps(document))
    return folder


@pytest.fixture
def shipped(tmp_path):
    """A folder as models/ is."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in FILES:
        shutil.copy(ROOT / "models" / name, folder)
    (folder / "README.md").write_text("stays")
    return folder


def test_both_cards_are_shown_and_the_files_copied(converted, shipped):
    """What was there and what takes its place stand in one line; other files stay."""
    before = card.read(shipped / FILES[1]).document["int8"]["tflite_runtime"]["accuracy"]

    ended = promote(converted, shipped)

    assert ended.returncode == 0, ended.stderr
    row = next(line for line in ended.stdout.splitlines() if line.startswith("accuracy, tflite_runtime"))
    assert row.split()[-2:] == [f"{before:.1%}", "12.3%"]
    for name in FILES:
        assert (shipped / name).read_bytes() == (converted / name).read_bytes()
    assert sorted(path.name for path in shipped.iterdir()) == sorted((*FILES, "README.md"))


def test_a_first_model_is_shown_alone(converted, tmp_path):
    """Where nothing has shipped yet."""
    ended = promote(converted, tmp_path / "new")

    assert ended.returncode == 0, ended.stderr
    card.read_with_model(tmp_path / "new" / FILES[0])


@pytest.mark.parametrize("missing", FILES)
def test_half_a_conversion_changes_nothing(converted, shipped, missing):
    """One line names the file, and what ships stays as it is."""
    before = {path.name: path.read_bytes() for path in shipped.iterdir()}
    (converted / missing).unlink()

    ended = promote(converted, shipped)

    assert ended.returncode == 1
    assert missing in ended.stderr
    assert "Traceback" not in ended.stderr
    assert {path.name: path.read_bytes() for path in shipped.iterdir()} == before


def test_figures_of_different_faces_are_not_compared_without_a_word(converted, shipped):
    """A card that was measured on own faces beside one of FER2013."""
    document = json.loads((converted / FILES[1]).read_text())
    document["data"]["measured_digest"] = "other"

    shown = list(side_by_side(card.read(shipped / FILES[1]).document, document))

    assert shown[-1] == "these figures are of different faces: they cannot be compared"
