"""What stops the page's start, at once and with a word that helps, and how it is served with a certificate."""

import sqlite3
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from aggregator.config import AggregatorConfig
from aggregator.store.sqlite import SqliteStore
from aggregator.web.app import address
from service.config import load
from tests.needs import need
from tests.system.broker import free_port
from tests.system.instructor import PASSWORD, ROOT

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
