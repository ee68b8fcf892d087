"""The choice of the TFLite package: never a guess, never a fallback."""

import importlib.util

import pytest

from edge.config import RuntimeConfig
from edge.vision.runtime import PACKAGES, RuntimeMissingError, choose, installed, open_interpreter


def test_the_only_package_installed_is_used():
    """With one there is nothing to choose."""
    assert choose("", ("ai_edge_litert",)) == "ai_edge_litert"


def test_the_package_named_is_used():
    """Where both are installed the configuration decides."""
    assert choose("ai_edge_litert", PACKAGES) == "ai_edge_litert"


def test_two_packages_and_none_named_is_an_error_that_names_the_key():
    """Their answers differ in one face of a hundred, so the choice is not left to chance."""
    with pytest.raises(RuntimeMissingError, match=r"both tflite_runtime and ai_edge_litert.*\[runtime\] package"):
        choose("", PACKAGES)


def test_a_package_named_and_not_installed_is_an_error_even_if_the_other_is():
    """A named runtime that is missing is never replaced by another one."""
    with pytest.raises(RuntimeMissingError, match="'tflite_runtime' is not installed; found: ai_edge_litert"):
        choose("tflite_runtime", ("ai_edge_litert",))


def test_no_package_is_an_error_that_says_what_to_install():
    """Both packages are told, and the Python that they need."""
    with pytest.raises(RuntimeMissingError, match=r"pip install tflite-runtime==2\.14\.0.*ai-edge-litert.*64-bit"):
        choose("", ())


def test_a_package_that_cannot_be_loaded_is_an_error_and_no_traceback(tmp_path, monkeypatch):
    """Such as tflite-runtime beside numpy 2: `check` and the state name the package."""
    (tmp_path / "ai_edge_litert").mkdir()
    (tmp_path / "ai_edge_litert" / "__init__.py").touch()
    (tmp_path / "ai_edge_litert" / "interpreter.py").write_text("raise AttributeError('_ARRAY_API not found')")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(RuntimeMissingError, match="ai_edge_litert is installed but cannot be loaded: _ARRAY_API"):
        open_interpreter(b"", RuntimeConfig(package="ai_edge_litert"))


def test_what_is_installed_here_opens_a_model(brightness_model):
    """The package found can be imported and reads a model's bytes."""
    found = installed()
    assert all(importlib.util.find_spec(name) for name in found)

    interpreter = open_interpreter(brightness_model.read_bytes(), RuntimeConfig(package=found[0]))
    interpreter.allocate_tensors()

    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 48, 48, 1]
