"""Keras without what TensorFlow and JAX write to standard error about the hardware that is not there."""

import contextlib
import logging
import os


def import_keras() -> None:
    """Import Keras and its backend, if they are installed; errors are raised when they are used."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("absl", "jax._src.xla_bridge"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # absl's lines of C++ heed no variable before TensorFlow sets its log up
    shown, hidden = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(hidden, 2)
    try:
        with contextlib.suppress(ImportError):
            import keras  # noqa: F401, PLC0415
    finally:
        os.dup2(shown, 2)
        os.close(shown)
        os.close(hidden)
