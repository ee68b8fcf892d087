"""The command `classpulse-train`."""

import sys
from collections.abc import Sequence

from service import cli
from service.config import ConfigError
from train.layouts import DatasetError
from train.origin import ModelError, TrainingError
from train.quiet import import_keras

PROGRAM = cli.Program(
    name="classpulse-train",
    description="""Train a network on labelled faces, alone or by teachers, and evaluate it.

classpulse-train recipe --data PATH --out runs/mine        teachers, then a student; the same command goes on
classpulse-train fit --data PATH --out runs/mine           one network
classpulse-train evaluate runs/mine/model.keras --data PATH --out runs/mine/evaluation
classpulse-train targets runs/big/model.keras --data PATH --out runs/targets.npz""",
    commands={
        "recipe": ("train.recipe", "train teachers, then a student on what they say"),
        "fit": ("train.fit", "train a network, or go on with a run that was interrupted"),
        "evaluate": ("train.evaluate", "measure a model on the test split, with plots"),
        "targets": (
            "train.targets",
            "write models' probabilities as distillation targets, for another one to learn from",
        ),
        "average": ("train.average", "average the weights of several models"),
    },
    exit_status=dict.fromkeys((ConfigError, DatasetError, ModelError, OSError, TrainingError), 1),
    missing="`make .venv-train/.ready` makes an environment with it",
    log_format="%(asctime)s %(message)s",
)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    words = sys.argv[1:] if words is None else words
    if words[:1] and words[0] in PROGRAM.commands:  # help and a mistyped command need not wait for Keras
        import_keras()
    return cli.main(PROGRAM, words)


if __name__ == "__main__":
    sys.exit(main())
