"""The command `classpulse-edge`."""

import os
import signal
import sys
from collections.abc import Sequence

# The imports below take a second. A pause that is ordered meanwhile waits until `run` can obey it, and ends nothing.
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1, signal.SIGUSR2))

from contract.card import ModelCardError
from edge.camera.source import CameraError
from edge.config import DEFAULT_PATH
from edge.lock import LockError
from edge.vision.detector import DetectorError
from edge.vision.runtime import RuntimeMissingError
from service import cli
from service.config import ConfigError

PROGRAM = cli.Program(
    name="classpulse-edge",
    description="Count the facial expressions that a classroom's camera sees, and publish only the counts.",
    commands={
        "run": ("edge.daemon", "count until told to stop"),
        "check": ("edge.commands.check", "try everything that a lesson needs"),
        "annotate": ("edge.commands.annotate", "draw what is found in pictures that you name"),
        "preview": ("edge.commands.preview", "show the live picture on this machine, to aim the camera"),
        "bench": ("edge.commands.bench", "measure the stages on this machine"),
    },
    exit_status={
        ConfigError: os.EX_CONFIG,
        ModelCardError: os.EX_DATAERR,
        DetectorError: os.EX_DATAERR,
        RuntimeMissingError: os.EX_DATAERR,
        CameraError: os.EX_IOERR,
        LockError: os.EX_TEMPFAIL,
    },
    config=DEFAULT_PATH,
)
"""systemd tries again after EX_IOERR and EX_TEMPFAIL, not after EX_CONFIG and EX_DATAERR."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    return cli.main(PROGRAM, words)


if __name__ == "__main__":
    sys.exit(main())
