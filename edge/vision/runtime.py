"""The TFLite interpreter of the package installed: the only importer of tflite_runtime and ai_edge_litert."""

import importlib
import importlib.util
from typing import Any

from edge.config import RuntimeConfig

PACKAGES = ("tflite_runtime", "ai_edge_litert")


class RuntimeMissingError(ImportError):
    """No interpreter that can be used; the text says what to install or to set."""


def installed() -> tuple[str, ...]:
    """The packages of PACKAGES that can be imported here."""
    return tuple(name for name in PACKAGES if importlib.util.find_spec(name) is not None)


def choose(named: str, found: tuple[str, ...]) -> str:
    """The package to use: the one named, or the only one found.

    Args:
        named: `[runtime] package`, empty for none.
        found: As `installed` gives it.

    Raises:
        RuntimeMissingError: If it is not there, or the choice is left open.
    """
    if named and named not in found:
        raise RuntimeMissingError(
            f"[runtime] package = {named!r} is not installed; found: {', '.join(found) or 'none'}"
        )
    if not found:
        raise RuntimeMissingError(
            "no TFLite runtime: pip install tflite-runtime==2.14.0 (Python 3.11) or ai-edge-litert (3.11 and later); "
            "both need a 64-bit system"
        )
    if not named and len(found) > 1:
        raise RuntimeMissingError(f"both {' and '.join(found)} are installed: set [runtime] package to one of them")
    return named or found[0]


def open_interpreter(model: bytes, config: RuntimeConfig) -> Any:
    """The package's own Interpreter of a .tflite file's bytes, tensors not yet allocated; both share one interface.

    Raises:
        RuntimeMissingError: If there is no package to use.
        ValueError: If the bytes are no model.
    """
    package = choose(config.package, installed())
    try:
        module = importlib.import_module(f"{package}.interpreter")
    except (ImportError, AttributeError, OSError) as error:  # such as tflite-runtime beside numpy 2
        raise RuntimeMissingError(f"{package} is installed but cannot be loaded: {error}") from error
    return module.Interpreter(model_content=model, num_threads=config.threads)
