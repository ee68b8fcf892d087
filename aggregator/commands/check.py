"""`classpulse-aggregator check`: whether the configuration can be used; with --example, what it may hold."""

import argparse

from aggregator.config import AggregatorConfig
from service.config import load
from service.reference import commented


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the command its arguments."""
    parser.add_argument("--example", action="store_true", help="print a whole configuration with every key explained")


def run(arguments: argparse.Namespace) -> int:
    """0; a configuration that cannot be used is a ConfigError."""
    if arguments.example:
        print(commented(AggregatorConfig, program="classpulse-aggregator"), end="")
        return 0
    load(arguments.config, AggregatorConfig)
    print(f"ok   config: {arguments.config}")
    return 0
