"""classpulse-convert: a Keras model to full int8 with its card, and the figures of what came out.

classpulse-convert MODEL.keras --data PATH --out models/   quantise, measure, write (needs TensorFlow)
classpulse-convert verify MODEL.tflite --data PATH         measure again, in the device's environment
classpulse-convert conditions MODEL.tflite --data PATH     small, blurred, dark, turned, hidden, detected faces
"""

import argparse
import importlib
import logging
import os
import sys

from contract.card import ModelCardError
from convert.verify import ConversionError
from edge.vision.detector import DetectorError
from edge.vision.runtime import RuntimeMissingError
from train.data import DatasetError
from train.origin import ModelError

COMMANDS = ("verify", "conditions", "golden", "report")
EXPECTED = (ConversionError, DatasetError, DetectorError, ModelCardError, ModelError, OSError, RuntimeMissingError)
"""What a user can act on; everything else is a fault of ours and ends with a traceback."""


def main() -> int:
    """Run one command; 1 and one line on standard error if the model or the data is at fault."""
    # before TensorFlow is imported, or it writes pages to standard error
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    given = sys.argv[1:]
    name = given.pop(0) if given and given[0] in COMMANDS else ""
    parser = argparse.ArgumentParser(
        prog=f"classpulse-convert {name}".rstrip(),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # only the command asked for is imported: verify and conditions run where there is no TensorFlow
    try:
        command = importlib.import_module(f"convert.{name or 'conversion'}")
    except ModuleNotFoundError as error:
        where = "`make .venv-train/.ready` makes an environment with it"
        print(f"{parser.prog}: {error.name} is not installed here: {where}", file=sys.stderr)
        return 1
    command.configure(parser)
    arguments = parser.parse_args(given)
    try:
        status: int = command.run(arguments)
    except EXPECTED as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
