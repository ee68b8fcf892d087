"""The two commands of the README on an empty Debian 12 and 13: an ordinary user, nothing else installed."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import needs

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
SUITES = ("bookworm", "trixie")
PACKAGES = "python3-venv,make,git"
"""Those that the README names."""
HOME = "/srv/people/pupil"
CHECKOUT = f"{HOME}/classpulse"


class System:
    """A Debian in a folder, entered without booting it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = [name for name in os.environ if name.startswith("PIP_")]
        self._environment = {name: os.environ[name] for name in names if name != "PIP_CONFIG_FILE"}
        texts = [pip("config", "list"), *self._environment.values()]
        paths = {Path(each) for text in texts for each in re.findall(r"/[\w./-]+", text.replace("file://", " "))}
        # an index names files beside it
        self._packages = sorted({str(path.parent if path.is_dir() else path) for path in paths if path.exists()})

    def as_pupil(self, command: str, *, online: bool) -> str:
        """Run a shell command as an ordinary user in the checkout, and give its output.

        Without `online` there is a loopback interface and no other. The folders that this machine's pip takes packages
        from can be read in there, too.
        """
        options = [f"--bind-ro={path}" for path in self._packages] if online else ["--private-network"]
        settings = {**self._environment, "HOME": HOME, "USER": "pupil", "LANG": "C.UTF-8"}
        if mirror := os.environ.get("CLASSPULSE_MODEL_MIRROR"):
            options.append(f"--bind-ro={mirror}")
            settings["CLASSPULSE_MODEL_MIRROR"] = mirror
        nspawn = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--user=pupil"]
        done = subprocess.run(
            [*nspawn, f"--directory={self.folder}", f"--chdir={CHECKOUT}", *options,
             *(f"--setenv={name}={value}" for name, value in settings.items()),
             "/bin/sh", "-c", f"umask 077; {command}"],
            capture_output=True, text=True, check=False, timeout=1500, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout[-8000:]}\n{done.stderr[-4000:]}"
        return done.stdout


def pip(*arguments: str) -> str:
    """What this machine's pip says."""
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextmanager
def system(suite: str) -> Iterator[System]:
    """The suite with a clone of this checkout's last commit in a home that is not below /home."""
    with tempfile.TemporaryDirectory(prefix="classpulse-bare-", dir="/var/tmp") as name:
        folder = Path(name, suite)
        mirror = filter(None, [os.environ.get("LAB_DEBIAN_MIRROR")])
        run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", suite, folder, *mirror)
        run("chroot", folder, "useradd", "--create-home", "--base-dir", Path(HOME).parent, "pupil")
        run("git", "clone", "--quiet", "--no-hardlinks", ROOT, folder / CHECKOUT.lstrip("/"))
        run("chroot", folder, "chown", "-R", "pupil:", CHECKOUT)
        (folder / "etc/pip.conf").write_text(pip_settings())
        for each in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"):
            (folder / each.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (folder / each.lstrip("/")).write_bytes(Path(each).read_bytes())
        yield System(folder)


def visit(suite: str) -> tuple[str, str]:
    """What the two commands print; environments are made with the network, the commands themselves need none."""
    with system(suite) as debian:
        debian.as_pupil("make .venv-demo/.ready", online=True)
        shown = debian.as_pupil("make run SECONDS=20", online=False)
        debian.as_pupil("make .venv/.ready", online=True)
        return shown, debian.as_pupil("make test", online=False)


@pytest.fixture(scope="module")
def visits() -> Iterator[dict[str, Future[tuple[str, str]]]]:
    """Of both suites, at the same time."""
    needs.need("systemd-nspawn", "mmdebstrap")
    if os.geteuid() != 0:
        pytest.skip("a Debian in a folder needs root")
    with ThreadPoolExecutor() as pool:
        yield {suite: pool.submit(visit, suite) for suite in SUITES}


def pip_settings() -> str:
    """What the files say that this machine's pip reads, as one file."""
    found = re.findall(r"^global\.(.+?)='(.*)'$", pip("config", "list"), re.MULTILINE)
    return "\n".join(["[global]", *(f"{key} = {value.replace(chr(92) + 'n', ' ')}" for key, value in found), ""])


def run(*command: str | Path) -> None:
    """A failure shows both streams."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("suite", SUITES)
def test_the_two_commands_of_the_readme_work(visits: dict[str, Future[tuple[str, str]]], suite: str):
    """The demonstration shows a page and counts; a test that needs a program that is not there says that it skips."""
    demonstration, tests = visits[suite].result()

    assert "http://" in demonstration
    assert re.search(r"\d{3,} passed", tests), tests[-2000:]
