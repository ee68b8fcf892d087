"""What `classpulse setup` has to know: each answer declared once, its docstring is the question. No I/O."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from contract.topics import Device
from edge.config import CameraConfig, ScheduleConfig
from service.config import NonEmpty
from service.reference import docstrings

HERE = "here"
MIN_PASSWORD = 10
"""Characters, as the page asks for."""
SECRET = ("broker_password", "page_password")
"""Never an argument of the command line, never shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The keys of an answers file; without one, what is set up today, or the default."""

    people_only: bool = True
    """Count people only, and read no expressions? In the European Union, Article 5(1)(f) of the AI Act prohibits
    inferring emotions of people in education and at work, medical and safety reasons aside. Other places have rules of
    their own: docs/privacy.md."""
    site: str = "school"
    """The school's short name, the same for all rooms: 1 to 32 of a-z, 0-9 and -"""
    room: str = "room-1"
    """The room's short name: 1 to 32 of a-z, 0-9 and -"""
    device: str = "cam-1"
    """This camera's short name; a room may have several"""
    camera: str = "pi"
    """The camera: pi (on the ribbon cable), usb:NUMBER, or file:PATH of a video or a folder of pictures"""
    time_zone: str = "UTC"
    """The time zone of the lesson hours, such as Europe/Berlin"""
    lessons: tuple[str, ...] = ()
    """Lesson hours, with commas between, such as mon-fri 08:00-12:30, sat 09:00-11:00; outside them the camera is off.
    "always": it always runs"""
    min_faces: Annotated[int, Meta(ge=1, le=1000)] = 5
    """The smallest group: a picture with fewer readable faces is withheld, for counts of few people tell about each.
    Below 5 only for a demonstration, with those filmed"""
    noise: bool = False
    """Hide behind noise which expression a person brings who enters or leaves? Changes of the class are then told
    later, and small ones not at all: docs/privacy.md. Say the same on every host of a school"""
    broker: NonEmpty = HERE
    """Where counts go: "here" (this host has broker, store and page), or HOST or HOST:PORT of a broker elsewhere"""
    broker_ca: str = ""
    """The certificate authority of that broker: a file, or its text"""
    broker_username: str = ""
    """The user name at that broker; empty: site/room/camera"""
    broker_password: str = ""
    """The password at that broker; empty: as before"""
    open_broker: bool = False
    """Let cameras of other rooms send their counts here? The broker then listens on the network, with TLS"""
    others: tuple[str, ...] = ()
    """These cameras, each site/room/camera, with commas between"""
    open_page: bool = True
    """Show the page to other machines on the network? With HTTPS and a password; otherwise to this host only"""
    page_user: str = "teacher"
    """Who may open the page: a user name"""
    page_password: str = ""
    """That user's password, at least 10 characters; empty: as before"""

    def __post_init__(self) -> None:
        Device(self.site, self.room, self.device)
        CameraConfig(self.camera)
        ScheduleConfig(self.time_zone, self.lessons)
        for other in self.others:
            if other.count("/") != 2:
                raise ValueError(f"others has {other!r}, which is not site/room/camera")
            Device(*other.split("/"))
        if self.broker != HERE and not self.broker_ca:
            raise ValueError(f"broker = {self.broker!r} needs broker_ca: without TLS anybody could read the password")
        if self.page_password and len(self.page_password) < MIN_PASSWORD:
            raise ValueError(
                f"page_password has {len(self.page_password)} characters, at least {MIN_PASSWORD} are needed"
            )

    @property
    def where(self) -> Device:
        """The camera's place."""
        return Device(self.site, self.room, self.device)

    @property
    def is_hub(self) -> bool:
        """Whether broker, store and page are here."""
        return self.broker == HERE

    @property
    def authority(self) -> str:
        """The text of `broker_ca`.

        Raises:
            ValueError: If it names a file that cannot be read.
        """
        if not self.broker_ca or self.broker_ca.startswith("-----BEGIN"):
            return self.broker_ca
        try:
            text = Path(self.broker_ca).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"broker_ca = {self.broker_ca!r}: {getattr(error, 'strerror', error)}") from error
        if "-----BEGIN CERTIFICATE" not in text:
            raise ValueError(f"broker_ca = {self.broker_ca!r} is no PEM certificate")
        return text


NAMES = tuple(field.name for field in fields(Answers))
KINDS: dict[str, type] = {field.name: type(field.default) for field in fields(Answers)}


def question(name: str) -> str:
    """The answer's docstring, on one line."""
    return docstrings(Answers)[name]


def parse(name: str, text: str) -> Any:
    """A typed answer as the value of its type.

    Raises:
        ValueError: If it is none.
    """
    text, kind = text.strip(), KINDS[name]
    if kind is bool:
        if text.lower() not in ("y", "yes", "true", "n", "no", "false"):
            raise ValueError(f"{text!r} is neither yes nor no")
        return text.lower() in ("y", "yes", "true")
    if kind is int:
        if not text.isdecimal():
            raise ValueError(f"{text!r} is no whole number")
        return int(text)
    if kind is tuple:
        return () if text == "always" else tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def shown(name: str, value: Any) -> str:
    """An answer as a person would type it."""
    if name in SECRET:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value) or ("always" if name == "lessons" else "")
    return str(value)
