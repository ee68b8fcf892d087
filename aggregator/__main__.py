"""The command `classpulse-aggregator`."""

import argparse
import logging
import signal
import sys
from importlib import import_module
from pathlib import Path

from aggregator.config import AggregatorConfig
from aggregator.ingest import daemon
from aggregator.store.types import StoreError
from service.config import ConfigError, load

EX_OK, EX_IOERR, EX_CONFIG = 0, 74, 78
"""Exit codes: ended as asked; the store or a credential cannot be used; the configuration cannot (sysexits.h)."""
COMMANDS = {
    "watch": ("commands.watch", "a live table of all rooms, in this terminal"),
    "page": ("web.app", "the live page, in a process of its own"),
    "user": ("commands.accounts", "who may look at the page"),
    "report": ("commands.report", "one lesson as a page and as CSV"),
    "export": ("commands.export", "windows as Parquet"),
    "topology": ("commands.topology", "declare a RabbitMQ cluster's exchanges and queues"),
}
"""Command -> the module whose `configure` and `run` it is, and what it does. Only that module is imported: the daemon
needs neither a web framework nor Parquet."""


def main() -> int:
    """Run a command; its exit code."""
    arguments = _arguments()
    logging.basicConfig(level=arguments.log_level, format="%(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EX_OK))  # unwinds the `with` blocks
    try:
        return int(arguments.run(arguments))
    except ConfigError as error:
        print(f"classpulse-aggregator: {error}", file=sys.stderr)
        return EX_CONFIG
    except (StoreError, OSError) as error:
        print(f"classpulse-aggregator: {error}", file=sys.stderr)
        return EX_IOERR
    except KeyboardInterrupt:
        return EX_OK


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="classpulse-aggregator", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("/etc/classpulse/aggregator.toml"))
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    commands.add_parser("run", help="the daemon").set_defaults(run=_run)
    for name, (_, summary) in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    arguments, rest = parser.parse_known_args()
    if arguments.command == "run":
        return parser.parse_args()
    module, summary = COMMANDS[arguments.command]
    command = import_module(f"aggregator.{module}")
    own = argparse.ArgumentParser(prog=f"classpulse-aggregator {arguments.command}", description=summary)
    command.configure(own)
    own.set_defaults(run=command.run)
    return own.parse_args(rest, arguments)


def _run(arguments: argparse.Namespace) -> int:
    daemon.run(load(arguments.config, AggregatorConfig))
    return EX_OK


if __name__ == "__main__":
    sys.exit(main())
