"""The aggregator's settings: each declared once, with default and unit. Secrets are files in `credentials`."""

import argparse
import os
import re
from dataclasses import dataclass, field
from datetime import tzinfo
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta

import models
from contract.labels import EMOTIONS, GROUPS
from contract.topics import Room, check_id
from service.config import NonEmpty, Port, load

SIGNALS = ("faces", "unsure")
"""What is watched for changes besides the groups of labels: no group can have these names."""


WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_CLOCK = r"((?:[01]\d|2[0-3]):[0-5]\d)"
TIMETABLE = re.compile(rf"({'|'.join(WEEKDAYS)}) {_CLOCK}-{_CLOCK} ?(.{{0,80}})")
"""A line of a timetable: weekday, begin, end, name."""


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """`[mqtt]`."""

    host: Annotated[NonEmpty, Meta(examples=["localhost"])]
    """The broker's name or address."""
    port: Port = 8883
    """8883 is usual with TLS, 1883 without."""
    tls: bool = True
    """With ca.crt, and aggregator.crt and aggregator.key if present, from `credentials`."""
    username: str = ""
    """Empty: none. Its password is `credentials`/mqtt-password."""
    client_id: NonEmpty = "classpulse-aggregator"
    """Fixed, so that the broker queues for us while we are away; each aggregator of a broker needs its own."""
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    """Seconds; a connection that is silent for half as long again is given up."""
    batch: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    """Messages of one transaction at most; more than the broker's max_inflight_messages never come."""


@dataclass(frozen=True, slots=True)
class AmqpConfig:
    """`[amqp]`: devices' messages come from a RabbitMQ cluster, not from `[mqtt]`; together with `[postgresql]`."""

    hosts: Annotated[tuple[str, ...], Meta(min_length=1, examples=[("rabbit-1:5671",)])]
    """Nodes, each `host:port`; any of them will do."""
    tls: bool = True
    """With ca.crt, and aggregator.crt and aggregator.key if present, from `credentials`."""
    username: NonEmpty = "classpulse-aggregator"
    """Its password is `credentials`/amqp-password."""
    virtual_host: str = "/"
    """RabbitMQ's."""
    heartbeat_s: Annotated[int, Meta(ge=2, le=600)] = 15
    """A node that is silent for twice as long is left for another."""
    queues: Annotated[int, Meta(ge=1, le=64)] = 8
    """Quorum queues that share the devices; at least two for each worker keep all of them busy."""
    batch: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    """Messages of one transaction at most."""
    prefetch: Annotated[int, Meta(ge=1, le=10_000)] = 500
    """Messages of one queue that a worker holds unacknowledged at most."""

    def __post_init__(self) -> None:
        for host in self.hosts:
            if not re.fullmatch(r"[^\s/]+:\d{1,5}", host):
                raise ValueError(f"hosts has {host!r}, which is no host:port")


@dataclass(frozen=True, slots=True)
class PostgresqlConfig:
    """`[postgresql]`: the store is this database, not `[store]`'s file; together with `[amqp]`."""

    host: Annotated[NonEmpty, Meta(examples=["db"])]
    """A name, several with commas between (the one that can be written is used), or the folder of a socket."""
    port: Port = 5432
    """The server's."""
    database: str = "classpulse"
    """Its name; it must exist."""
    user: str = "classpulse"
    """Its password is `credentials`/postgresql-password, if that is there."""
    tls: bool = True
    """The server's certificate must be of ca.crt in `credentials` and bear `host`; a socket needs none."""


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """`[store]`."""

    path: Path = field(
        default_factory=lambda: Path(os.environ.get("STATE_DIRECTORY", "var/aggregator")) / "store.sqlite"
    )
    """systemd's StateDirectory by default."""
    retention_days: Annotated[int, Meta(ge=1, le=3660)] = 90
    """Windows, and devices that fell silent, are forgotten this many days after they were stored."""


