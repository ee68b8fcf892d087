"""The settings of commands that need no room and no broker: detector, emotions, runtime."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from edge.config import DetectorConfig, EdgeConfig, EmotionsConfig, RuntimeConfig
from service import config

DEFAULT_PATH = Path("/etc/classpulse/edge.toml")
"""Where a device's configuration lies."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Vision:
    """The three tables of an edge.toml that pictures are read with."""

    detector: DetectorConfig = field(default_factory=DetectorConfig)
    emotions: EmotionsConfig = field(default_factory=EmotionsConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


def load_vision(path: Path) -> Vision:
    """The tables of the file; on a machine that is no device, where the default file is missing, the defaults.

    Raises:
        ConfigError: As contract.config.load.
    """
    if path == DEFAULT_PATH and not path.exists():
        log.warning("%s does not exist: using the defaults", path)
        return Vision()
    found = config.load(path, EdgeConfig)
    return Vision(found.detector, found.emotions, found.runtime)
