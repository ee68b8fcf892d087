"""A command line of several commands, each a module with `configure(parser)` and `run(arguments) -> exit status`."""

import argparse
import importlib
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOG_LEVELS = ("debug", "info", "warning", "error")


class UsageError(ValueError):
    """Arguments that a command cannot use, found only after they were parsed; the text says why."""


@dataclass(frozen=True, slots=True)
class Program:
    """What is typed, and what happens then."""

    name: str
    """Such as classpulse-edge."""
    description: str
    commands: Mapping[str, tuple[str, str]]
    """Command -> its module, and what it is for. Only the module of the command in use is imported."""
    exit_status: Mapping[type[Exception], int]
    """Errors that the user can act on end with one line on standard error and this status; others with a traceback."""
    config: Path | None = None
    """Default of --config; None: the commands read no configuration file."""
    default: str = ""
    """The command where none is named; "" makes it required."""
    missing: str = ""
    """What to do where a command's module needs a package that is not installed."""
    log_format: str = "%(levelname)s %(name)s: %(message)s"


def main(program: Program, words: Sequence[str] | None = None) -> int:
    """Run the command that `words` (sys.argv by default) name; its exit status."""
    words = list(sys.argv[1:] if words is None else words)
    candidates = words[:1] if program.default else words  # options may stand before a command
    named = next((word for word in candidates if word in program.commands), "")
    if not named and program.default and words[:1] not in ([], ["-h"], ["--help"]):
        named = program.default
        words.insert(0, named)
    try:
        parser = _parser(program, named)
    except ModuleNotFoundError as error:
        if not program.missing:
            raise
        print(f"{program.name}: {error.name} is not installed here: {program.missing}", file=sys.stderr)
        return 1
    arguments = parser.parse_args(words)
    logging.basicConfig(level=arguments.log_level.upper(), format=program.log_format, stream=sys.stderr)
    try:
        status: int = importlib.import_module(program.commands[arguments.command][0]).run(arguments)
    except tuple(program.exit_status) as error:
        print(f"{program.name} {arguments.command}: {error}", file=sys.stderr)
        return next(status for kind, status in program.exit_status.items() if isinstance(error, kind))
    return status


def _parser(program: Program, named: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program.name,
        description=program.description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_common(program, program.config, "info")],
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # the common options may stand before a command and behind it
    common = _common(program, argparse.SUPPRESS, argparse.SUPPRESS)
    for name, (module, purpose) in program.commands.items():
        command = commands.add_parser(
            name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.", parents=[common]
        )
        if name == named:
            importlib.import_module(module).configure(command)
    return parser


def _common(program: Program, config: Path | str | None, level: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    if program.config:
        parser.add_argument("--config", type=Path, default=config, metavar="FILE", help=f"default: {program.config}")
    parser.add_argument("--log-level", type=str.lower, default=level, choices=LOG_LEVELS)
    return parser
