"""Topics and identities, built and taken apart in one place. No broker here."""

import re
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

ROOT = "classpulse/1"
"""First levels of every topic; the number changes only with the topics, the payload has a schema of its own."""
DEVICE_KINDS = ("counts", "state", "health", "stored", "set")
"""Last level of a device's topics."""
IDENTITY_CHARS = 64
"""A certificate's common name holds so many (RFC 5280, ub-common-name): with TLS, longer identities have no way in."""
_ID = re.compile(r"[a-z0-9-]{1,32}")


class TopicError(ValueError):
    """A topic or an id that is none of ours; the text names it."""


def check_id(name: str, value: str) -> str:
    """`value` if it is a legal id, or TopicError naming `name` and the value."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise TopicError(f"{name} = {value!r} is not 1 to 32 of a-z, 0-9 and -")
    return value


@dataclass(frozen=True, slots=True, order=True)
class Room:
    """One room of one site."""

    site: str
    room: str

    def __post_init__(self) -> None:
        check_id("site", self.site)
        check_id("room", self.room)

    def topic(self, kind: str) -> str:
        """The aggregator's topic `kind`, "summary" or "events", of this room."""
        return f"{ROOT}/{self.site}/{self.room}/{kind}"


@dataclass(frozen=True, slots=True, order=True)
class Device:
    """One device in one room."""

    site: Annotated[str, Meta(examples=["school"])]
    """1 to 32 of a-z, 0-9 and -; the same for every room of the school."""
    room: Annotated[str, Meta(examples=["room-1"])]
    """1 to 32 of a-z, 0-9 and -."""
    device: Annotated[str, Meta(examples=["cam-1"])]
    """1 to 32 of a-z, 0-9 and -; a room may have several."""

    def __post_init__(self) -> None:
        for name in ("site", "room", "device"):
            check_id(name, getattr(self, name))

    @property
    def identity(self) -> str:
        """The common name of its certificate, and its user name: what the broker's access list is built on."""
        return f"{self.site}/{self.room}/{self.device}"

    @property
    def client_id(self) -> str:
        """Fixed and unique: a dot, which ids cannot contain, keeps `a-b, c` apart from `a, b-c` (docs/adr/0002)."""
        return f"{self.site}.{self.room}.{self.device}"

    @property
    def where(self) -> Room:
        """The room it stands in."""
        return Room(self.site, self.room)

    def topic(self, kind: str) -> str:
        """The device's topic `kind`, one of DEVICE_KINDS."""
        if kind not in DEVICE_KINDS:
            raise TopicError(f"{kind!r} is none of {', '.join(DEVICE_KINDS)}")
        return f"{ROOT}/{self.identity}/{kind}"


def aggregator_state(site: str) -> str:
    """The topic of a site's aggregator: `ready`, `stopped` or the last will `lost`, retained."""
    return f"{ROOT}/{check_id('site', site)}/aggregator/state"


def every_device(kind: str) -> str:
    """The subscription to one kind of topic of all devices."""
    return f"{ROOT}/+/+/+/{kind}"


def parse(topic: str) -> tuple[Device, str]:
    """The device and the kind of a device's topic.

    Raises:
        TopicError: If it is anything else.
    """
    levels = topic.split("/")
    if len(levels) != 6 or "/".join(levels[:2]) != ROOT or levels[5] not in DEVICE_KINDS:
        raise TopicError(f"{topic!r} is no topic of a device")
    return Device(*levels[2:5]), levels[5]
