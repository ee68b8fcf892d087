"""The face detector's file for tests, which this repository does not hold."""

import os
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from contract.card import YUNET, ModelCardError, read_detector

ROOT = Path(__file__).resolve().parents[1]
_FOLDER = tempfile.TemporaryDirectory()
MISSING = "YuNet is not there: run `make models`, with CLASSPULSE_MODEL_MIRROR where there is no network"


@cache
def find_onnx() -> Path | None:
    """As it is downloaded, from CLASSPULSE_MODEL_MIRROR or `make models`."""
    folders = (os.environ.get("CLASSPULSE_MODEL_MIRROR", ""), ROOT / "models")
    return next((path for folder in folders if (path := Path(folder, YUNET)).is_file()), None)


@cache
def find() -> Path | None:
    """As the device reads it: what `make models` has made, else made now."""
    try:
        made = ROOT / "models" / "yunet.tflite"
        read_detector(made)
    except ModelCardError:
        onnx = find_onnx()
        if onnx is None or not all(map(find_spec, ("ai_edge_litert", "flatbuffers"))):
            return None
        made = Path(_FOLDER.name, made.name)
        command = (sys.executable, "-m", "convert", "detector", onnx, "--out", made.parent)
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return made
