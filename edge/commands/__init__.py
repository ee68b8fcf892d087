"""What people run beside the daemon: check, annotate, preview, bench.

Each module has `configure` (its arguments) and `run` (its exit status). May import everything of edge but the daemon,
and release.verify; not each other, except `draw` of annotate.
"""

import logging
from pathlib import Path

from edge.config import DEFAULT_PATH, EdgeConfig, VisionConfig
from service.config import load

log = logging.getLogger(__name__)


def load_vision(path: Path) -> VisionConfig:
    """The file's settings; on a machine that is no device, where the default file is missing, the defaults.

    Raises:
        ConfigError: As `service.config.load`.
    """
    if path == DEFAULT_PATH and not path.exists():
        log.warning("%s does not exist: using the defaults", path)
        return VisionConfig()
    return load(path, EdgeConfig)
