"""The options of `make run`: environment variables."""

from collections.abc import Mapping
from dataclasses import dataclass

_NAMES = ("CAMERA", "BROKER", "MIN_FACES", "SECONDS", "FRESH")


class OptionError(ValueError):
    """A variable that cannot be used; the text names it and its value."""


@dataclass(frozen=True, slots=True)
class Options:
    """CAMERA, BROKER, MIN_FACES, SECONDS and FRESH; each may be missing or empty."""

    camera: str = ""
    """`pi`, `usb:<number>` or `file:<path>`; empty: the drawn class."""
    broker: str = ""
    """host:port of an MQTT broker without password; empty: one of our own."""
    min_faces: int | None = None
    """None: the daemon's default."""
    seconds: float = 0.0
    """End after this time; 0: run until Ctrl-C."""
    fresh: bool = False
    """Begin with an empty store; else the one of the last demonstration goes on."""

    @property
    def host(self) -> str:
        """Of the broker."""
        return self.broker.rpartition(":")[0]

    @property
    def port(self) -> int:
        """Of the broker."""
        return int(self.broker.rpartition(":")[2])


def read(environment: Mapping[str, str]) -> Options:
    """The options in `environment`.

    Raises:
        OptionError: If a value is not what it should be; what CAMERA may be the daemon knows best.
    """
    values = {name: environment.get(name, "").strip() for name in _NAMES}
    host, _, port = values["BROKER"].rpartition(":")
    if values["BROKER"] and not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise OptionError(f"BROKER={values['BROKER']} is not host:port, such as localhost:1883")
    for name in ("MIN_FACES", "SECONDS"):
        if values[name] and not values[name].isdecimal():
            raise OptionError(f"{name}={values[name]} is not a whole number")
    if values["FRESH"] not in {"", "0", "1"}:
        raise OptionError(f"FRESH={values['FRESH']} is neither 0 nor 1")
    return Options(
        camera=values["CAMERA"],
        broker=values["BROKER"],
        min_faces=int(values["MIN_FACES"]) if values["MIN_FACES"] else None,
        seconds=float(values["SECONDS"] or 0),
        fresh=values["FRESH"] == "1",
    )
