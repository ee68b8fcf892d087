"""The choice of the TFLite package: the faster one that works, or the one that is named."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from edge.config import RuntimeConfig
from edge.vision.runtime import PACKAGES, RuntimeMissingError, choose, fault, installed, open_interpreter


def works(package: str) -> str:
    """No fault."""
    return ""


def crashes(package: str) -> str:
    """As an illegal instruction ends a process."""
    return "crashes here (signal 4)"


def unasked(package: str) -> str:
    """For where there is nothing to choose: a start is not made longer."""
    raise AssertionError(package)


ROOT = Path(__file__).parents[2]
STOPPED_AT_THE_FORK = """
import os, signal, sys
from edge.vision import runtime

signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
runtime.fault("json")
"""


@pytest.fixture
def fake_package(tmp_path, monkeypatch):
    """`fake_package(name, code)`: a package whose module `interpreter` is this code."""
    monkeypatch.syspath_prepend(str(tmp_path))

    names = []

    def forget(name: str) -> None:
        for module in [module for module in sys.modules if module.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)

    def write(name: str, code: str) -> str:
        names.append(name)
        forget(name)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "interpreter.py").write_text(code)
        return name

    yield write
    for name in names:
        for module in (name, f"{name}.interpreter"):
            sys.modules.pop(module, None)


@pytest.mark.parametrize("named", ["", "auto"])
def test_the_only_package_installed_is_used_untried(named):
    """With one there is nothing to choose."""
    assert choose(named, ("tflite_runtime",), unasked) == "tflite_runtime"


def test_the_package_named_is_used_untried():
    """Where both are installed the configuration decides."""
    assert choose("tflite_runtime", PACKAGES, unasked) == "tflite_runtime"


def test_of_two_that_work_the_faster_is_used():
    """ai-edge-litert takes a half of the time."""
    assert choose("auto", PACKAGES, works) == "ai_edge_litert"


def test_one_that_crashes_is_left_out_and_told(caplog):
    """A daemon that systemd starts again and again counts nothing."""
    caplog.set_level(logging.WARNING)

    assert choose("auto", PACKAGES, crashes) == "tflite_runtime"
    assert "ai_edge_litert crashes here (signal 4)" in caplog.text


def test_a_package_that_crashes_ends_only_the_child(fake_package):
    """As the wheels of ai-edge-litert 2.2 do on aarch64 under qemu, in allocate_tensors."""
    code = """
import os
class Interpreter:
    def __init__(self, **_): pass
    def allocate_tensors(self): os.kill(os.getpid(), 9)
"""
    assert fault(fake_package("crashing", code), b"a model") == "crashes here (signal 9)"


def test_a_package_that_cannot_be_imported_has_a_fault(fake_package):
    """Such as tflite-runtime beside numpy 2."""
    assert (
        fault(fake_package("broken", "raise AttributeError('_ARRAY_API not found')"))
        == "cannot be loaded: _ARRAY_API not found"
    )


def test_a_model_that_cannot_be_loaded_is_not_the_packages_fault(fake_package):
    """Whoever opens it tells, with the file's name."""
    code = """
class Interpreter:
    def __init__(self, **_): raise ValueError("no flatbuffer")
"""
    assert fault(fake_package("strict", code), b"no model") == ""


def test_a_package_is_tried_once(fake_package, tmp_path):
    """The second network's start is not made longer."""
    code = f"""
class Interpreter:
    def __init__(self, **_): open({str(tmp_path / "tries")!r}, "a").write("x"); raise ValueError
"""
    package = fake_package("counted", code)

    assert (fault(package, b"1"), fault(package, b"2")) == ("", "")
    assert (tmp_path / "tries").read_text() == "x"


def test_a_signal_that_comes_while_a_package_is_tried_ends_the_daemon():
    """Python ignores what is raised in the functions that it runs around a fork: the stop would wait for SIGKILL."""
    ended = subprocess.run([sys.executable, "-c", STOPPED_AT_THE_FORK], cwd=ROOT, check=False)

    assert ended.returncode == 7


def test_by_default_there_is_a_thread_per_core_and_four_at_most():
    """What `threads = 0` means here."""
    assert 1 <= RuntimeConfig().thread_count <= 4
    assert RuntimeConfig(threads=3).thread_count == 3


def test_a_package_named_and_not_installed_is_an_error_even_if_the_other_is():
    """A named runtime that is missing is never replaced by another one."""
    with pytest.raises(RuntimeMissingError, match="'tflite_runtime' is not installed; found: ai_edge_litert"):
        choose("tflite_runtime", ("ai_edge_litert",), works)


def test_no_package_is_an_error_that_says_what_to_install():
    """Both packages are told, and the Python that they need."""
    with pytest.raises(
        RuntimeMissingError, match=r"found: none; pip install ai-edge-litert.*tflite-runtime==2\.14\.0.*64-bit"
    ):
        choose("auto", (), works)


def test_a_package_that_cannot_be_loaded_is_an_error_and_no_traceback(fake_package):
    """Such as tflite-runtime beside numpy 2: `check` and the state name the package."""
    fake_package("ai_edge_litert", "raise AttributeError('_ARRAY_API not found')")

    with pytest.raises(RuntimeMissingError, match="ai_edge_litert is installed but cannot be loaded: _ARRAY_API"):
        open_interpreter(b"", RuntimeConfig(package="ai_edge_litert"))


@pytest.mark.parametrize("package", installed())
def test_each_package_installed_here_works(brightness_model: Path, package):
    """It passes the trial and reads a model's bytes."""
    data = brightness_model.read_bytes()

    interpreter = open_interpreter(data, RuntimeConfig(package=package))
    interpreter.allocate_tensors()

    assert fault(package, data) == ""
    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 48, 48, 1]
