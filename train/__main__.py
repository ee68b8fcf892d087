"""classpulse-train: fit a network on labelled faces, evaluate one."""

import argparse
import logging
import sys
from pathlib import Path


def main() -> int:
    """Run one subcommand; 1 and one line on standard error if the data or the run is at fault."""
    from train.data import DatasetError
    from train.fit import Hyperparameters, TrainingError, fit

    parser = argparse.ArgumentParser(prog="classpulse-train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fitting = commands.add_parser("fit")
    fitting.add_argument("--data", type=Path, required=True)
    fitting.add_argument("--out", type=Path, required=True)
    fitting.add_argument("--architecture", default="compact")
    fitting.add_argument("--epochs", type=int, default=60)
    fitting.add_argument("--votes", type=Path)
    fitting.add_argument("--soft", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        fit(
            Hyperparameters(architecture=arguments.architecture, epochs=arguments.epochs),
            arguments.data,
            arguments.out,
            arguments.votes,
            arguments.soft,
        )
    except (DatasetError, TrainingError) as error:
        print(f"classpulse-train: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
