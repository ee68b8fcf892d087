"""`classpulse-aggregator audit`: who paused and resumed cameras at the page, logged in (or not), and changed users."""

import argparse
import os
from datetime import datetime

from aggregator.config import AggregatorConfig
from aggregator.web.audit import AuditLog
from service.config import load


def configure(_parser: argparse.ArgumentParser) -> None:
    """The command has no arguments of its own."""


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each order, oldest first, in this machine's time."""
    for entry in AuditLog(load(arguments.config, AggregatorConfig).page.audit).entries():
        when = datetime.fromisoformat(entry.t).astimezone()
        words = (entry.user, entry.address, entry.action, entry.target, entry.outcome)
        print(f"{when:%Y-%m-%d %H:%M:%S}", *filter(None, words), sep="  ")
    return os.EX_OK
