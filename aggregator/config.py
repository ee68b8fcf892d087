"""The aggregator's settings: each declared once, with default and unit. Secrets are files in `credentials`."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from contract.config import in_range
from contract.topics import check_id


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """`[mqtt]`."""

    host: str
    port: int = 8883
    tls: bool = True
    """With ca.crt, and aggregator.crt and aggregator.key if present, from `credentials`."""
    username: str = ""
    """Empty: none. Its password is `credentials`/mqtt-password."""
    client_id: str = "classpulse-aggregator"
    """Fixed, so that the broker queues for us while we are away; each aggregator of a broker needs its own."""
    keepalive_s: int = 30
    batch: int = 1000
    """Messages of one transaction at most; more than the broker's max_inflight_messages never come."""

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host is empty")
        if not self.client_id:
            raise ValueError("client_id is empty")
        in_range("port", self.port, 1, 65535)
        in_range("keepalive_s", self.keepalive_s, 5, 3600)
        in_range("batch", self.batch, 1, 10_000)


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """`[store]`."""

    path: Path = field(
        default_factory=lambda: Path(os.environ.get("STATE_DIRECTORY", "var/aggregator")) / "store.sqlite"
    )
    """systemd's StateDirectory by default."""
    retention_days: int = 90
    """Windows, and devices that fell silent, are forgotten this many days after they were stored."""

    def __post_init__(self) -> None:
        in_range("retention_days", self.retention_days, 1, 3660)


@dataclass(frozen=True, slots=True)
class SummaryConfig:
    """`[summary]`."""

    every_s: float = 2.0
    """A room that changed is summarised this often at most, one that did not five times more rarely."""

    def __post_init__(self) -> None:
        in_range("every_s", self.every_s, 0.2, 60)


@dataclass(frozen=True, slots=True)
class AggregatorConfig:
    """The whole file."""

    site: str
    """The site whose `aggregator/state` topic tells of this process."""
    mqtt: MqttConfig
    store: StoreConfig = field(default_factory=StoreConfig)
    summary: SummaryConfig = field(default_factory=SummaryConfig)
    models_dir: Path = Path("models")
    """Model cards are looked for here, by the hash that messages carry."""
    credentials: Path = field(default_factory=lambda: Path(os.environ.get("CREDENTIALS_DIRECTORY", "/etc/classpulse")))
    """Folder of ca.crt, aggregator.crt, aggregator.key, mqtt-password; systemd's credentials by default."""

    def __post_init__(self) -> None:
        check_id("site", self.site)
