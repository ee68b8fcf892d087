"""`classpulse setup`: ask, write the files, start the services, wait for the first counts, say where the page is.

Nothing is written before the last answer. Then the services are stopped and switched off, and on again only when
everything is in its place: what an interruption leaves does not start, and running it again mends it.
"""

import argparse
import contextlib
import json
import os
import secrets
import socket
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from aggregator.config import AggregatorConfig
from contract.topics import Device
from edge.config import EdgeConfig
from host import ask, files, system
from host.answers import NAMES, SECRET, Answers, parse, question
from host.files import AGGREGATOR, EDGE, ETC, KEYS, MOSQUITTO, OTHERS, PAGE, File
from host.system import HostError
from service.cli import UsageError
from service.config import ConfigError, build

USERS = Path("/var/lib/classpulse-aggregator/users.json")
WAIT_S = 90.0
"""The longest wait for first counts; with `[publish] span_s` they tell of whole spans."""
_LATER = ("clock", "throttling")
"""What a check may say while the services start all the same: the clock comes by itself."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What this host's package brings, and what is set up today."""

    camera: bool
    hub: bool
    edge: dict[str, Any]
    aggregator: dict[str, Any]

    @staticmethod
    def read() -> "Installed":
        """Of this host."""
        edge, aggregator = (system.table(ETC / f"{name}.toml") for name in ("edge", "aggregator"))
        return Installed(system.has(EDGE), system.has(AGGREGATOR), edge, aggregator)

    def todays(self) -> dict[str, Any]:
        """Today's answers."""
        known = files.todays(self.edge, self.aggregator)
        known.setdefault("time_zone", system.time_zone())
        known["others"] = tuple(path.stem.replace(".", "/") for path in sorted(OTHERS.glob("*.toml")))
        known["open_broker"] = files.BROKER.exists() and files.is_open(files.BROKER.read_text())
        return {key: tuple(value) if isinstance(value, list) else value for key, value in known.items()}

    def units(self, answers: Answers) -> list[str]:
        """The services that run, in the order in which they start."""
        hub = [AGGREGATOR, PAGE] if self.hub and answers.is_hub else []
        return [*hub, *([EDGE] if self.camera else [])]


def configure(parser: argparse.ArgumentParser) -> None:
    """A flag for every answer but passwords."""
    parser.add_argument("--answers", type=Path, metavar="FILE", help="TOML with the keys below; ask nothing")
    for name in NAMES:
        if name not in SECRET:
            parser.add_argument(f"--{name.replace('_', '-')}", metavar="ANSWER", help=question(name).replace("%", "%%"))