@dataclass(frozen=True, slots=True)
class SummaryConfig:
    """`[summary]`."""

    every_s: Annotated[float, Meta(ge=0.2, le=60)] = 2.0
    """A room that changed is summarised this often at most, one that did not five times more rarely."""
    epsilon: Annotated[float, Meta(ge=0, le=100)] = 0.0
    """`[publish] epsilon` of devices with a `span_s` of 20, whose noise makes intervals wider; 0: they add none."""


@dataclass(frozen=True, slots=True)
class AttentionConfig:
    """`[attention]`: which changes of a class become an event (benchmarks/attention.py shows what the figures do)."""

    enabled: bool = True
    """false: no events."""
    smooth_s: Annotated[float, Meta(ge=10, le=3600)] = 30.0
    """Windows that are closer together count as one look at the class: people keep an expression for a while."""
    settle_s: Annotated[float, Meta(ge=30, le=3600)] = 90.0
    """So much of a lesson, or of the time since the last event, has to be known before a change."""
    least_change: Annotated[float, Meta(ge=0.01, le=1)] = 0.10
    """A smaller change of a share is none."""
    deviations: Annotated[float, Meta(ge=0.5, le=20)] = 4.0
    """How clear a change has to be, in standard deviations of the difference of two means; early, 0.8 of it."""
    lasts_s: Annotated[float, Meta(ge=0, le=3600)] = 90.0
    """A change has to last for so long."""


