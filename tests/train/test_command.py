"""The commands as they are typed, where there is no TensorFlow."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def typed(*arguments: str) -> subprocess.CompletedProcess:
    """Run `python -m` with these."""
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.skipif(find_spec("keras") is not None, reason="keras is installed here")
@pytest.mark.parametrize(
    "command", [("train", "fit"), ("train", "evaluate"), ("train", "targets"), ("convert", "x.keras")]
)
def test_without_tensorflow_a_command_says_where_to_get_it(command):
    """One line, not a traceback."""
    ended = typed(*command)

    assert ended.returncode == 1
    assert "is not installed here: `make .venv-train/.ready`" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_lists_the_commands_without_tensorflow():
    """--help and a mistyped command answer at once."""
    helped, mistyped = typed("train", "--help"), typed("train", "fitt")

    assert helped.returncode == 0
    assert all(f"    {name} " in helped.stdout for name in ("fit", "evaluate", "targets", "average"))
    assert mistyped.returncode == 2
    assert "fitt" in mistyped.stderr