def run(arguments: argparse.Namespace) -> int:
    """Set this host up; 0, or 1 if no counts came."""
    if os.geteuid():
        raise UsageError("this changes the host: run `sudo classpulse setup`")
    installed = Installed.read()
    known = installed.todays() | _given(arguments)
    if arguments.answers or not sys.stdin.isatty():
        answers = _complete(known, installed, asked=arguments.answers is not None)
    else:
        print("An empty line keeps the answer in [brackets]. Nothing is changed before the last question.")
        answers = ask.ask(known, camera=installed.camera, hub=installed.hub, after=partial(_trial, installed))
    _need_page_password(answers, installed)
    apply(answers, installed)
    return wait_for_counts(answers, installed)


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if arguments.answers:
        try:
            given = tomllib.loads(arguments.answers.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{arguments.answers}: {getattr(error, 'strerror', None) or error}") from error
    for name in NAMES:
        if (text := getattr(arguments, name, None)) is not None:
            try:
                given[name] = parse(name, text)
            except ValueError as error:
                raise ConfigError(f"--{name.replace('_', '-')}: {error}") from error
    return given


def _complete(known: Mapping[str, Any], installed: Installed, *, asked: bool) -> Answers:
    """Answers without questions."""
    if not asked and not set(known) >= {"people_only"}:
        raise UsageError("there is no terminal to ask at: run it in one, or with --answers FILE")
    if installed.camera and "people_only" not in known:
        raise ConfigError(f"people_only is missing. {question('people_only')}")
    answers = build(known, Answers)
    if installed.camera and not installed.hub and answers.is_hub:
        raise ConfigError("broker is missing: this host has none of its own (package classpulse has)")
    return answers


def _need_page_password(answers: Answers, installed: Installed) -> None:
    if PAGE in installed.units(answers) and not answers.page_password and not USERS.exists():
        raise ConfigError("page_password is missing: the page shows nothing without a user")


def _trial(installed: Installed, name: str, answers: Answers) -> str:
    """After the question for the camera: what there is, and a picture's number of faces."""
    if name == "device":
        return f"Cameras that were found on this host: {', '.join(system.cameras()) or 'none'}"
    if name != "camera":
        return ""
    running = system.show(EDGE, "ActiveState").get("ActiveState") == "active"
    if running:
        system.call("systemctl", "stop", EDGE)
    try:
        with tempfile.TemporaryDirectory(prefix="classpulse-", dir="/run") as folder:
            Path(folder).chmod(0o755)
            path = Path(folder) / "edge.toml"
            path.write_text(files.configuration("edge", files.edge_table(answers, installed.edge)))
            return system.program(EDGE, "--config", str(path), "check", "--only", "camera").stdout.strip()
    finally:
        if running:
            system.call("systemctl", "start", EDGE)


def apply(answers: Answers, installed: Installed) -> None:
    """Make the host what the answers say.

    Raises:
        HostError: If something cannot be done; the services stay off then.
        ConfigError: If the answers make no configuration that the programs take.
    """
    units = installed.units(answers)
    staged = _files(answers, installed)
    for unit in (EDGE, PAGE, AGGREGATOR):
        if system.has(unit):
            system.call("systemctl", "disable", "--now", "--quiet", unit)
    system.write(staged)
    for path in OTHERS.glob("*.toml"):
        if path not in staged:  # no longer answered with: its password is gone from the broker
            path.unlink()
    system.call("systemctl", "daemon-reload")
    if AGGREGATOR in units:
        _restart_broker()
        if answers.page_password:
            _add_user(answers.page_user, answers.page_password)
    if EDGE in units:
        _check()
    for unit in units:
        system.call("systemctl", "enable", "--quiet", unit)
        system.call("systemctl", "start", "--no-block", unit)


def _files(answers: Answers, installed: Installed) -> dict[Path, File]:
    """Every file, before any is written."""
    KEYS.mkdir(parents=True, exist_ok=True)
    KEYS.chmod(0o700)
    others = {identity: _password_of(identity) for identity in answers.others if answers.open_broker}
    edge = answers.broker_password or _kept(KEYS / "mqtt-password")
    made = files.Made(edge, _kept(KEYS / "aggregator-password"), others, secrets.token_bytes(12))
    staged: dict[Path, File] = {}
    if installed.camera:
        build(files.edge_table(answers, installed.edge), EdgeConfig)
        staged |= files.camera_files(answers, installed.edge, made)
    if AGGREGATOR in installed.units(answers):
        build(files.aggregator_table(answers, installed.aggregator), AggregatorConfig)
        host, names = system.names()
        made = replace(made, authority=system.authority(KEYS), name=host)
        acl = (files.SHARE / "classpulse.acl").read_text()
        staged |= files.hub_files(answers, installed.aggregator, made, acl, camera=installed.camera)
        certificate, key = system.server(KEYS, host, names)
        staged |= {KEYS / "https.crt": File(certificate.encode(), 0o600), KEYS / "https.key": File(key.encode(), 0o600)}
        if answers.open_broker:
            certificate, key = system.server(KEYS, host, names)
            for name, text in {"ca.crt": made.authority, "broker.crt": certificate, "broker.key": key}.items():
                staged[MOSQUITTO / "classpulse" / name] = File(text.encode(), 0o640, "mosquitto")
    return staged


def _kept(path: Path) -> str:
    """The password in a file, or a new one."""
    return path.read_text().strip() if path.exists() else secrets.token_urlsafe(24)


def _password_of(identity: str) -> str:
    """Of a further camera: as it was told before, or a new one."""
    told = system.table(OTHERS / f"{Device(*identity.split('/')).client_id}.toml")
    return str(told.get("broker_password") or secrets.token_urlsafe(24))


def _restart_broker() -> None:
    system.call("systemctl", "enable", "--quiet", "mosquitto")
    try:
        system.call("systemctl", "restart", "mosquitto")
    except HostError:
        why = system.last_word("mosquitto")
        raise HostError(
            f"mosquitto does not start with {files.BROKER}: {why}. Does another file there "
            "configure it? Move it away and run `classpulse setup` again"
        ) from None


def _add_user(name: str, password: str) -> None:
    words = ("user", "add", name, "--rooms", "*", "--role", "administrator")
    done = system.program(AGGREGATOR, *words, stdin=f"{password}\n")
    if done.returncode:
        raise HostError(f"the page's user cannot be made: {_last(done.stderr)}")


def _check() -> None:
    """Try everything once, a line each; a wrong answer stops here."""
    done = system.program(EDGE, "check")
    print(done.stdout, end="", flush=True)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    serious = [line for line in failed if line.split()[1].rstrip(":") not in _LATER]
    if serious or (done.returncode and not failed):
        what = "see FAIL above" if serious else _last(done.stderr)
        raise HostError(f"nothing was started: {what}. Mend it and run `classpulse setup` again")


def _last(text: str) -> str:
    return (text.strip() or "no reason given").splitlines()[-1]


def wait_for_counts(answers: Answers, installed: Installed) -> int:
    """0 when counts arrive, or cannot yet; 1 after WAIT_S, with what is wrong."""
    units, started, end = installed.units(answers), time.time(), time.monotonic() + WAIT_S
    print("waiting for the first counts …", flush=True)
    while time.monotonic() < end:
        said = system.show(EDGE, "StatusText")["StatusText"] if EDGE in units else "paused: no camera here"
        if said.startswith("paused") and (AGGREGATOR not in units or _answers(answers)):
            return _done(answers, units, f"set up; the camera is {said}" if EDGE in units else "set up")
        if AGGREGATOR not in units and said.startswith("ready"):
            return _done(answers, units, f"counting; the page is {answers.broker.partition(':')[0]}'s")
        if AGGREGATOR in units and _answers(answers) and (counts := counted_since(started)) and counts["frames"]:
            return _done(answers, units, f"{counts['frames']} pictures counted, {counts['faces']:.1f} faces on average")
        time.sleep(0.5)
    for unit in units:
        if system.show(unit, "ActiveState")["ActiveState"] != "active":
            print(f"{unit}: {system.last_word(unit)}", file=sys.stderr)
    print(f"no counts within {WAIT_S:.0f} s: `classpulse status` says more", file=sys.stderr)
    return 1


def _answers(answers: Answers) -> bool:
    """Whether the page takes connections."""
    port = files.HTTPS_PORT if answers.open_page else files.HTTP_PORT
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False


def _done(answers: Answers, units: list[str], what: str) -> int:
    print(what)
    if PAGE in units:
        print(f"the page: {page_address(open_page=answers.open_page)} (user {answers.page_user})")
    for identity in answers.others if answers.open_broker else ():
        path = OTHERS / f"{identity.replace('/', '.')}.toml"
        print(f"for {identity}: copy {path} to its host, then there: sudo classpulse setup --answers {path.name}")
    return 0


def page_address(*, open_page: bool) -> str:
    """Where browsers find the page; by name, and by address where the network knows no names."""
    if not open_page:
        return f"http://localhost:{files.HTTP_PORT}/ (on this host only)"
    name, names = system.names()
    address = next((each for each in names[4:] if "." in each), "")
    return f"https://{name}:{files.HTTPS_PORT}/" + (f" or https://{address}:{files.HTTPS_PORT}/" if address else "")


def counted_since(start: float) -> dict[str, Any] | None:
    """What the store has since then: `frames`, `withheld`, `faces` on average; None where it cannot be read."""
    user = system.USERS[AGGREGATOR]
    said = system.call("runuser", "-u", user, "--", sys.executable, "-m", "host.counts", str(start), check=False)
    return json.loads(said) if said else None
