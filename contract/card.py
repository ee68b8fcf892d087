"""The cards of both networks: what a .tflite file cannot say of itself, and whether file and card belong together."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.labels import EMOTIONS

INPUT_SIZE = 48
"""Side of the model's square grey input in pixels, as in FER2013."""
PREPROCESSING_VERSION = 1
"""Of contract.preprocess; any change to the pixels that it gives is a new number."""

YUNET = "yunet_n_640_640.onnx"
"""The face detector as it is downloaded. Source: folder onnx/ of ShiqiYu/libfacedetection.train; Apache-2.0."""
YUNET_COMMIT = "0047ac24afb1a50a0c6105001c89d1b5b805dbf1"
YUNET_SHA256 = "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31"
DETECTOR_VERSION = 2
"""Of the .tflite file that convert.detector makes; any change of it is a new number, so that an old file is told.
One of version 1 may take 100 MB more."""


class ModelCardError(ValueError):
    """A model and a card that must not be used; the text names the file, key and value."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What edge and aggregator need of a card; `document` is the whole of it."""

    sha256: str
    """Of the .tflite file, hex."""
    unsure_below: float
    """A face whose top probability is below this is `unsure`."""
    soft_confusion: tuple[tuple[float, ...], ...]
    """(7, 7): mean probabilities, by true label (row), on the validation faces."""
    hard_confusion: tuple[tuple[float, ...], ...]
    """(7, 7): faces, by true label (row) and top label (column), on the test faces."""
    document: dict[str, Any]

    @property
    def short(self) -> str:
        """What messages carry: the first eight hex digits."""
        return self.sha256[:8]


def beside(model: Path) -> Path:
    """Where the card of a .tflite file lies."""
    return model.with_suffix(".json")


def read(path: Path) -> ModelCard:
    """Read a card and check what it says against this code.

    Raises:
        ModelCardError: If it cannot be read, lacks a key, or names other labels, shape or preprocessing than ours.
    """
    with _reading(path):
        document = json.loads(path.read_bytes())
        card = ModelCard(
            sha256=document["sha256"],
            unsure_below=float(document["unsure_below"]),
            soft_confusion=_square(document["confusion"]["soft"]),
            hard_confusion=_square(document["confusion"]["hard"]),
            document=document,
        )
        stated = (document["labels"], document["input"]["shape"], document["preprocessing"])
    if not 0 <= card.unsure_below <= 1:
        raise ModelCardError(f"{path}: unsure_below = {card.unsure_below}, not a probability")
    ours = (list(EMOTIONS), [1, INPUT_SIZE, INPUT_SIZE, 1], PREPROCESSING_VERSION)
    for key, found, wanted in zip(("labels", "input.shape", "preprocessing"), stated, ours, strict=True):
        if found != wanted:
            raise ModelCardError(f"{path}: {key} = {found}, but this code has {wanted}")
    return card


def read_with_model(model: Path) -> tuple[ModelCard, bytes]:
    """The card beside `model`, and the model's bytes, which have the card's hash.

    Raises:
        ModelCardError: If either cannot be read or the hash is another.
    """
    card = read(beside(model))
    return card, _read_checked(model, card.sha256)


def detector_card(tflite: bytes) -> dict[str, Any]:
    """The card of a face detector."""
    return {
        "model": "YuNet_n",
        "version": DETECTOR_VERSION,
        "sha256": hashlib.sha256(tflite).hexdigest(),
        "source": {"file": YUNET, "sha256": YUNET_SHA256, "commit": YUNET_COMMIT, "licence": "Apache-2.0"},
        "input": "(1, height, width, 3) float32 bgr, 0 to 255; both sides multiples of 32",
    }


def read_detector(model: Path) -> bytes:
    """The bytes of a face detector whose card, beside it, names them and this code's version.

    Raises:
        ModelCardError: If either cannot be read, or they are others.
    """
    path = beside(model)
    with _reading(path):
        document = json.loads(path.read_bytes())
        version, source, expected = document["version"], document["source"]["sha256"], document["sha256"]
    if version != DETECTOR_VERSION:
        raise ModelCardError(f"{path}: version = {version}, but this code has {DETECTOR_VERSION}")
    if source != YUNET_SHA256:
        raise ModelCardError(f"{path}: source.sha256 = {source}, but this code has {YUNET_SHA256}")
    return _read_checked(model, expected)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What goes wrong while a file is read, as a ModelCardError that names it."""
    try:
        yield
    except OSError as error:
        raise ModelCardError(f"{path}: {error.strerror}") from error
    except KeyError as error:
        raise ModelCardError(f"{path}: missing key {error.args[0]}") from error
    except (ValueError, TypeError) as error:
        raise ModelCardError(f"{path}: {error}") from error


def _read_checked(model: Path, sha256: str) -> bytes:
    with _reading(model):
        data = model.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ModelCardError(f"{model}: its SHA-256 is {found}, but its card says {sha256}")
    return data


def _square(rows: list[list[float]]) -> tuple[tuple[float, ...], ...]:
    size = len(EMOTIONS)
    if len(rows) != size or any(len(row) != size for row in rows):
        raise ValueError(f"a confusion matrix is not {size} x {size}")
    return tuple(tuple(float(value) for value in row) for row in rows)
