"""Every extra of pyproject.toml, resolved by pip into an empty environment of each Python that we support."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = {
    "edge": ("edge",),
    "edge-litert": ("edge",),
    "aggregator": ("aggregator",),
    "cluster": ("pika", "psycopg"),
    "train": ("train", "convert"),
    "jax": ("jax", "optree"),
    "demo": ("amqtt.broker",),
    "dev": ("hypothesis", "mypy", "playwright", "pytest", "ruff"),
    "fuzz": ("atheris",),
    "fleet": ("ansible", "cryptography", "pytest"),
}
"""What each extra is for, and must let be imported with every module in it."""
COMMANDS = {"edge": "classpulse-edge", "edge-litert": "classpulse-edge", "aggregator": "classpulse-aggregator"}
IMPORT = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    if package.__name__ not in ("edge", "aggregator", "train", "convert"):
        continue
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            # apt's, and the extra `cluster`'s; `convert detector` runs where a device's runtime is
            if error.name not in ("picamera2", "libcamera", "pika", "psycopg") and module.name != "convert.detector":
                raise
"""


def test_every_extra_is_tested():
    """A new one gets its line above."""
    assert PACKAGES.keys() == PROJECT["optional-dependencies"].keys()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, as it is released."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "var", "data", "runs", "dist", "build"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(params=["3.11", "3.12", "3.13"])
def python(request: pytest.FixtureRequest) -> str:
    """Each supported Python that is here."""
    name = f"python{request.param}"
    if subprocess.run(["/bin/sh", "-c", f"{name} -m venv --help"], capture_output=True, check=False).returncode:
        pytest.skip(f"not installed: {name} with venv")
    return name


@pytest.mark.parametrize("extra", PACKAGES)
def test_an_extra_resolves_to_a_set_that_works(wheel: Path, python: str, extra: str, tmp_path: Path):
    """Pip chooses the versions, without our pins; everything of the extra can be imported and every command starts."""
    bin_folder = tmp_path / "venv" / "bin"
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True)

    run(bin_folder / "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[{extra}]")

    run(bin_folder / "python", "-c", IMPORT, *PACKAGES[extra])
    if extra in COMMANDS:
        run(bin_folder / COMMANDS[extra], "--help")
    shutil.rmtree(tmp_path / "venv")


def run(*command: str | Path) -> str:
    """Its output; a failure shows both streams."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
