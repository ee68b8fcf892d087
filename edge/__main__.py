"""The command `classpulse-edge`."""

import argparse
import importlib
import logging
import sys
from pathlib import Path

from edge.vision.settings import DEFAULT_PATH

COMMANDS = {
    "run": ("edge.daemon", "count until told to stop"),
    "check": ("edge.commands.check", "try everything that a lesson needs"),
    "annotate": ("edge.commands.annotate", "draw what is found in pictures that you name"),
    "preview": ("edge.commands.preview", "show the live picture on this machine, to aim the camera"),
    "bench": ("edge.commands.bench", "measure the stages on this machine"),
}
"""Command -> the module with its `configure` and `run`, and what it is for."""


def main(arguments: list[str] | None = None) -> int:
    """The exit status of one command."""
    arguments = sys.argv[1:] if arguments is None else arguments
    common = _common(argparse.SUPPRESS, argparse.SUPPRESS)
    parser = argparse.ArgumentParser(
        prog="classpulse-edge", description=__doc__, parents=[_common(DEFAULT_PATH, "info")]
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, parents=[common])
        if name in arguments:  # the others need not be loaded
            importlib.import_module(module).configure(command)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=chosen.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    status: int = importlib.import_module(COMMANDS[chosen.command][0]).run(chosen)
    return status


def _common(path: Path | str, level: str) -> argparse.ArgumentParser:
    """The options of every command; they may stand before it or behind it."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config", type=Path, default=path, metavar="PATH", help=f"default: {DEFAULT_PATH}")
    parser.add_argument("--log-level", default=level, choices=("debug", "info", "warning", "error"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
