"""`make run`, as a newcomer types it: success only if counts arrived, and nothing left running."""

import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.settings import ROOT

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True, scope="module")
def _environment_is_ready():
    """`make run` makes its own, which takes a minute that no test waits for."""
    subprocess.run(["make", ".venv-demo/.ready"], cwd=ROOT, check=True, timeout=280)


def make_run(**variables: str | int) -> "subprocess.CompletedProcess[str]":
    """`make run NAME=VALUE …` in the clone, to its end."""
    named = [f"{name}={value}" for name, value in variables.items()]
    return subprocess.run(["make", "run", *named], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


def running() -> set[str]:
    """Command lines of the processes that a demonstration starts."""
    lines = set()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        if line.startswith(f"{ROOT}/.venv-demo/") and any(
            word in line for word in ("-m demo", "var/demo", "watch --broker")
        ):
            lines.add(line)
    return lines


def test_a_class_of_real_faces_is_counted_and_everything_ends():
    """Daemon, broker and aggregator run for some seconds, say what arrived, and are gone."""
    ended = make_run(SECONDS=10)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "faces a frame" in ended.stdout
    assert "mosquitto_sub" in ended.stdout
    assert "http://127.0.0.1:" in ended.stdout
    assert not running()


def test_a_camera_without_faces_is_no_success(tmp_path):
    """Frames that are all withheld are said to be, and the exit status is not 0."""
    picture = tmp_path / "wall.png"
    cv2.imwrite(str(picture), np.full((480, 640, 3), 128, np.uint8))

    ended = make_run(SECONDS=5, CAMERA=f"file:{picture}")

    assert ended.returncode != 0
    assert "frames were withheld" in ended.stderr
    assert not running()


def test_a_process_that_ends_is_named_with_its_last_lines(tmp_path):
    """A camera that cannot be opened ends the daemon, and with it everything else, with the reason on the terminal."""
    ended = make_run(SECONDS=5, CAMERA=f"file:{tmp_path}/no-such-video.mp4")

    assert ended.returncode != 0
    assert "edge daemon ended" in ended.stderr
    assert "no-such-video.mp4" in ended.stderr
    assert not running()


def test_a_broker_that_is_not_there_is_named():
    """BROKER names another broker; if it does not answer, that is the reason."""
    ended = make_run(SECONDS=5, BROKER="127.0.0.1:9")

    assert ended.returncode != 0
    assert "127.0.0.1:9" in ended.stderr
    assert not running()


def test_a_wrong_option_is_named():
    """Nothing is started with options that cannot be meant."""
    ended = make_run(SECONDS="soon")

    assert ended.returncode != 0
    assert "SECONDS=soon is not a whole number" in ended.stderr
