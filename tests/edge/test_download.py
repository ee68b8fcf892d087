"""`make models`: the right file whole, or a clear error and no file."""

import hashlib
import os
import subprocess
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from contract.card import YUNET_SHA256
from tests import yunet

SCRIPT = Path(__file__).parents[2] / "models" / "download.py"
NAME = "yunet_n_640_640.onnx"


@pytest.fixture
def onnx() -> Path:
    """YuNet as it is downloaded, or the test is skipped."""
    path = yunet.find_onnx()
    if path is None:
        pytest.skip(yunet.MISSING)
    return path


def download(out: Path, mirror: object) -> subprocess.CompletedProcess[str]:
    """Run the script as `make models` does."""
    environment = {**os.environ, "CLASSPULSE_MODEL_MIRROR": str(mirror)}
    command = [sys.executable, SCRIPT, "--out", out]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def sha256(path: Path) -> str:
    """Of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_folder_serves_as_mirror(tmp_path, onnx):
    """The file is copied and is the one that the detector knows."""
    done = download(tmp_path / "models", onnx.parent)

    assert done.returncode == 0, done.stderr
    assert sha256(tmp_path / "models" / NAME) == YUNET_SHA256


def test_a_url_serves_as_mirror(tmp_path, onnx):
    """A school's web server in place of the public repository."""

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(onnx.parent))

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        done = download(tmp_path, f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()

    assert done.returncode == 0, done.stderr
    assert sha256(tmp_path / NAME) == YUNET_SHA256


def test_the_file_that_is_there_is_not_fetched_again(tmp_path, onnx):
    """Then no mirror is needed."""
    download(tmp_path, onnx.parent)

    assert download(tmp_path, tmp_path / "nowhere").returncode == 0


@pytest.mark.parametrize("data", [b"", b"<html>blocked by the school's proxy</html>"])
def test_another_file_is_refused_and_not_written(tmp_path, data):
    """What a proxy sends instead never becomes a model."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / NAME).write_bytes(data)

    done = download(tmp_path / "out", mirror)

    assert done.returncode == 1
    assert f"{mirror / NAME}: its SHA-256 is" in done.stderr
    assert not (tmp_path / "out" / NAME).exists()


@pytest.mark.parametrize("mirror", ["/nowhere", "http://127.0.0.1:9/models"])
def test_a_mirror_that_cannot_be_read_is_an_error_that_says_what_to_do(tmp_path, mirror):
    """The place is named, and both ways out."""
    done = download(tmp_path, mirror)

    assert done.returncode == 1
    for told in (f"{mirror}/{NAME}", "CLASSPULSE_MODEL_MIRROR", 'name = "haar"'):
        assert told in done.stderr


def test_a_wrong_file_is_replaced_whole(tmp_path, onnx):
    """A torn file of an earlier try does not stay."""
    (tmp_path / NAME).write_bytes(b"torn")

    assert download(tmp_path, onnx.parent).returncode == 0
    assert sha256(tmp_path / NAME) == YUNET_SHA256
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_the_script_and_the_card_know_the_same_file():
    """The hash is written in both, because the script runs before anything is installed."""
    assert f'"{YUNET_SHA256}"' in SCRIPT.read_text()
