"""The command `classpulse-convert`."""

import sys
from collections.abc import Sequence

from contract.card import ModelCardError
from convert.verify import ConversionError
from edge.vision.detector import DetectorError
from edge.vision.runtime import RuntimeMissingError
from service import cli
from train.layouts import DatasetError
from train.origin import ModelError
from train.quiet import import_keras

PROGRAM = cli.Program(
    name="classpulse-convert",
    description="""A Keras model to full int8 with its card, and the figures of what came out.

classpulse-convert MODEL.keras --data PATH                 quantise, measure, write (needs TensorFlow)
classpulse-convert verify MODEL.tflite --data PATH         measure again, in the device's environment
classpulse-convert conditions MODEL.tflite --data PATH     small, blurred, dark, turned, hidden, detected faces""",
    commands={
        "model": ("convert.conversion", "quantise a Keras model, measure and write it (the default)"),
        "verify": ("convert.verify", "measure a converted model again"),
        "conditions": ("convert.conditions", "measure it on small, blurred, dark, turned, hidden and detected faces"),
        "detector": ("convert.detector", "write the face detector for the device's runtime (needs no TensorFlow)"),
        "crop": ("convert.crop", "cut the faces out of photographs, to train on"),
        "golden": ("convert.golden", "write the samples that tests compare runtimes with"),
        "promote": ("convert.promote", "put a conversion into models/, after showing its card beside the present one"),
        "report": ("convert.report", "write a card's figures into a document"),
    },
    exit_status=dict.fromkeys(
        (ConversionError, DatasetError, DetectorError, ModelCardError, ModelError, OSError, RuntimeMissingError), 1
    ),
    default="model",
    missing="`make .venv-train/.ready` makes an environment with it",
    log_format="%(message)s",
)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    words = sys.argv[1:] if words is None else words
    if words[:1] and words[0] not in PROGRAM.commands.keys() - {"model"}:  # the others run where there is no Keras
        import_keras()
    return cli.main(PROGRAM, words)


if __name__ == "__main__":
    sys.exit(main())
