"""Exit statuses, and how a command ends when something that it needs cannot be used."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from contract.card import ModelCardError
from edge.camera.source import CameraError
from edge.lock import RunningError
from edge.vision.detector import DetectorError
from edge.vision.runtime import RuntimeMissingError
from service.config import ConfigError

EXIT_MODEL = 65
"""Model, card, detector or runtime cannot be used (sysexits' EX_DATAERR); systemd does not try again."""
EXIT_CAMERA = 74
"""The camera gives no frames (EX_IOERR); systemd tries again."""
EXIT_RUNNING = 75
"""Another process has the state folder, or it cannot be used (EX_TEMPFAIL); systemd tries again."""
EXIT_CONFIG = 78
"""The configuration cannot be used (EX_CONFIG); systemd does not try again."""
_STATUS: dict[type[Exception], int] = {
    ConfigError: EXIT_CONFIG,
    ModelCardError: EXIT_MODEL,
    DetectorError: EXIT_MODEL,
    RuntimeMissingError: EXIT_MODEL,
    CameraError: EXIT_CAMERA,
    RunningError: EXIT_RUNNING,
}


@contextmanager
def told(command: str) -> Iterator[None]:
    """Within `with`, errors that the user can act on end the process: one line on standard error, and their status."""
    try:
        yield
    except tuple(_STATUS) as error:
        print(f"classpulse-edge {command}: {error}", file=sys.stderr)
        sys.exit(_STATUS[type(error)])
