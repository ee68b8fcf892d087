"""The command `classpulse-aggregator`."""

import argparse
import logging
import signal
import sys
from pathlib import Path

from aggregator import accounts, daemon, watch
from aggregator.config import AggregatorConfig
from aggregator.store_sqlite import StoreError
from contract.config import ConfigError, load

EX_OK, EX_IOERR, EX_CONFIG = 0, 74, 78
"""Exit codes: ended as asked; the store or a credential cannot be used; the configuration cannot (sysexits.h)."""


def main() -> int:
    """Run a command; its exit code."""
    parser = argparse.ArgumentParser(prog="classpulse-aggregator", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("/etc/classpulse/aggregator.toml"))
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("run", help="the daemon").set_defaults(run=_run)
    watching = commands.add_parser("watch", help="a live table of all rooms, in this terminal")
    watch.configure(watching)
    watching.set_defaults(run=watch.run)
    commands.add_parser("page", help="the live page, in a process of its own").set_defaults(run=_page)
    users = commands.add_parser("user", help="who may look at the page")
    accounts.configure(users)
    users.set_defaults(run=accounts.run)
    arguments = parser.parse_args()
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


def _run(arguments: argparse.Namespace) -> int:
    daemon.run(load(arguments.config, AggregatorConfig))
    return EX_OK


def _page(arguments: argparse.Namespace) -> int:
    from aggregator import page  # noqa: PLC0415 - the web framework is large, and nothing else needs it

    return page.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
