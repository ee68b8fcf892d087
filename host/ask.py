"""The questions of `classpulse setup`, one after the other, each with today's answer as its default."""

import getpass
from collections.abc import Callable, Mapping
from typing import Any

from host.answers import HERE, NAMES, SECRET, Answers, parse, question, shown
from service.config import ConfigError, build

CAMERA = frozenset(("people_only", "room", "device", "camera", "time_zone", "lessons", "min_faces"))
"""Questions for a host with a camera."""
ELSEWHERE = frozenset(("broker_ca", "broker_username", "broker_password"))
HUB = frozenset(("open_broker", "others", "open_page", "page_user", "page_password"))


def applies(name: str, values: Mapping[str, Any], *, camera: bool, hub: bool) -> bool:
    """Whether a question is asked after these answers, where the packages for `camera` and `hub` are installed."""
    if name in CAMERA:
        return camera
    if name == "broker":
        return camera
    if name == "noise":
        return not values.get("people_only")
    here = values.get("broker", HERE) == HERE and hub
    if name == "others":
        return here and bool(values.get("open_broker"))
    return here if name in HUB else name not in ELSEWHERE or not here


def ask(
    known: Mapping[str, Any],
    *,
    camera: bool,
    hub: bool,
    read: Callable[[str], str] = input,
    read_secret: Callable[[str], str] = getpass.getpass,
    after: Callable[[str, Answers], str] = lambda _name, _answers: "",
) -> Answers:
    """All answers.

    Args:
        known: Those of today, shown as defaults; an empty line keeps one.
        camera: Whether the packages for a camera are installed.
        hub: Whether those for store and page are.
        read: Prints its argument and gives a line.
        read_secret: The same, without echo.
        after: Called with a question's name and the answers so far; a text that it gives is shown below the answer.
    """
    values = dict(known)
    if camera and not hub and values.get("broker", HERE) == HERE:
        values["broker"] = ""
    for name in NAMES:
        if not applies(name, values, camera=camera, hub=hub):
            continue
        default = values.get(name, getattr(Answers(), name))
        hint = f" [{shown(name, default)}]" if name not in SECRET else ""
        while True:
            text = (read_secret if name in SECRET else read)(f"\n{question(name)}{hint}: ").strip()
            try:
                values[name] = parse(name, text) if text else default
                answers = _so_far(values, name)
                break
            except ValueError as error:
                print(f"  {str(error).removeprefix('file: ')}")
        if told := after(name, answers):
            print(f"  {told}")
    return build(values, Answers)


def _so_far(values: Mapping[str, Any], name: str) -> Answers:
    """The answers up to `name`; ConfigError if that one cannot be used."""
    given = {key: values[key] for key in NAMES[: NAMES.index(name) + 1] if key in values}
    if name == "broker" and given["broker"] == "":
        raise ConfigError("HOST or HOST:PORT is needed: this host has no broker (package classpulse has)")
    if name in ("broker", *ELSEWHERE) and given.get("broker") != HERE and not given.get("broker_ca"):
        if name != "broker":
            build(given, Answers)
        given = {key: value for key, value in given.items() if key not in ("broker", *ELSEWHERE)}
    return build(given, Answers)
