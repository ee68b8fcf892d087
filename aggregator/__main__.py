"""The command `classpulse-aggregator`."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from aggregator.store.types import StoreError
from service import cli
from service.config import ConfigError

PROGRAM = cli.Program(
    name="classpulse-aggregator",
    description="Turn the counts of all rooms into windows, summaries, a live page and reports.",
    commands={
        "run": ("aggregator.ingest.daemon", "the daemon: store what devices send, publish summaries"),
        "check": ("aggregator.commands.check", "read the configuration, or print an example of one"),
        "watch": ("aggregator.commands.watch", "a live table of all rooms, in this terminal"),
        "page": ("aggregator.web.app", "the live page, in a process of its own"),
        "user": ("aggregator.commands.users", "who may open the page"),
        "audit": ("aggregator.commands.audit", "who paused and resumed cameras at the page, and who logged in"),
        "report": ("aggregator.commands.report", "one lesson as a page and as CSV"),
        "export": ("aggregator.commands.export", "windows as Parquet"),
        "backup": ("aggregator.commands.backup", "copy the SQLite store while the daemon runs"),
        "topology": ("aggregator.commands.topology", "declare a RabbitMQ cluster's exchanges and queues"),
    },
    exit_status={ConfigError: os.EX_CONFIG, cli.UsageError: os.EX_USAGE, StoreError: os.EX_IOERR, OSError: os.EX_IOERR},
    config=Path("/etc/classpulse/aggregator.toml"),
)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(os.EX_OK))  # unwinds the `with` blocks
    try:
        return cli.main(PROGRAM, words)
    except KeyboardInterrupt:
        return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
