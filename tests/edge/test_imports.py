"""What the daemon loads: nothing of the trainer's, which a Pi has neither memory nor wheels for."""

import subprocess
import sys

FORBIDDEN = {
    "tensorflow",
    "keras",
    "pandas",
    "matplotlib",
    "sklearn",
    "skimage",
    "train",
    "convert",
    "aggregator",
    "demo",
}


def test_the_daemon_loads_no_trainer():
    """After `import edge.__main__` and every module of `edge`, none of them is there."""
    code = (
        "import importlib, pkgutil, sys, edge.__main__\n"
        "for module in pkgutil.walk_packages(edge.__path__, 'edge.'): importlib.import_module(module.name)\n"
        "print('\\n'.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"edge", "contract", "cv2"} <= loaded
    assert not loaded & FORBIDDEN


def test_starting_the_daemon_loads_neither_commands_nor_cameras_it_does_not_use():
    """`import edge.__main__` alone stays small: no web server, no picamera2."""
    code = "import sys, edge.__main__; print('\\n'.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    assert not {"picamera2", "http.server", "tensorflow"} & set(done.stdout.split())
