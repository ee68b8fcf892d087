"""Which Python an environment is made with, and what a person is told where there is none."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

NOBODY = 65534
ROOT = Path(__file__).parents[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the script, pins for two Pythons, and `bin/` as the only place of commands."""
    (tmp_path / "requirements").mkdir()
    shutil.copy(ROOT / "requirements" / "venv.sh", tmp_path / "requirements")
    for version in ("311", "313"):
        (tmp_path / "requirements" / f"demo-py{version}.txt").write_text("# nothing\n")
    (tmp_path / "bin").mkdir()
    for name in ("sh", "basename", "dirname", "ls", "sed", "stat", "tr", "true", "touch", "mkdir", "cp"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    return tmp_path


def command(clone: Path, name: str, *lines: str) -> None:
    """Put a command into the clone's `bin/`."""
    path = clone / "bin" / name
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)


def python(clone: Path, name: str, version: str, *, venv: bool = True) -> None:
    """A Python that tells its version, and whose venv writes down who made it."""
    command(
        clone,
        name,
        'case "$*" in',
        f"*version_info*) echo 3.{version[1:]} ;;",
        f"*ensurepip*) exit {int(not venv)} ;;",
        f"-V) echo Python 3.{version[1:]}.0 ;;",
        f'"-m venv"*) mkdir -p "$4/bin"; echo {name} >"$4/made-by"; cp {clone}/bin/true "$4/bin/pip" ;;',
        "esac",
    )


def make(clone: Path, chosen: str = "", user: int | None = None) -> "subprocess.CompletedProcess[str]":
    """The script, as make calls it."""
    environment = {"PATH": str(clone / "bin"), "PYTHON": chosen}
    script = clone / "requirements" / "venv.sh"
    return subprocess.run(
        [script, "demo", ".venv-demo"], env=environment, user=user, capture_output=True, text=True, check=False
    )


def test_the_systems_own_python_is_taken(clone):
    """`python3` comes first where there are pins for it."""
    python(clone, "python3", "313")
    python(clone, "python3.11", "311")

    ended = make(clone)

    assert ended.returncode == 0, ended.stderr
    assert (clone / ".venv-demo" / "made-by").read_text() == "python3\n"
    assert (clone / ".venv-demo" / ".ready").exists()


def test_another_python_is_taken_where_the_systems_own_has_no_pins_or_no_venv(clone):
    """A newer system may have an older Python beside its own, and pyenv's commands may be empty shells."""
    python(clone, "python3", "314")
    python(clone, "python3.13", "313", venv=False)
    command(clone, "python3.12", "echo 'no such version' >&2; exit 127")
    python(clone, "python3.11", "311")

    assert make(clone).returncode == 0
    assert (clone / ".venv-demo" / "made-by").read_text() == "python3.11\n"


def test_the_python_that_is_named_is_taken_or_refused(clone):
    """PYTHON= is what the person wants, not the first of a list."""
    python(clone, "python3", "313")
    python(clone, "mine", "311")
    python(clone, "old", "309")

    assert make(clone, "mine").returncode == 0
    assert (clone / ".venv-demo" / "made-by").read_text() == "mine\n"
    assert "(old: Python 3.09.0)" in make(clone, "old").stderr


@pytest.mark.parametrize(
    ("tool", "lines", "says"),
    [
        ("apt-cache", ('[ "$2" = python3.13-venv ]',), "apt-get install python3.13-venv"),
        ("apt-cache", ('[ "$2" = python3.11-venv ]',), "apt-get install python3.11-venv"),
        ("apt-get", ("exit 0",), "`apt-get update`"),
        ("dnf", ("exit 0",), "dnf install python3.11"),
        ("pacman", ("exit 0",), "install Python 3.11 3.13"),
    ],
)
def test_without_a_python_this_systems_package_is_named(clone, tool, lines, says):
    """What the person types next depends on the system."""
    command(clone, tool, *lines)

    ended = make(clone)

    assert ended.returncode != 0
    assert says in ended.stderr


def test_a_python_without_venv_is_told_which_package_brings_it(clone):
    """Debian keeps venv in a package of its own."""
    python(clone, "python3", "313", venv=False)
    command(clone, "apt-cache", "exit 0")

    assert make(clone).stderr == "make: python3 has no venv\nmake: apt-get install python3.13-venv\n"


def test_another_users_clone_is_left_alone(clone):
    """The person learns to take a clone of their own."""
    with tempfile.TemporaryDirectory() as folder:
        theirs = Path(folder, "clone")
        shutil.copytree(clone, theirs, symlinks=True)
        Path(folder).chmod(0o755)
        theirs.chmod(0o555)

        ended = make(theirs, user=NOBODY if os.geteuid() == 0 else None)

    assert ended.returncode != 0
    assert f"git clone {theirs}" in ended.stderr


@pytest.mark.parametrize("name", ["demo", "dev", "fleet"])
def test_there_are_pins_for_every_python_that_is_supported(name):
    """Who runs the demonstration, changes the code or deploys a school takes the Python that a system has."""
    supported = {path.stem.rpartition("-")[2] for path in ROOT.glob("requirements/constraints-py*.txt")}

    assert {path.stem.rpartition("-")[2] for path in ROOT.glob(f"requirements/{name}-py*.txt")} == supported
