"""The state `stopped` of a daemon that cannot start: said once, if the broker can be reached, and that is all."""

import logging
import tomllib
from pathlib import Path

from edge.config import EdgeConfig
from edge.uplink.publisher import BrokerError, say_once
from service.config import ConfigError, build

log = logging.getLogger(__name__)


def partly_load(path: Path) -> EdgeConfig | None:
    """What a faulty configuration says of device and broker; None if not even that can be used."""
    try:
        table = tomllib.loads(path.read_text())
        usable = {key: value for key, value in table.items() if key in ("device", "mqtt", "credentials")}
        return build(usable | {"camera": {"source": "pi"}}, EdgeConfig)
    except (OSError, ValueError):
        return None


def say_stopped(config: EdgeConfig, state: bytes) -> None:
    """Publish the retained state and leave; a broker that cannot be reached is only logged."""
    try:
        say_once(config, state)
    except (BrokerError, ConfigError) as error:
        log.warning("nobody is told: %s", error)
