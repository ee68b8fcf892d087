"""classpulse-train: fit a network on labelled faces, evaluate one, let one teach another, or average some.

classpulse-train fit --data PATH --out runs/mine           train; the same command goes on after an interruption
classpulse-train evaluate runs/mine/model.keras --data PATH --out runs/mine/evaluation
classpulse-train soften runs/big/model.keras --data PATH --out runs/soft.npz
"""

import argparse
import importlib
import logging
import os
import sys

from service.config import ConfigError
from train.data import DatasetError
from train.origin import ModelError, TrainingError

COMMANDS = ("fit", "evaluate", "soften", "average")
EXPECTED = (ConfigError, DatasetError, ModelError, OSError, TrainingError)
"""What a user can act on; everything else is a fault of ours and ends with a traceback."""


def main() -> int:
    """Run one command; 1 and one line on standard error if the data or the run is at fault."""
    # before TensorFlow is imported, or it writes pages to standard error
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("absl").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(
        prog="classpulse-train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS)
    command = parser.parse_args(sys.argv[1:2]).command
    # keras takes seconds to import: help and a mistyped command need not wait for it
    try:
        module = importlib.import_module(f"train.{command}")
    except ModuleNotFoundError as error:
        where = "`make .venv-train/.ready` makes an environment with it"
        print(f"classpulse-train: {error.name} is not installed here: {where}", file=sys.stderr)
        return 1
    own = argparse.ArgumentParser(prog=f"classpulse-train {command}")
    module.configure(own)
    try:
        status: int = module.run(own.parse_args(sys.argv[2:]))
    except EXPECTED as error:
        print(f"{own.prog}: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
