"""Releases are installed with real pip into real environments, from small wheels. Needs .venv-fleet; no hosts."""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]
pytest.importorskip("cryptography", reason="the fleet's tools are in .venv-fleet")

from release import manifest  # noqa: E402
from tests.fleet.scripts import PROJECT, install_release  # noqa: E402

PLATFORM = "edge-py311-x86_64"


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """A wheel of these files, as a build would write it."""
    info = f"{name}-{version}.dist-info"
    files = {**files, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"}
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    records = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        records.append(f"{path},sha256={digest},{len(text)}\n")
    records.append(f"{info}/RECORD,,\n")
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": "".join(records)}.items():
            wheel.writestr(zipfile.ZipInfo(path), text)  # the same bytes whenever it is written
    return folder / f"{name}-{version}-py3-none-any.whl"


def release(school: Path, version: str, *, pinned: str = "1.0", wheels: bool = True) -> Path:
    """A signed release of one module, which needs one package; without `wheels` that package's archive is empty."""
    folder = school / f"classpulse-{version}"
    for part in ("models", "requirements", "wheels"):
        (folder / part).mkdir(parents=True)
    (folder / "models/emotion.tflite").write_bytes(b"weights")
    needed = write_wheel(school, "needed", pinned, {"needed.py": f"value = {pinned}\n"})
    pin = f"needed=={pinned} --hash=sha256:{hashlib.sha256(needed.read_bytes()).hexdigest()}\n"
    (folder / "requirements/edge-py311.txt").write_text(pin)
    with tarfile.open(folder / f"wheels/{PLATFORM}.tar", "w") as archive:
        if wheels:
            archive.add(needed, needed.name)
    ours = write_wheel(folder, "classpulse", version, {"edge/__init__.py": f"version = '{version}'\n"})
    (folder / "release.json").write_text(json.dumps({"version": version, "wheel": ours.name}))
    manifest.sign(folder, school / "release.key")
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key and the roles' scripts, where 1.0.0 is installed."""
    folder = tmp_path_factory.mktemp("installed")
    manifest.write_key(folder / "release.key")
    shutil.copy(PROJECT / "ansible/files/install_release.py", folder)
    shutil.copy(PROJECT / "release/verify.py", folder / "verify_release.py")
    done = install(folder, release(folder, "1.0.0"))
    assert (done.returncode, done.stdout) == (0, "installed\n"), done.stderr
    return folder


@pytest.fixture
def school(installed: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(installed, tmp_path / "school", symlinks=True)


def install(school: Path, brought: Path) -> subprocess.CompletedProcess[str]:
    """What the roles run on a host."""
    command = [sys.executable, school / "install_release.py", brought, f"--base={school / 'opt'}"]
    command += [f"--platform={PLATFORM}", f"--key={school / 'release.pub'}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def site_packages(school: Path) -> Path:
    """Where the packages of 1.0.0 are."""
    return school / "opt/releases/1.0.0/venv/lib/python3.11/site-packages"


def answer(school: Path, version: str) -> str:
    """What the installed release's own Python finds."""
    python = school / f"opt/releases/{version}/venv/bin/python"
    code = "import edge, needed; print(edge.version, needed.value)"
    return subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_packages_of_the_same_pins_are_taken_from_the_release_before(school):
    """The next release needs no wheel but its own, and stands alone when the one before is gone."""
    done = install(school, release(school, "1.1.0", wheels=False))
    shutil.rmtree(school / "opt/releases/1.0.0")

    assert (done.returncode, done.stdout) == (0, "installed\n"), done.stderr
    assert answer(school, "1.1.0") == "1.1.0 1.0"


def test_packages_of_other_pins_come_from_their_wheels(school):
    """Nothing of the release before is left among them."""
    done = install(school, release(school, "1.1.0", pinned="2.0"))

    assert done.returncode == 0, done.stderr
    assert answer(school, "1.1.0") == "1.1.0 2.0"
    assert answer(school, "1.0.0") == "1.0.0 1.0"


def test_damaged_packages_come_from_their_wheels(school):
    """A failing card does not hand its damage on to the next release."""
    (site_packages(school) / "needed.py").write_text("value = 7.0\n")

    done = install(school, release(school, "1.1.0"))

    assert done.returncode == 0, done.stderr
    assert answer(school, "1.1.0") == "1.1.0 1.0"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Our package and another one, as pip leaves them."""
    ours, needed = {"edge/__init__.py": ""}, {"needed.py": "value = 1.0\n"}
    for wheel in (write_wheel(tmp_path, "classpulse", "1.0", ours), write_wheel(tmp_path, "needed", "1.0", needed)):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path / "site-packages")  # noqa: S202 - our own wheel
    return tmp_path / "site-packages"


def test_what_is_taken_over_is_all_but_our_own(site):
    """Modules and what pip knows of them."""
    info = [f"needed-1.0.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")]

    assert install_release.packaged(site) == ["needed.py", *info]


@pytest.mark.parametrize("harm", ["changed", "missing", "added", "record cut"])
def test_nothing_is_taken_over_from_what_pip_did_not_leave_so(site, harm):
    """Every file by its digest, and no file that no package has."""
    if harm == "changed":
        (site / "needed.py").write_text("value = 7.0\n")
    elif harm == "missing":
        (site / "needed.py").unlink()
    elif harm == "added":
        (site / "more.py").write_text("")
    else:
        (site / "needed-1.0.dist-info/RECORD").write_text("")

    with pytest.raises((install_release.ReleaseError, FileNotFoundError), match=r"needed|more"):
        install_release.packaged(site)
