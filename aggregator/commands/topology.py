"""`classpulse-aggregator topology`: declare a RabbitMQ cluster's exchanges and queues."""

import argparse

from aggregator.config import AggregatorConfig
from aggregator.ingest.topology import DEAD, HASHED, STATUS
from service.config import ConfigError, load


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the command its arguments."""
    parser.add_argument(
        "--replay", action="store_true", help=f"also give the dead letters in {DEAD} to the workers again, once"
    )


def run(arguments: argparse.Namespace) -> int:
    """Declare everything; the exit code."""
    config = load(arguments.config, AggregatorConfig)
    if config.amqp is None:
        raise ConfigError(f"{arguments.config}: there is no [amqp], so there is nothing to declare")
    from aggregator.ingest.amqp import declare_topology, replay_dead_letters  # noqa: PLC0415 - pika is an extra

    declare_topology(config.amqp, config.credentials)
    print(f"declared: {HASHED} with {config.amqp.queues} queues, {STATUS}, {DEAD}")
    if arguments.replay:
        print(f"given again: {replay_dead_letters(config.amqp, config.credentials)} messages")
    return 0
