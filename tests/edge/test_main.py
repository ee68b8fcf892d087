"""The command `classpulse-edge`, as systemd and people call it."""

import subprocess
import sys

import pytest

from edge.__main__ import COMMANDS, main

TRAINER = ["tensorflow", "keras", "pandas", "matplotlib"]


def loaded(module: str, among: list[str]) -> str:
    """Which of `among` an import of `module` loads."""
    code = f"import sys, {module}; print([name for name in {among} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("order", [("--config", "FILE", "run"), ("run", "--log-level", "error", "--config", "FILE")])
def test_the_options_may_stand_before_the_command_or_behind_it(tmp_path, order):
    """The unit says `classpulse-edge --config PATH run`; a missing file is named, and is 78."""
    missing = str(tmp_path / "missing.toml")
    command = [sys.executable, "-m", "edge", *(missing if word == "FILE" else word for word in order)]

    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ended.returncode == 78
    assert missing in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command, capsys):
    """And says what it is for."""
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])

    assert end.value.code == 0
    assert "--config" in capsys.readouterr().out


def test_the_command_loads_nothing_before_it_knows_which():
    """Not even OpenCV."""
    assert loaded("edge.__main__", [*TRAINER, "cv2", "paho"]) == "[]"


def test_the_daemon_loads_nothing_of_the_trainer():
    """No tensorflow, pandas or matplotlib on a Pi."""
    assert loaded("edge.daemon", TRAINER) == "[]"
