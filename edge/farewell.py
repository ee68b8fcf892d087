"""The state `stopped` of a daemon that cannot start: said once, if the broker can be reached, and that is all."""

import logging
import time
import tomllib
from pathlib import Path
from queue import Empty, SimpleQueue

from contract.config import ConfigError, build
from edge.config import EdgeConfig
from edge.publisher import Acked, Down, Event, Publisher, Up

log = logging.getLogger(__name__)

_PATIENCE_S = 10.0


def partly_load(path: Path) -> EdgeConfig | None:
    """What a faulty configuration says of device and broker; None if not even that can be used."""
    try:
        table = tomllib.loads(path.read_text())
        usable = {key: value for key, value in table.items() if key in ("device", "mqtt", "credentials")}
        return build(usable | {"camera": {"source": "pi"}}, EdgeConfig, "")
    except (OSError, ValueError):
        return None


def say_stopped(config: EdgeConfig, state: bytes) -> None:
    """Publish the retained state and leave; a broker that cannot be reached is only logged."""
    events: SimpleQueue[Event] = SimpleQueue()
    try:
        publisher = Publisher(config, state, events.put)
    except ConfigError as error:
        log.warning("nobody is told: %s", error)
        return
    publisher.open()
    deadline = time.monotonic() + _PATIENCE_S
    receipt: Acked | None = None
    while True:
        try:
            event = events.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            log.warning("nobody is told: no answer from %s:%d", config.mqtt.host, config.mqtt.port)
            break
        if isinstance(event, Up):
            receipt = publisher.send("state", state, retain=True)
        if isinstance(event, Down):
            log.warning("nobody is told: %s", event.reason)
        if isinstance(event, Down) or event == receipt:
            break
    publisher.close()
