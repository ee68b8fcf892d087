"""The TFLite interpreter of the package installed: the only importer of ai_edge_litert and tflite_runtime."""

import importlib
import importlib.util
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from edge.config import RuntimeConfig

log = logging.getLogger(__name__)

PACKAGES = ("ai_edge_litert", "tflite_runtime")
"""The faster first."""
_PROBE_S = 60.0
"""A package that takes longer to load a model than this is not used."""
_faults: dict[str, str] = {}
"""What `fault` found, by package: each is tried once per process."""


class RuntimeMissingError(ImportError):
    """No interpreter that can be used; the text says what to install or to set."""


def installed() -> tuple[str, ...]:
    """The packages of PACKAGES that are installed here."""
    return tuple(name for name in PACKAGES if importlib.util.find_spec(name) is not None)


def choose(named: str, found: tuple[str, ...], fault: Callable[[str], str]) -> str:
    """The package to use: the one named, or the first of those found that works.

    Args:
        named: `[runtime] package`.
        found: As `installed` gives it.
        fault: Why a package cannot be used, "" if it can; called only where there is another one.

    Raises:
        RuntimeMissingError: If it is not there.
    """
    usable = [package for package in found if named in ("", "auto", package)]
    if not usable:
        raise RuntimeMissingError(
            f"[runtime] package = {named!r} is not installed; found: {', '.join(found) or 'none'}; pip install "
            "ai-edge-litert, or tflite-runtime==2.14.0 (Python 3.11); both need a 64-bit system"
        )
    for package in usable[:-1]:
        if not (why := fault(package)):
            return package
        log.warning("%s %s: the next package is tried", package, why)
    return usable[-1]


def fault(package: str, model: bytes = b"") -> str:
    """Why `package` cannot run `model`, a .tflite file (b"" is only an import); "" if it can.

    It is tried in a child process: a package whose machine code this processor does not know crashes whoever loads it.
    """
    if package not in _faults:
        context = multiprocessing.get_context("fork")
        causes = context.SimpleQueue()
        child = context.Process(target=_try, args=(package, model, causes), daemon=True)
        # an exit that a signal asks for is lost in what Python runs around a fork
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
        child.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        child.join(_PROBE_S)
        status = child.exitcode
        child.kill()
        cause = "" if causes.empty() else f": {causes.get()}"
        _faults[package] = {0: "", 1: f"cannot be loaded{cause}", None: f"did not load a model in {_PROBE_S:g} s"}.get(
            status, f"crashes here (signal {-(status or 0)})"
        )
    return _faults[package]


def open_interpreter(model: bytes, config: RuntimeConfig) -> Any:
    """The package's own Interpreter of a .tflite file's bytes, tensors not yet allocated; both share one interface.

    Raises:
        RuntimeMissingError: If there is no package to use.
        ValueError: If the bytes are no model.
    """
    package = choose(config.package, installed(), partial(fault, model=model))
    try:
        module = importlib.import_module(f"{package}.interpreter")
    except (ImportError, AttributeError, OSError) as error:  # such as tflite-runtime beside numpy 2
        raise RuntimeMissingError(f"{package} is installed but cannot be loaded: {error}") from error
    return module.Interpreter(model_content=model, num_threads=config.thread_count)


def _try(package: str, model: bytes, causes: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # numpy prints a traceback where a package does not fit it
    try:
        interpreter = importlib.import_module(f"{package}.interpreter").Interpreter
    except (ImportError, AttributeError, OSError) as error:
        causes.put(str(error))
        sys.exit(1)
    if model:
        try:
            trial = interpreter(model_content=model, num_threads=1)
            trial.allocate_tensors()
            trial.invoke()
        except (ValueError, RuntimeError):
            pass  # the model's fault, of which whoever opens it tells
