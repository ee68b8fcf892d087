"""Answers to the files of a host, and back. Pure: what is read and written is the caller's business."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregator.config import AttentionConfig
from host.answers import HERE, Answers
from service.config import dump

ETC = Path("/etc/classpulse")
KEYS = ETC / "keys"
MOSQUITTO = Path("/etc/mosquitto")
UNITS = Path("/etc/systemd/system")
SHARE = Path("/usr/share/classpulse")
OTHERS = ETC / "others"
"""An answers file for each further camera."""
BROKER = MOSQUITTO / "conf.d/classpulse.conf"
EDGE, AGGREGATOR, PAGE = "classpulse-edge", "classpulse-aggregator", "classpulse-page"
SPAN_S, EPSILON, DEVIATIONS = 20.0, 2.0, 3.4
"""The noise that docs/privacy.md measured, and how clear a change is to be with it."""
TLS_PORT, PLAIN_PORT, HTTPS_PORT, HTTP_PORT = 8883, 1883, 8443, 8080
_ROUNDS = 10_000
_HEAD = (
    "# Written by `classpulse setup`, which keeps what else you set here. Every key: classpulse {} check --example\n"
)
Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class File:
    """What is written."""

    content: bytes
    mode: int = 0o644
    group: str = "root"


@dataclass(frozen=True, slots=True)
class Made:
    """What the files hold besides the answers: made on this host, and kept."""

    edge: str
    """The camera's password at the broker."""
    aggregator: str
    others: Mapping[str, str]
    """Of each further camera, by its identity."""
    salt: bytes
    """Of the broker's password file."""
    authority: str = ""
    """This host's certificate authority, as PEM."""
    name: str = ""
    """This host's, for the further cameras."""


def edge_table(answers: Answers, before: Table) -> Table:
    """edge.toml: what the answers say over what was there `before`."""
    host, _, port = ("127.0.0.1", "", PLAIN_PORT) if answers.is_hub else answers.broker.partition(":")
    said: Table = {
        "device": {"site": answers.site, "room": answers.room, "device": answers.device},
        "camera": {"source": answers.camera} | ({"loop": True} if answers.camera.startswith("file:") else {}),
        "mqtt": {
            "host": host,
            "port": int(port or TLS_PORT),
            "tls": not answers.is_hub,
            "username": answers.broker_username or answers.where.identity,
        },
        "detector": {"model": str(SHARE / "models/yunet.tflite")},
        "emotions": {"enabled": not answers.people_only},
        "publish": {"min_faces": answers.min_faces},
        "schedule": {"time_zone": answers.time_zone, "lessons": list(answers.lessons)},
    }
    if answers.noise != _spans(before):  # who has chosen other figures by hand keeps them
        said["publish"] |= {"span_s": SPAN_S if answers.noise else 0.0, "epsilon": EPSILON}
    return _over(before, said)


def aggregator_table(answers: Answers, before: Table) -> Table:
    """aggregator.toml, likewise."""
    credentials = Path("/run/credentials") / f"{PAGE}.service"
    page: Table = {"host": "127.0.0.1", "port": HTTP_PORT}
    if answers.open_page:
        page = {"host": "0.0.0.0", "port": HTTPS_PORT}  # noqa: S104 - with users and HTTPS
        page |= {"certificate": str(credentials / "https.crt"), "key": str(credentials / "https.key")}
    said: Table = {
        "site": answers.site,
        "mqtt": {"host": "127.0.0.1", "port": PLAIN_PORT, "tls": False, "username": "aggregator"},
        "page": page,
    }
    if answers.noise != _noisy(before):
        usual = AttentionConfig().deviations
        said["summary"] = {"epsilon": EPSILON if answers.noise else 0.0}
        said["attention"] = {"deviations": DEVIATIONS if answers.noise else usual}
    kept = {key: value for key, value in before.get("page", {}).items() if key not in ("certificate", "key")}
    return _over(before | {"page": kept}, said)


def todays(edge: Table, aggregator: Table) -> Table:
    """The answers that the files of a host give, as far as they do."""
    found: Table = dict(edge.get("device", {}))
    places = {
        "camera": ("camera", "source"),
        "time_zone": ("schedule", "time_zone"),
        "lessons": ("schedule", "lessons"),
        "min_faces": ("publish", "min_faces"),
    }
    for name, (table, key) in places.items():
        if key in edge.get(table, {}):
            found[name] = edge[table][key]
    found["noise"] = _spans(edge) or _noisy(aggregator)
    if "enabled" in edge.get("emotions", {}):
        found["people_only"] = not edge["emotions"]["enabled"]
    if mqtt := edge.get("mqtt"):
        local = mqtt["host"] == "127.0.0.1"
        found["broker"] = HERE if local else f"{mqtt['host']}:{mqtt['port']}"
        if not local:
            found |= {"broker_ca": str(KEYS / "ca.crt"), "broker_username": mqtt.get("username", "")}
    if "site" in aggregator:
        found = {"site": aggregator["site"], "broker": HERE} | found
        found["open_page"] = aggregator.get("page", {}).get("host", "127.0.0.1") != "127.0.0.1"
    return found


