"""What stops the aggregator's start, and what does not."""

import signal
import sqlite3
import subprocess
import time

import pytest

from aggregator.store_sqlite import Store

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
        ("retention_days = 0", 78, "store: retention_days = 0 is not from 1 to 3660"),
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
    with Store(aggregator.store):
        pass
    with sqlite3.connect(aggregator.store) as db:
        db.execute("PRAGMA user_version = 2")

    assert aggregator.start().process.wait(20) == 74
    assert f"{aggregator.store}: a store of version 2" in aggregator.said()