@dataclass(frozen=True, slots=True)
class PageConfig:
    """`[page]`: what `classpulse-aggregator page` serves, and to whom."""

    host: str = "127.0.0.1"
    """Anything else needs a users file."""
    port: Port = 8080
    """Where browsers find the page."""
    users: Path = field(
        default_factory=lambda: Path(os.environ.get("STATE_DIRECTORY", "var/aggregator")) / "users.json"
    )
    """Made by `classpulse-aggregator user add`; once it is there nobody sees anything without it."""
    certificate: Path | None = None
    """With `key`, a PEM file with its chain: the page speaks HTTPS."""
    key: Path | None = None
    """Without a passphrase; readable for the page's user alone."""
    https_proxy: bool = False
    """A proxy that speaks HTTPS is in front: nobody gets in without it, and cookies travel by HTTPS only."""
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Addresses or networks of that proxy; only there `X-Forwarded-For` and `X-Forwarded-Proto` are believed."""
    path: Annotated[str, Meta(pattern="^(/[a-zA-Z0-9._~-]+)*$", examples=["/classpulse"])] = ""
    """Where a proxy in front has the page, such as /classpulse; empty: at the root."""

    def __post_init__(self) -> None:
        for proxy in self.proxies:
            try:
                ip_network(proxy)
            except ValueError as error:
                raise ValueError(f"proxies has {proxy!r}, which is no address or network: {error}") from None
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: one of them is missing")

    @property
    def audit(self) -> Path:
        """The folder that tells who ordered what at the page."""
        return self.users.with_name("audit")

    @property
    def https(self) -> bool:
        """Whether browsers come by HTTPS."""
        return self.certificate is not None or self.https_proxy


@dataclass(frozen=True, slots=True)
class LessonsConfig:
    """`[lessons]`: when lessons begin and end, beside pauses of ten minutes and the page's buttons; by `site/room`."""

    timetable: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Lessons of every week: "north/r101" = ["Mon 08:00-08:45 Physics 7b"]; what follows the times is the name."""
    calendar: dict[str, str] = field(default_factory=dict)
    """An iCalendar file, or its http or https address, read again every quarter of an hour."""

    def __post_init__(self) -> None:
        for room in (*self.timetable, *self.calendar):
            site, _, name = room.partition("/")
            Room(site, name)
        for room, lessons in self.timetable.items():
            for lesson in lessons:
                if not TIMETABLE.fullmatch(lesson):
                    raise ValueError(f"timetable of {room}: {lesson!r} is none like 'Mon 08:00-08:45 Physics 7b'")


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """`[metrics]`: figures for Prometheus; there is no password, so let nobody but Prometheus reach them."""

    host: str = "127.0.0.1"
    """The address that listens."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """0: none; 9464 is usual."""


@dataclass(frozen=True, slots=True)
class HomeAssistantConfig:
    """`[home_assistant]`: rooms as devices of Home Assistant; the broker must let us write below `prefix`."""

    enabled: bool = False
    """Announce each room."""
    prefix: str = "homeassistant"
    """First level of the topics, as Home Assistant is set up."""


@dataclass(frozen=True, slots=True)
class AggregatorConfig:
    """The whole file."""

    site: Annotated[str, Meta(examples=["school"])]
    """The site whose `aggregator/state` topic tells of this process."""
    mqtt: MqttConfig
    amqp: AmqpConfig | None = None
    postgresql: PostgresqlConfig | None = None
    store: StoreConfig = field(default_factory=StoreConfig)
    summary: SummaryConfig = field(default_factory=SummaryConfig)
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    page: PageConfig = field(default_factory=PageConfig)
    lessons: LessonsConfig = field(default_factory=LessonsConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    home_assistant: HomeAssistantConfig = field(default_factory=HomeAssistantConfig)
    time_zone: str = ""
    """Of all times on the page and in reports, such as Europe/Berlin; empty: this machine's."""
    groups: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(GROUPS))
    """`[groups]`: how the seven labels are grouped on the page, such as pleasant = ["happy", "surprise"]."""
    models_dir: Path = models.FOLDER
    """Model cards are looked for here, by the hash that messages carry."""
    credentials: Path = field(default_factory=lambda: Path(os.environ.get("CREDENTIALS_DIRECTORY", "/etc/classpulse")))
    """Folder of ca.crt, aggregator.crt, aggregator.key and the files *-password; systemd's credentials by default."""

    def __post_init__(self) -> None:
        check_id("site", self.site)
        try:
            _ = self.zone
        except (ValueError, OSError):
            raise ValueError(f"time_zone = {self.time_zone!r} is none like Europe/Berlin") from None
        grouped = [label for labels in self.groups.values() for label in labels]
        if sorted(grouped) != sorted(EMOTIONS):
            raise ValueError(f"[groups] has to have each of {', '.join(EMOTIONS)} once, but has {', '.join(grouped)}")
        for name, labels in self.groups.items():
            taken = name in SIGNALS or (name in EMOTIONS and labels != (name,))
            if taken or not labels or not re.fullmatch(r"[^\W\d_][\w -]{0,23}", name):
                raise ValueError(f"[groups] {name!r} = {list(labels)}: this name cannot be used, or it has no labels")
        if (self.amqp is None) != (self.postgresql is None):
            raise ValueError(
                "[amqp] and [postgresql] belong together: with one of them, messages would be lost or doubled"
            )
        if self.amqp is not None and self.home_assistant.enabled:
            raise ValueError("[home_assistant] needs retained messages, which a RabbitMQ cluster does not keep")

    @property
    def zone(self) -> tzinfo | None:
        """The site's time zone; None: this machine's."""
        return ZoneInfo(self.time_zone) if self.time_zone else None


def add_store(parser: argparse.ArgumentParser) -> None:
    """Give a command that reads the store the way to do so without a configuration file."""
    parser.add_argument(
        "--store", type=Path, metavar="FILE", help="read this SQLite store, without a configuration file"
    )
    parser.add_argument("--broker", metavar="HOST[:PORT]", help="one without TLS, beside --store")


def read_config(arguments: argparse.Namespace) -> AggregatorConfig:
    """What --config names, or defaults around --store.

    Raises:
        ConfigError: If the file cannot be used.
    """
    if arguments.store is None:
        return load(arguments.config, AggregatorConfig)
    host, _, port = (arguments.broker or "localhost").partition(":")
    mqtt = MqttConfig(host=host, port=int(port or 1883), tls=False)
    return AggregatorConfig(site="school", mqtt=mqtt, store=StoreConfig(path=arguments.store))
