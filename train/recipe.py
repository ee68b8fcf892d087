"""The whole recipe in one command: teachers from the labels, then one student from what the teachers say."""

import argparse
import logging
from pathlib import Path

import keras

from train.fit import Sources, add_common, fit
from train.hyperparameters import Hyperparameters, assignments, hyperparameters

log = logging.getLogger(__name__)

_TEACHERS_SHARE = 0.5
"""Of --minutes, all teachers together; as in the study that found the recipe (docs/model-log.md, i)."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `recipe`."""
    parser.description = (
        "Train teachers into OUT/teacher-1 …, then the student into OUT; the same command goes on after an "
        "interruption. Teachers want a GPU; with --targets there are none, and two CPU cores are enough."
    )
    add_common(parser)
    parser.add_argument("--targets", type=Path, help="teachers' stored probabilities of DATA, instead of teachers")
    parser.add_argument("--teachers", type=int, default=3, help="how many (default: 3)")
    parser.add_argument(
        "--teacher-set", action="append", default=[], metavar="KEY=VALUE", help="as --set, for the teachers"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train one after the other."""
    student = hyperparameters(assignments(arguments.set))
    own = {"architecture": "teacher", "bfloat16": student.bfloat16} | assignments(arguments.teacher_set)
    settings = [hyperparameters(own | {"seed": number}) for number in range(1, 1 + arguments.teachers)]
    teachers = [] if arguments.targets else [
        _teacher(number, each, arguments) for number, each in enumerate(settings, start=1)
    ]  # fmt: skip
    keras.backend.clear_session()
    sources = Sources(arguments.data, arguments.votes, arguments.targets, tuple(teachers))
    share = 1 - _TEACHERS_SHARE if teachers else 1
    print(fit(student, sources, arguments.out, arguments.minutes and share * arguments.minutes))
    return 0


def _teacher(number: int, settings: Hyperparameters, arguments: argparse.Namespace) -> Path:
    log.info("teacher %d of %d", number, arguments.teachers)
    keras.backend.clear_session()
    minutes = arguments.minutes and _TEACHERS_SHARE * arguments.minutes / arguments.teachers
    return fit(settings, Sources(arguments.data, arguments.votes), arguments.out / f"teacher-{number}", minutes)
