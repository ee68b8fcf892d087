"""The command `classpulse-edge`, as systemd and people call it."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import edge
from edge.__main__ import PROGRAM, main

CALLS = [["annotate", "picture.png"], ["preview", "--port", "0"], ["bench"]]


def call(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `classpulse-edge`."""
    command = [sys.executable, "-m", "edge", "--config", config, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("order", [("--config", "FILE", "run"), ("run", "--log-level", "error", "--config", "FILE")])
def test_the_options_may_stand_before_the_command_or_behind_it(tmp_path, order):
    """The unit says `classpulse-edge --config PATH run`; a missing file is named, and is 78."""
    missing = str(tmp_path / "missing.toml")
    command = [sys.executable, "-m", "edge", *(missing if word == "FILE" else word for word in order)]

    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ended.returncode == 78
    assert missing in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", PROGRAM.commands)
def test_every_command_has_its_help(command, capsys):
    """And says what it is for."""
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])

    assert end.value.code == 0
    assert "--config" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("package", "home"),
    [
        ("picamera2", "camera/pi.py"),
        ("tflite_runtime", "vision/runtime.py"),
        ("ai_edge_litert", "vision/runtime.py"),
        ("paho", "uplink/connection.py"),
        ("sqlite3", "uplink/outbox.py"),
    ],
)
def test_each_foreign_thing_is_imported_by_exactly_one_file(package, home):
    """Whoever replaces it replaces one file."""
    importing = re.compile(rf"^\s*(import|from) {package}\b", re.MULTILINE)
    root = Path(edge.__file__).parent

    importers = [path.relative_to(root).as_posix() for path in root.rglob("*.py") if importing.search(path.read_text())]

    assert importers in ([home], [])  # the runtime is imported by its name in a text
    assert importers or package in (root / home).read_text()


@pytest.mark.parametrize("command", CALLS, ids=lambda command: command[0])
def test_a_configuration_that_cannot_be_used_is_status_78(tmp_path, command):
    """The line names the file, and there is no traceback."""
    done = call(tmp_path / "none.toml", *command)

    assert done.returncode == 78
    assert done.stderr == f"classpulse-edge {command[0]}: {tmp_path / 'none.toml'}: No such file or directory\n"


@pytest.mark.parametrize("command", CALLS, ids=lambda command: command[0])
def test_a_detector_that_cannot_be_used_is_status_65(tmp_path, edge_toml: Callable[..., Path], command):
    """As for the service."""
    done = call(edge_toml("pi", detector=f'model = "{tmp_path / "none.onnx"}"'), *command)

    assert done.returncode == 65
    assert "make models" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_camera_that_is_not_there_is_status_74(edge_toml: Callable[..., Path]):
    """The preview is how one finds out."""
    done = call(edge_toml("usb:97"), "preview", "--port", "0")

    assert done.returncode == 74
    assert "usb:97: /dev/video97 does not exist" in done.stderr
