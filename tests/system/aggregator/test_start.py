"""What stops the aggregator's start, and what does not."""

import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

from aggregator.store.sqlite import SqliteStore
from tests.needs import need

pytestmark = [pytest.mark.system, pytest.mark.broker]


def test_a_broker_that_comes_later_is_no_error(make_mosquitto, wait_until, make_aggregator):
    """At boot the broker may be the last to be up; the daemon waits and says so once."""
    broker = make_mosquitto()
    aggregator = make_aggregator(broker).start()
    wait_until(lambda: "cannot reach the broker" in aggregator.said(), "the word that it waits")
    time.sleep(2)
    assert aggregator.said().count("cannot reach the broker") == 1

    broker.start()
    wait_until(lambda: "connected to the broker" in aggregator.said(), "the connection", within_s=60)
    assert aggregator.end(signal.SIGTERM) == 0


def test_a_wrong_password_is_said_and_tried_again(make_mosquitto, tmp_path, wait_until, make_aggregator):
    """A refused connection is an error in the log, not a connection."""
    need("mosquitto_passwd")
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "aggregator", "right"], check=True)
    broker = make_mosquitto(("allow_anonymous false", f"password_file {passwords}")).start()
    (tmp_path / "mqtt-password").write_text("wrong\n")
    aggregator = make_aggregator(broker, mqtt='tls = false\nusername = "aggregator"').start()

    wait_until(lambda: "refused the connection: Not authorized" in aggregator.said(), "the refusal in the log")
    assert "connected to the broker" not in aggregator.said()
    aggregator.end(signal.SIGTERM)


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("retention = 3", 78, "unknown key store.retention"),
        ("retention_days = 0", 78, "store.retention_days = 0: expected `int` >= 1"),
    ],
)
def test_a_wrong_configuration_stops_the_start(mosquitto, line, code, text, make_aggregator):
    """Exit 78 with file, key and value."""
    aggregator = make_aggregator(mosquitto)
    aggregator.config.write_text(aggregator.config.read_text() + line + "\n")

    assert aggregator.start().process.wait(20) == code
    assert f"{aggregator.config}: {text}" in aggregator.said()


def test_a_newer_store_stops_the_start(mosquitto, make_aggregator):
    """Exit 74, the file named and left as it is."""
    aggregator = make_aggregator(mosquitto)
    with SqliteStore(aggregator.store):
        pass
    with sqlite3.connect(aggregator.store) as db:
        db.execute("PRAGMA user_version = 2")

    assert aggregator.start().process.wait(20) == 74
    assert f"{aggregator.store}: a store of version 2" in aggregator.said()


@pytest.fixture
def authority(tmp_path):
    """`authority(name)`: a new CA in `tmp_path`/name with a certificate for 127.0.0.1; the folder."""

    def make(name):
        need("openssl")
        folder = tmp_path / name
        folder.mkdir()
        new = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ]
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
        signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
        for command in (
            [*new, "-subj", f"/CN={name}", "-keyout", "ca.key", "-out", "ca.crt"],
            ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=b", "-keyout", "b.key", "-out", "b.csr"],
            ["openssl", "x509", "-req", "-in", "b.csr", "-extfile", "names", *signing, "-out", "b.crt"],
        ):
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return folder

    return make


def test_a_broker_of_another_authority_is_refused(make_mosquitto, make_aggregator, tmp_path, authority, wait_until):
    """With TLS only a broker that the CA vouches for is spoken to; the log says what is wrong with the other."""
    ours, theirs = authority("ours"), authority("theirs")
    shutil.copy(ours / "ca.crt", tmp_path / "ca.crt")
    for folder, said in ((theirs, "certificate verify failed"), (ours, "connected to the broker")):
        broker = make_mosquitto(("allow_anonymous true", f"certfile {folder}/b.crt", f"keyfile {folder}/b.key")).start()
        aggregator = make_aggregator(broker, mqtt="tls = true").start()

        wait_until(lambda text=said, running=aggregator: text in running.said(), said)
        assert ("connected to the broker" in aggregator.said()) == (folder is ours)
        aggregator.end(signal.SIGTERM)


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "broken"])
def test_without_a_usable_authority_it_does_not_start(mosquitto, make_aggregator, tmp_path, content):
    """TLS without a good ca.crt is an error that names the file, not a connection without TLS."""
    if content:
        (tmp_path / "ca.crt").write_text(content)
    aggregator = make_aggregator(mosquitto, mqtt="tls = true")

    assert aggregator.start().process.wait(20) == 74
    assert "ca.crt" in aggregator.said()
