"""Answers become files that the services' own readers take, and today's answers again."""

import base64
import hashlib
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from aggregator.config import AggregatorConfig, AttentionConfig
from edge.config import EdgeConfig
from host import files
from host.answers import Answers
from host.files import AGGREGATOR, EDGE, KEYS, MOSQUITTO, PAGE, Made
from service.config import build

ACL = Path(__file__).parents[2] / "ansible/roles/broker/files/classpulse.acl"
MADE = Made("camera's", "aggregator's", {"school/room-2/cam-1": "other's"}, b"123456789012", "-----BEGIN…", "hub.local")
ANSWERS = Answers(
    people_only=False, lessons=("mon-fri 08:00-12:30",), time_zone="Europe/Berlin", open_broker=True,
    others=("school/room-2/cam-1",), page_password="correct horse",  # noqa: S106
)  # fmt: skip


def hub(answers: Answers = ANSWERS, before: dict | None = None):
    """The files of a host that is everything."""
    written = files.camera_files(answers, {}, MADE)
    return written | files.hub_files(answers, before or {}, MADE, ACL.read_text(), camera=True)


def table(written, name: str):
    """A configuration as TOML reads it."""
    return tomllib.loads(written[files.ETC / f"{name}.toml"].content.decode())


def test_the_services_take_their_files():
    """Each value where its service looks for it."""
    written = hub()

    edge, aggregator = build(table(written, "edge"), EdgeConfig), build(table(written, "aggregator"), AggregatorConfig)

    assert edge.device.identity == edge.mqtt.username == "school/room-1/cam-1"
    assert edge.schedule.lessons == ("mon-fri 08:00-12:30",)
    assert (edge.emotions.enabled, edge.mqtt.host, edge.mqtt.tls) == (True, "127.0.0.1", False)
    assert (aggregator.site, aggregator.mqtt.username, aggregator.page.https) == ("school", "aggregator", True)


@pytest.mark.parametrize("answers", [ANSWERS, Answers(), Answers(open_page=False, min_faces=1, camera="usb:2")])
def test_todays_answers_are_read_back(answers):
    """All that the two files can tell."""
    written = hub(answers)

    found = files.todays(table(written, "edge"), table(written, "aggregator"))

    for name in ("people_only", "site", "room", "device", "camera", "time_zone", "min_faces", "broker", "open_page"):
        assert found[name] == getattr(answers, name), name
    assert tuple(found["lessons"]) == answers.lessons


def test_a_broker_elsewhere_is_read_back_with_its_authority():
    """So that running setup again asks for nothing that is known."""
    answers = Answers(broker="hub.local:8884", broker_ca="-----BEGIN CERTIFICATE-----", broker_username="me")
    written = files.camera_files(answers, {}, MADE)

    found = files.todays(table(written, "edge"), {})

    assert (found["broker"], found["broker_username"]) == ("hub.local:8884", "me")
    assert written[Path(found["broker_ca"])].content.startswith(b"-----BEGIN")
    assert b"LoadCredential=ca.crt:" in written[files.UNITS / f"{EDGE}.service.d/setup.conf"].content
    assert table(written, "edge")["mqtt"]["tls"]


def test_what_setup_does_not_ask_is_kept():
    """Keys that somebody set by hand; but no certificate of a page that is closed now."""
    before = {"attention": {"enabled": False}, "page": {"certificate": "/a", "key": "/b", "users": "/c"}}

    written = hub(Answers(open_page=False), before)

    kept = table(written, "aggregator")
    assert kept["attention"] == {"enabled": False}
    assert kept["page"] == {"users": "/c", "host": "127.0.0.1", "port": 8080}


def test_noise_is_set_on_both_sides_taken_away_again_and_left_alone_where_somebody_chose_other_figures():
    """Off by default; the page has to know of it, and attention judges by other figures."""
    noisy = hub(replace(ANSWERS, noise=True))
    edge, aggregator = table(noisy, "edge"), table(noisy, "aggregator")
    own = edge | {"publish": edge["publish"] | {"span_s": 60.0, "epsilon": 1.0}}

    assert "summary" not in table(hub(), "aggregator")
    assert build(table(hub(), "edge"), EdgeConfig).publish.span_s == 0
    assert [build(edge, EdgeConfig).publish.span_s, build(aggregator, AggregatorConfig).summary.epsilon] == [20, 2]
    assert aggregator["attention"] == {"deviations": 3.4}
    assert files.todays(edge, aggregator)["noise"]
    assert files.edge_table(replace(ANSWERS, noise=True), own)["publish"] == own["publish"]
    quiet = files.edge_table(ANSWERS, edge), files.aggregator_table(ANSWERS, aggregator)
    assert not files.todays(*quiet)["noise"]
    assert build(quiet[1], AggregatorConfig).attention.deviations == AttentionConfig().deviations


def test_the_broker_listens_on_loopback_alone_until_it_is_opened():
    """And then outside with TLS only; nobody is anonymous."""
    closed, opened = files.broker(open_broker=False), files.broker(open_broker=True)

    assert [line for line in closed.splitlines() if line.startswith("listener")] == ["listener 1883 127.0.0.1"]
    assert [line for line in opened.splitlines() if line.startswith("listener")][1:] == ["listener 8883"]
    assert "certfile" in opened.partition("listener 8883")[2]
    assert "allow_anonymous false" in closed
    assert (files.is_open(closed), files.is_open(opened)) == (False, True)


def test_secrets_are_in_files_of_root_alone():
    """And in the broker's file as hashes."""
    written = hub()

    secret = [path for path, file in written.items() if any(word.encode() in file.content for word in
              (MADE.edge, MADE.aggregator, *MADE.others.values()))]  # fmt: skip
    assert {path.name for path in secret} == {"mqtt-password", "aggregator-password", "school.room-2.cam-1.toml"}
    assert all(written[path].mode == 0o600 for path in secret)
    assert written[MOSQUITTO / "classpulse.passwd"].mode == 0o640


def test_the_broker_s_password_file_has_mosquitto_s_hashes():
    """PBKDF2 with SHA-512, as mosquitto_passwd writes it."""
    user, kind = files.password_line("me", "word", b"salt").strip().split(":$7$")
    rounds, salt, digest = kind.split("$")

    again = hashlib.pbkdf2_hmac("sha512", b"word", base64.b64decode(salt), int(rounds))
    assert (user, base64.b64decode(digest)) == ("me", again)


def test_a_further_camera_gets_an_answers_file_that_setup_takes():
    """Site, room, broker, name, password and authority: nothing is left to type."""
    written = hub()

    told = tomllib.loads(written[files.OTHERS / "school.room-2.cam-1.toml"].content.decode())

    answers = build(told, Answers)
    assert answers.where.identity == answers.broker_username == "school/room-2/cam-1"
    assert (answers.broker, answers.broker_password) == ("hub.local:8883", "other's")
    assert answers.authority == MADE.authority


def test_units_load_what_is_there_and_no_more():
    """A fleet's certificates are not asked for; the page alone gets its HTTPS key."""
    written = hub()

    loads = {
        unit: written[files.UNITS / f"{unit}.service.d/setup.conf"].content.decode()
        for unit in (EDGE, AGGREGATOR, PAGE)
    }

    assert loads[EDGE].splitlines()[2:] == ["LoadCredential=", f"LoadCredential=mqtt-password:{KEYS}/mqtt-password"]
    assert "https.key" in loads[PAGE]
    assert "https.key" not in loads[AGGREGATOR]
