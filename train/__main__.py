"""The command `classpulse-train`."""

import logging
import os
import sys
from collections.abc import Sequence

from service import cli
from service.config import ConfigError
from train.data import DatasetError
from train.origin import ModelError, TrainingError

PROGRAM = cli.Program(
    name="classpulse-train",
    description="""Fit a network on labelled faces, evaluate one, let one teach another, or average some.

classpulse-train fit --data PATH --out runs/mine           train; the same command goes on after an interruption
classpulse-train evaluate runs/mine/model.keras --data PATH --out runs/mine/evaluation
classpulse-train soften runs/big/model.keras --data PATH --out runs/soft.npz""",
    commands={
        "fit": ("train.fit", "train a network, or go on with a run that was interrupted"),
        "evaluate": ("train.evaluate", "measure a model on the test split, with plots"),
        "soften": ("train.soften", "write a model's probabilities, for another one to learn from"),
        "average": ("train.average", "average the weights of several models"),
    },
    exit_status=dict.fromkeys((ConfigError, DatasetError, ModelError, OSError, TrainingError), 1),
    missing="`make .venv-train/.ready` makes an environment with it",
    log_format="%(asctime)s %(message)s",
)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    # before TensorFlow is imported, or it writes pages to standard error
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)
    return cli.main(PROGRAM, words)


if __name__ == "__main__":
    sys.exit(main())
