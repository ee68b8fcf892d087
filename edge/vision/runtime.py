"""The TFLite interpreter of the package installed: the only importer of tflite_runtime and ai_edge_litert."""

# ruff: noqa: D102  the interpreter's methods are described by its own packages

import importlib
import importlib.util
import sys
from typing import Any, Protocol

import numpy as np

from edge.config import RuntimeConfig

PACKAGES = ("tflite_runtime", "ai_edge_litert")


class RuntimeMissingError(RuntimeError):
    """No interpreter to use; the text says what to install or to set."""


class Interpreter(Protocol):
    """What both packages' interpreters share."""

    def allocate_tensors(self) -> None: ...
    def get_input_details(self) -> list[dict[str, Any]]: ...
    def get_output_details(self) -> list[dict[str, Any]]: ...
    def set_tensor(self, tensor_index: int, value: np.ndarray) -> None: ...
    def get_tensor(self, tensor_index: int) -> np.ndarray: ...
    def resize_tensor_input(self, input_index: int, tensor_size: list[int]) -> None: ...
    def invoke(self) -> None: ...


def installed() -> tuple[str, ...]:
    """The packages of PACKAGES that can be imported here."""
    return tuple(name for name in PACKAGES if importlib.util.find_spec(name) is not None)


def choose(named: str, found: tuple[str, ...], *, bits: int) -> str:
    """The package to use: the one named, or the only one found.

    Args:
        named: `[runtime] package`, empty for none.
        found: As `installed` gives it.
        bits: Of this Python's addresses, 32 or 64.

    Raises:
        RuntimeMissingError: If it is not there, or the choice is left open.
    """
    if bits == 32:
        raise RuntimeMissingError(
            "this is a 32-bit Python, and neither TFLite nor OpenCV has 32-bit ARM wheels: install the 64-bit system"
        )
    if named and named not in found:
        raise RuntimeMissingError(
            f"[runtime] package = {named!r} is not installed; found: {', '.join(found) or 'none'}"
        )
    if not found:
        raise RuntimeMissingError(
            "no TFLite runtime: pip install tflite-runtime==2.14.0 (Python 3.11) or ai-edge-litert (3.11 and later)"
        )
    if not named and len(found) > 1:
        raise RuntimeMissingError(f"both {' and '.join(found)} are installed: set [runtime] package to one of them")
    return named or found[0]


def open_interpreter(model: bytes, config: RuntimeConfig) -> Interpreter:
    """An interpreter of a .tflite file's bytes, tensors not yet allocated.

    Raises:
        RuntimeMissingError: If there is no package to use.
        ValueError: If the bytes are no model.
    """
    package = choose(config.package, installed(), bits=64 if sys.maxsize > 2**32 else 32)
    module = importlib.import_module(f"{package}.interpreter")
    interpreter: Interpreter = module.Interpreter(model_content=model, num_threads=config.threads)
    return interpreter
