"""What stops the page's start, at once and with a word that helps, and how it is served with a certificate."""

import shutil
import sqlite3
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from aggregator.config import AggregatorConfig
from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import Batch
from aggregator.web.app import address
from contract.message import State
from service.config import load
from tests.needs import bound_by_modes, need
from tests.system.broker import answers, free_port
from tests.system.instructor import CAMERA, PASSWORD, ROOT

pytestmark = [pytest.mark.system, pytest.mark.page]


@pytest.fixture
def configure(tmp_path):
    """`configure(lines)`: a configuration with a store beside it and these lines of `[page]`; its path."""

    def write(*lines):
        with SqliteStore(tmp_path / "store.sqlite"):
            pass
        path = tmp_path / "aggregator.toml"
        path.write_text(
            f'site = "north"\nmodels_dir = "{tmp_path}"\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {free_port()}\ntls = false\n'
            f'[store]\npath = "{tmp_path}/store.sqlite"\n'
            f'[page]\nport = {free_port()}\nusers = "{tmp_path}/users.json"\n' + "\n".join(lines)
        )
        return path

    return write


def command(config, *words, **options):
    """Run a command of the aggregator to its end."""
    whole = [sys.executable, "-m", "aggregator", "--config", config, *words]
    return subprocess.run(whole, check=False, cwd=ROOT, capture_output=True, text=True, timeout=120, **options)


def test_a_store_of_a_newer_version_is_refused(configure, tmp_path):
    """Exit 74 with the file's name and what to do."""
    config = configure()
    with sqlite3.connect(tmp_path / "store.sqlite") as db:
        db.execute("PRAGMA user_version = 99")

    ended = command(config, "page")

    assert ended.returncode == 74
    assert "store.sqlite: a store of version 99" in ended.stderr
    assert "install the newer aggregator" in ended.stderr


def test_without_users_nobody_else_is_let_in(configure):
    """Exit 78 with what to do."""
    ended = command(configure('host = "0.0.0.0"'), "page")

    assert ended.returncode == 78
    assert "user add" in ended.stderr


def test_with_a_certificate_it_speaks_https(configure, tmp_path, wait_until):
    """And tells browsers to stay with it."""
    need("openssl")
    certificate, key = tmp_path / "page.crt", tmp_path / "page.key"
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=page"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*new, *names], check=True, capture_output=True)
    config = configure(f'certificate = "{certificate}"', f'key = "{key}"')
    assert command(config, "user", "add", "anna", "--rooms", "*", input=PASSWORD).returncode == 0
    login = address(load(config, AggregatorConfig).page) + "login"
    trusting = ssl.create_default_context(cafile=certificate)

    def answer():
        try:
            with urllib.request.urlopen(login, timeout=10, context=trusting) as response:  # noqa: S310 - https, from above
                return response.headers["strict-transport-security"], response.read()
        except ConnectionError as error:
            return str(error), b""
        except urllib.error.URLError as error:
            return str(error.reason), b""

    with subprocess.Popen([sys.executable, "-m", "aggregator", "--config", config, "page"], cwd=ROOT) as page:
        try:
            wait_until(lambda: b"Password" in answer()[1], "the login", 90)
            assert answer()[0] == "max-age=31536000"
        finally:
            page.terminate()


def test_a_store_that_may_only_be_read_is_told_where_the_person_looks(configure, tmp_path, wait_until):
    """A note is refused in words that say why, its text stays, and the page goes on."""
    need("chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    config, now = configure(), time.time()
    state = State(state="ready", reason="", version="1", model=None, min_faces=5, boot="00000001")
    with SqliteStore(tmp_path / "store.sqlite") as store:
        store.commit(Batch(states={CAMERA: (state, now)}))
    (tmp_path / "store.sqlite").chmod(0o444)
    room = f"{address(load(config, AggregatorConfig).page)}room/north/r101"

    with (
        subprocess.Popen(
            [*bound_by_modes(), sys.executable, "-m", "aggregator", "--config", config, "page"], cwd=ROOT
        ) as page,
        sync_api.sync_playwright() as playwright,
    ):
        try:
            wait_until(lambda: answers(room), "the page", 90)
            options = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox", "--disable-dev-shm-usage"]}
            shown = playwright.chromium.launch(**options).new_page()
            shown.goto(room)
            text = shown.get_by_label("such as group work")
            text.fill("group work")
            shown.get_by_role("button", name="mark now").click()
            shown.get_by_text("Not kept: this page may only read the store.").first.wait_for(timeout=30_000)
            assert text.input_value() == "group work"
            assert answers(room)
        finally:
            page.terminate()
