"""`make run`, as a newcomer types it: success only if counts arrived, and nothing left running."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.scene import CHANGE_S
from demo.settings import ROOT, YUNET
from tests.needs import need
from tests.system.broker import until

SCREENSHOTS = Path(os.environ.get("CLASSPULSE_SCREENSHOTS", "var/screenshots"))
pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def make_run() -> "Callable[..., subprocess.CompletedProcess[str]]":
    """`make run NAME=VALUE …` in the clone, to its end; its environment, for which no test waits, is made before."""
    subprocess.run(["make", ".venv-demo/.ready"], cwd=ROOT, check=True, timeout=280)

    def run(**variables: str | int) -> "subprocess.CompletedProcess[str]":
        command = ["make", "run", *(f"{name}={value}" for name, value in variables.items())]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)

    return run


@pytest.fixture
def page_address() -> Iterator[str]:
    """The page of a demonstration that runs in this environment."""
    need("chromium")
    options = {**os.environ, "SECONDS": "240", "FRESH": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "demo"], cwd=ROOT, env=options, stdout=subprocess.PIPE, text=True
    ) as run:
        try:
            yield next(line.split()[1] for line in run.stdout or () if line.startswith("page "))
        finally:
            run.terminate()


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


def test_a_class_of_real_faces_is_counted_and_everything_ends(make_run):
    """Daemon, broker and aggregator run for some seconds, say what arrived, and are gone."""
    ended = make_run(SECONDS=10)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "faces a frame" in ended.stdout
    assert "mosquitto_sub" in ended.stdout
    assert "http://127.0.0.1:" in ended.stdout
    assert not running()


def test_a_camera_without_faces_is_no_success(make_run, tmp_path):
    """Frames that are all withheld are said to be, and the exit status is not 0."""
    picture = tmp_path / "wall.png"
    cv2.imwrite(str(picture), np.full((480, 640, 3), 128, np.uint8))

    ended = make_run(SECONDS=5, CAMERA=f"file:{picture}")

    assert ended.returncode != 0
    assert "frames were withheld" in ended.stderr
    assert not running()


def test_a_process_that_ends_is_named_with_its_last_lines(make_run, tmp_path):
    """A camera that cannot be opened ends the daemon, and with it everything else, with the reason on the terminal."""
    ended = make_run(SECONDS=5, CAMERA=f"file:{tmp_path}/no-such-video.mp4")

    assert ended.returncode != 0
    assert "edge daemon ended" in ended.stderr
    assert "no-such-video.mp4" in ended.stderr
    assert not running()


def test_a_broker_that_is_not_there_is_named(make_run):
    """BROKER names another broker; if it does not answer, that is the reason."""
    ended = make_run(SECONDS=5, BROKER="127.0.0.1:9")

    assert ended.returncode != 0
    assert "127.0.0.1:9" in ended.stderr
    assert not running()


def test_a_wrong_option_is_named(make_run):
    """Nothing is started with options that cannot be meant."""
    ended = make_run(SECONDS="soon")

    assert ended.returncode != 0
    assert "SECONDS=soon is not a whole number" in ended.stderr


@pytest.mark.page
def test_the_page_says_what_changed_in_the_drawn_lesson(page_address):
    """Within three minutes the room's headline tells the change, and when it was."""
    if not YUNET.exists():
        pytest.skip("needs YuNet, which `make models` downloads: the other detector sees the front row at most")
    sync_api = pytest.importorskip("playwright.sync_api")
    began = time.time()
    until(lambda: answers(page_address), "the page", 60)
    with sync_api.sync_playwright() as web:
        browser = web.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{page_address}room/demo/room-1")
        headline = page.locator(".head .headline", has_text="more unpleasant expressions")
        headline.wait_for(timeout=1000 * (180 - time.time() + began))
        since = re.search(r"Since (\d\d:\d\d) more", headline.inner_text())
        page.wait_for_timeout(1500)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "demonstration.png", full_page=True)
        browser.close()
    # the lesson is some seconds older than its page, and windows are ten seconds long
    assert since
    assert since[1] in {time.strftime("%H:%M", time.localtime(began + CHANGE_S - early)) for early in (-10, 20, 50)}


def answers(address: str) -> bool:
    """Whether something listens there."""
    try:
        urllib.request.urlopen(address)  # noqa: S310 - our own page
    except OSError:
        return False
    return True
