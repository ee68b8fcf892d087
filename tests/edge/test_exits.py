"""Commands end with one clear line and a status, whatever cannot be used."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COMMANDS = [["annotate", "picture.png"], ["preview", "--port", "0"], ["bench"]]


def edge(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `classpulse-edge`."""
    command = [sys.executable, "-m", "edge", "--config", config, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_configuration_that_cannot_be_used_is_status_78(tmp_path, command):
    """The line names the file, and there is no traceback."""
    done = edge(tmp_path / "none.toml", *command)

    assert done.returncode == 78
    assert done.stderr == f"classpulse-edge {command[0]}: {tmp_path / 'none.toml'}: No such file or directory\n"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_detector_that_cannot_be_used_is_status_65(tmp_path, edge_toml: Callable[..., Path], command):
    """As for the service."""
    done = edge(edge_toml("pi", detector=f'model = "{tmp_path / "none.onnx"}"'), *command)

    assert done.returncode == 65
    assert "make models" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_camera_that_is_not_there_is_status_74(edge_toml: Callable[..., Path]):
    """The preview is how one finds out."""
    done = edge(edge_toml("usb:97"), "preview", "--port", "0")

    assert done.returncode == 74
    assert "usb:97: /dev/video97 does not exist" in done.stderr