def configuration(name: str, table: Table) -> str:
    """The text of <name>.toml."""
    return _HEAD.format(name) + dump(table)


def camera_files(answers: Answers, before: Table, made: Made) -> dict[Path, File]:
    """What a host with a camera needs."""
    credentials = {"mqtt-password": "mqtt-password"} | ({} if answers.is_hub else {"ca.crt": "ca.crt"})
    files = {
        ETC / "edge.toml": File(configuration("edge", edge_table(answers, before)).encode()),
        KEYS / "mqtt-password": _private(made.edge),
        **drop_in(EDGE, credentials),
    }
    return files if answers.is_hub else {KEYS / "ca.crt": _private(answers.authority), **files}


def hub_files(answers: Answers, before: Table, made: Made, acl: str, *, camera: bool) -> dict[Path, File]:
    """What a host with broker, store and page needs.

    Args:
        answers: What was answered.
        before: Today's aggregator.toml.
        made: Passwords and authority.
        acl: The packaged access list.
        camera: Whether this host has a camera, too.
    """
    users = {"aggregator": made.aggregator, **made.others}
    if camera:
        users[answers.where.identity] = made.edge
    password = {"mqtt-password": "aggregator-password"}
    https = {"https.crt": "https.crt", "https.key": "https.key"} if answers.open_page else {}
    # one configuration, so one user: the page's orders go out as the aggregator's
    acl += "\nuser aggregator\ntopic write classpulse/1/+/+/+/set\n"
    passwords = "".join(password_line(user, word, made.salt) for user, word in sorted(users.items()))
    files = {
        ETC / "aggregator.toml": File(configuration("aggregator", aggregator_table(answers, before)).encode()),
        KEYS / "aggregator-password": _private(made.aggregator),
        **drop_in(AGGREGATOR, password),
        **drop_in(PAGE, password | https),
        MOSQUITTO / "classpulse.acl": File(acl.encode(), 0o640, "mosquitto"),
        MOSQUITTO / "classpulse.passwd": File(passwords.encode(), 0o640, "mosquitto"),
        BROKER: File(broker(open_broker=answers.open_broker).encode()),
    }
    for identity, word in made.others.items():
        site, room, device = identity.split("/")
        # where no camera is, nobody was asked what the law says
        told = {"site": site, "room": room, "device": device, "noise": answers.noise}
        told |= {"people_only": answers.people_only} if camera else {}
        told |= {"broker": f"{made.name}:{TLS_PORT}", "broker_username": identity, "broker_password": word}
        path = OTHERS / f"{identity.replace('/', '.')}.toml"
        files[path] = _private(dump({**told, "broker_ca": made.authority}))
    return files


def broker(*, open_broker: bool) -> str:
    """Mosquitto's configuration beside Debian's own, which keeps its database."""
    lines = [
        "# Written by `classpulse setup`.",
        "per_listener_settings false",
        "allow_anonymous false",
        f"password_file {MOSQUITTO}/classpulse.passwd",
        f"acl_file {MOSQUITTO}/classpulse.acl",
        "max_queued_messages 0",
        f"listener {PLAIN_PORT} 127.0.0.1",
    ]
    if open_broker:
        files = {"cafile": "ca.crt", "certfile": "broker.crt", "keyfile": "broker.key"}
        lines += [f"listener {TLS_PORT}", *(f"{key} {MOSQUITTO}/classpulse/{name}" for key, name in files.items())]
        lines.append("tls_version tlsv1.2")
    return "\n".join(lines) + "\n"


def is_open(configuration: str) -> bool:
    """Whether this configuration of mosquitto listens on the network."""
    return f"listener {TLS_PORT}" in configuration


def drop_in(unit: str, credentials: Mapping[str, str]) -> dict[Path, File]:
    """The unit with these credentials (name -> file in KEYS) instead of a fleet's certificates."""
    lines = ["# Written by `classpulse setup`.", "[Service]", "LoadCredential="]
    lines += [f"LoadCredential={name}:{KEYS / file}" for name, file in credentials.items()]
    return {UNITS / f"{unit}.service.d/setup.conf": File("\n".join([*lines, ""]).encode())}


def password_line(user: str, password: str, salt: bytes) -> str:
    """The line of mosquitto's password file. Source: mosquitto_passwd(1), PBKDF2 with SHA-512."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    return f"{user}:$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


def _private(text: str) -> File:
    return File(text.rstrip("\n").encode() + b"\n", 0o600)


def _spans(edge: Table) -> bool:
    return bool(edge.get("publish", {}).get("span_s"))


def _noisy(aggregator: Table) -> bool:
    return bool(aggregator.get("summary", {}).get("epsilon"))


def _over(before: Table, said: Table) -> Table:
    """`said` over `before`, table by table."""
    return {
        **before,
        **{key: before.get(key, {}) | value if isinstance(value, dict) else value for key, value in said.items()},
    }
