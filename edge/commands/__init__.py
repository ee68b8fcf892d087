"""What people run beside the daemon: check, annotate, preview, bench.

Each module has `configure` (its arguments) and `run` (its exit status); `faces` draws for two of them. May import
everything of edge but the daemon, and release.verify; no command imports another.
"""

import logging
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from contract.topics import Device
from edge.config import DEFAULT_PATH, CameraConfig, EdgeConfig, MqttConfig
from service.config import load

log = logging.getLogger(__name__)


def load_or_default(path: Path, camera: str | None = None) -> EdgeConfig:
    """The file's settings; on a machine that is no device, where the default file is missing, the defaults.

    Args:
        path: As `--config` says.
        camera: Takes the place of the source in the file.

    Raises:
        ConfigError: As `service.config.load`.
    """
    if path != DEFAULT_PATH or path.exists():
        config = load(path, EdgeConfig)
        return replace(config, camera=replace(config.camera, source=camera)) if camera else config
    log.warning("%s does not exist: using the defaults", path)
    return EdgeConfig(
        device=Device("site", "room", "device"),
        camera=CameraConfig(source=camera or "pi"),
        mqtt=MqttConfig(host="localhost"),
        state=Path(tempfile.gettempdir(), f"classpulse-{os.getuid()}"),
    )
