"""The pinned wheels of one role, Python and processor, so that a host needs no internet; and our own."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from release.verify import plain

GLIBC = {"3.11": 36, "3.13": 41}
"""Python -> minor version of its system's C library: Debian 12 and 13, and the Raspberry Pi OS built on them."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What wheels are for; its name is `<role>-py<version>-<processor>`."""

    role: str
    python: str
    """Such as 3.11."""
    machine: str
    """`aarch64` or `x86_64`, as `uname -m` says."""

    @staticmethod
    def from_name(name: str) -> "Platform":
        """The platform called `name`; ValueError if it is none."""
        role, python, machine = name.rsplit("-", 2)
        return Platform(role, f"{python[2]}.{python[3:]}", machine)

    @property
    def name(self) -> str:
        """Such as edge-py311-aarch64."""
        return f"{self.pins}-{self.machine}"

    @property
    def pins(self) -> str:
        """The requirement file's name without its ending."""
        return f"{self.role}-py{self.python.replace('.', '')}"

    @property
    def tags(self) -> list[str]:
        """Wheel platforms that run there, every C library from 2.17 up to its own."""
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in range(GLIBC[self.python], 16, -1)]
        return [*tags, f"manylinux2014_{self.machine}", f"linux_{self.machine}"]


def fetch(platform: Platform, pins: Path, folder: Path) -> list[Path]:
    """Download the wheels that `pins` names into `folder`, and check their hashes; the wheels of this platform."""
    with TemporaryDirectory(dir=folder) as new:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(pins)]
        command += ["--implementation", "cp", "--python-version", platform.python, "--dest", new]
        command += [part for tag in platform.tags for part in ("--platform", tag)]
        subprocess.run(command, check=True)
        return [wheel.replace(folder / wheel.name) for wheel in sorted(Path(new).glob("*.whl"))]


def build_wheel(source: Path, folder: Path) -> Path:
    """The project's own wheel, built from the checkout `source` into `folder`."""
    shutil.rmtree(source / "build", ignore_errors=True)  # setuptools would pack modules that are long gone
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("classpulse-*.whl"))


def installs(wheel: Path) -> dict[str, str]:
    """Each file that a wheel installs, below site-packages, and its SHA-256.

    Scripts and data elsewhere are left out, and so is bytecode, which the host's own Python writes.

    Raises:
        ReleaseError: If a file would be written elsewhere, or over another.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith(("/", ".pyc")) and ".data/" not in name]
        plain(names)
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names}
