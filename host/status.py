"""`classpulse status`: what runs, since when, how many faces the last minute had, what is wrong and what to do."""

import argparse
import os
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.config import ClockConfig
from host import setup, system
from host.files import AGGREGATOR, EDGE, KEYS, PAGE
from host.setup import Installed
from service.cli import UsageError

NAMES = {"mosquitto": "broker", AGGREGATOR: "store", PAGE: "page", EDGE: "camera"}
_RENEW_DAYS = 275


def configure(_parser: argparse.ArgumentParser) -> None:
    """The command has no arguments of its own."""


def run(_arguments: argparse.Namespace) -> int:
    """At most ten lines; 0 if nothing is wrong, else 1."""
    if os.geteuid():
        raise UsageError("it reads the services' folders: run `sudo classpulse status`")
    installed = Installed.read()
    known = installed.todays()
    if "site" not in known:
        print("not set up: run `sudo classpulse setup`")
        return 1
    hub = installed.hub and known.get("broker", "here") == "here"
    units = [*(["mosquitto", AGGREGATOR, PAGE] if hub else []), *([EDGE] if installed.camera else [])]
    states = {unit: system.show(unit, "ActiveState", "ActiveEnterTimestamp", "StatusText") for unit in units}
    counts = setup.counted_since(time.time() - 60) if hub else None
    for unit, state in states.items():
        print(line(NAMES[unit], state))
    print(faces(counts, known))
    if hub:
        print(f"address  {setup.page_address(open_page=bool(known.get('open_page')))}")
    clock = Path(installed.edge.get("clock", {}).get("synchronized", ClockConfig().synchronized))
    end_days = _certificate_days() if hub and known.get("open_page") else None
    wrong = list(problems(states, counts, synchronized=clock, end_days=end_days))
    for each in wrong[: 10 - len(units) - 2]:
        print(f"WRONG    {each}")
    return 1 if wrong else 0


def line(name: str, state: dict[str, str]) -> str:
    """One service: whether it runs, since when, what it says of itself."""
    since = state.get("ActiveEnterTimestamp", "")
    running = state["ActiveState"] == "active"
    said = state.get("StatusText", "")
    return f"{name:8} " + (f"runs since {since}" + (f"; {said}" if said else "") if running else state["ActiveState"])


def faces(counts: dict[str, Any] | None, known: dict[str, Any]) -> str:
    """The last minute, and what is counted at all."""
    what = (
        "people only, no expressions" if known.get("people_only") else f"groups of {known.get('min_faces', 5)} and more"
    )
    if counts is None:
        return f"faces    told at {known.get('broker')} ({what})"
    hidden = f", {counts['withheld']} withheld" if counts["withheld"] else ""
    told = f"{counts['faces']:.1f} on average in the {counts['frames']} pictures of the last minute{hidden}"
    return f"faces    {told} ({what})"


def problems(
    states: dict[str, dict[str, str]], counts: dict[str, Any] | None, *, synchronized: Path, end_days: float | None
) -> Iterator[str]:
    """What is wrong, and what to do."""
    for unit, state in states.items():
        if state["ActiveState"] != "active":
            yield f"{unit} does not run: {system.last_word(unit)}. Then: sudo systemctl restart {unit}"
    said = states.get(EDGE, {}).get("StatusText", "")
    if said.startswith("degraded"):
        yield f"the camera's service is {said}"
    if EDGE in states and not synchronized.exists():
        yield f"the clock is not synchronised ({synchronized} is missing): see timedatectl, or [clock] in edge.toml"
    if AGGREGATOR in states and EDGE in states and said.startswith("ready") and not (counts and counts["frames"]):
        yield "no counts arrived in the last minute: sudo journalctl -u classpulse-edge -n 20"
    if end_days is not None and end_days < _RENEW_DAYS:
        yield f"the page's certificate ends in {end_days:.0f} days: run sudo classpulse setup again"


def _certificate_days() -> float | None:
    path = KEYS / "https.crt"
    if not path.exists():
        return None
    said = system.call("openssl", "x509", "-noout", "-enddate", "-in", str(path)).strip().partition("=")[2]
    return (ssl.cert_time_to_seconds(said) - time.time()) / 86400
