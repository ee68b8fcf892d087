"""Faces to probabilities, by the shipped int8 model. The model itself is asked for shape and scale."""

from pathlib import Path
from typing import Any

import numpy as np

from contract.card import INPUT_SIZE, ModelCard, ModelCardError, read_with_model
from contract.labels import EMOTIONS
from edge.config import RuntimeConfig
from edge.vision.runtime import open_interpreter

MAX_BATCH = 16
"""Faces per call, which bounds memory. Measured with either runtime: a batch of any size costs the same per face to
10 %; fitting the input to another size costs 0.02 ms, a face 1.6 ms (tflite-runtime) or 0.3 ms (ai-edge-litert)."""


class EmotionClassifier:
    """A full-int8 model whose card has been checked."""

    def __init__(self, model: Path, runtime: RuntimeConfig) -> None:
        """Load `model` and the card beside it, and classify once, so that errors show at the start.

        Raises:
            ModelCardError: If file, card and this code do not belong together.
            RuntimeMissingError: If there is no interpreter to use.
        """
        self.card: ModelCard
        self.card, data = read_with_model(model)
        try:
            self._interpreter = open_interpreter(data, runtime)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelCardError(f"{model}: the TFLite runtime cannot load it: {error}") from error
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        check_tensor(model, "input", self._input, (1, INPUT_SIZE, INPUT_SIZE, 1))
        check_tensor(model, "output", self._output, (1, len(EMOTIONS)))
        self._batch = 1
        try:
            self.probabilities(np.zeros((2, INPUT_SIZE, INPUT_SIZE), np.uint8))
        except (RuntimeError, ValueError) as error:
            raise ModelCardError(f"{model}: cannot classify two faces at once: {error}") from error

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, (n, len(EMOTIONS)) float32, rows sum to 1.

        Args:
            faces: (n, INPUT_SIZE, INPUT_SIZE) uint8, as contract.preprocess gives them; n may be 0.
        """
        if not len(faces):
            return np.empty((0, len(EMOTIONS)), np.float32)
        # of one size if possible: thirty faces in 16 and 14 would fit the input twice a frame
        batches = np.array_split(faces, -(-len(faces) // MAX_BATCH))
        return normalized(np.concatenate([self._classify(batch) for batch in batches]))

    def _classify(self, faces: np.ndarray) -> np.ndarray:
        if len(faces) != self._batch:
            shape = [len(faces), INPUT_SIZE, INPUT_SIZE, 1]
            self._interpreter.resize_tensor_input(self._input["index"], shape)
            self._interpreter.allocate_tensors()
            self._batch = len(faces)
        self._interpreter.set_tensor(self._input["index"], quantize(faces[..., None], *self._input["quantization"]))
        self._interpreter.invoke()
        scores = self._interpreter.get_tensor(self._output["index"])
        if scores.shape != (len(faces), len(EMOTIONS)):
            raise ValueError(f"{len(faces)} faces gave scores of shape {scores.shape}")
        return dequantize(scores, *self._output["quantization"])


def quantize(pixels: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Real values to the int8 a model takes: rounded, clipped, and only then cast.

    Args:
        pixels: Any shape, uint8 or float.
        scale: The input tensor's own.
        zero_point: The input tensor's own.

    Source: the LiteRT 8-bit quantization specification.
    """
    values: np.ndarray = np.clip(np.rint(pixels / np.float32(scale)) + zero_point, -128, 127)
    return values.astype(np.int8)


def dequantize(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """The real values, float32, of a model's int8: the inverse of `quantize`."""
    # widened first: int8 minus a zero point of -128 overflows
    real: np.ndarray = (values.astype(np.int32) - zero_point) * np.float32(scale)
    return real.astype(np.float32)


def normalized(scores: np.ndarray) -> np.ndarray:
    """Rows, (n, labels) float32 from 0, divided by their sums: seven values rounded to 1/256 do not quite make 1."""
    scores = np.where(scores.any(axis=1, keepdims=True), scores, 1)
    rows: np.ndarray = scores / scores.sum(axis=1, keepdims=True)
    return rows


def check_tensor(model: Path, name: str, details: dict[str, Any], wanted: tuple[int, ...]) -> None:
    """That a tensor, as the interpreter describes it, is quantized to int8 and of the `wanted` shape.

    Raises:
        ModelCardError: Naming the model, and the input or output.
    """
    shape = tuple(int(size) for size in details["shape"])
    if shape != wanted:
        raise ModelCardError(f"{model}: {name} has shape {shape}, but this code needs {wanted}")
    if details["dtype"] is not np.int8:
        raise ModelCardError(f"{model}: {name} is {np.dtype(details['dtype'])}, but this code needs int8")
    if details["quantization"][0] == 0:
        raise ModelCardError(f"{model}: {name} has no scale")
