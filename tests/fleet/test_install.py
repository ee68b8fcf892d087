"""Small releases are installed with the roles' script into real environments. Needs .venv-fleet; no hosts."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]
pytest.importorskip("cryptography", reason="the fleet's tools are in .venv-fleet")

from release import manifest  # noqa: E402
from release.wheelhouse import installs  # noqa: E402
from tests.fleet.small_release import PLATFORM, SITE, Host, write_release, write_wheel  # noqa: E402


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """What signs the school's releases."""
    manifest.write_key(tmp_path / "release.key")
    return tmp_path / "release.key"


@pytest.fixture
def host(tmp_path: Path, key: Path) -> Host:
    """Where 1.0.0 is installed."""
    host = Host(tmp_path / "host", key.with_suffix(".pub"))
    host.installed(write_release(tmp_path / "classpulse-1.0.0", "1.0.0", key))
    return host


@pytest.fixture
def bring(tmp_path: Path, key: Path):
    """Brings another version."""
    return lambda version, **options: write_release(tmp_path / f"classpulse-{version}", version, key, **options)


def test_what_an_installed_release_has_is_taken_from_there(host, bring):
    """The next release needs its own wheel only, says so, and stands alone when the one before is gone."""
    brought = bring("1.1.0")
    shutil.move(brought / "wheels", brought.with_name("wheels"))
    shutil.rmtree(brought / "models")

    assert host.install(brought).stdout == "wheels/classpulse-1.1.0-py3-none-any.whl\n"
    assert not (host.base / "releases/1.1.0").exists()

    (brought / "wheels").mkdir()
    shutil.move(brought.with_name("wheels") / "classpulse-1.1.0-py3-none-any.whl", brought / "wheels")
    host.installed(brought)
    shutil.rmtree(host.base / "releases/1.0.0")
    assert host.answer("1.1.0") == "1.1.0 1.0"
    assert (host.base / "releases/1.1.0/models/emotion.tflite").read_bytes() == b"weights"


def test_packages_of_other_pins_come_from_their_wheels(host, bring):
    """Nothing of the release before is left among them."""
    host.installed(bring("1.1.0", pinned="2.0"))

    assert host.answer("1.1.0") == "1.1.0 2.0"
    assert host.answer("1.0.0") == "1.0.0 1.0"


def test_an_installation_that_was_killed_leaves_nothing_once_there_is_another(host, bring):
    """A power cut while a room is updated: what was copied and unpacked by then is 200 MB of a real release."""
    brought = bring("1.1.0")
    with host.start(brought) as running:
        while not list(host.base.glob("installing-*")):
            assert running.poll() is None
        running.kill()
    assert list(host.base.glob("installing-*"))

    host.installed(brought)

    assert {path.name for path in host.base.iterdir()} == {"releases"}


def test_damaged_packages_are_asked_for(host, bring):
    """A failing card does not hand its damage on to the next release."""
    (host.base / "releases/1.0.0" / SITE / "needed.py").write_text("value = 7.0\n")
    brought = bring("1.1.0")
    (brought / "wheels/needed-1.0-py3-none-any.whl").rename(brought.with_name("needed-1.0-py3-none-any.whl"))

    assert host.install(brought).stdout == "wheels/needed-1.0-py3-none-any.whl\n"
    shutil.move(brought.with_name("needed-1.0-py3-none-any.whl"), brought / "wheels")
    host.installed(brought)
    assert host.answer("1.1.0") == "1.1.0 1.0"


def test_pins_and_wheels_behind_links_are_not_installed(host, bring, tmp_path):
    """The attack on earlier releases: a signed folder whose `requirements` and `wheels` are links to an intruder's.

    They were not looked at behind links, so that a .pth of the intruder's ran as root while it was installed.
    """
    brought, ran = bring("1.1.0", pinned="2.0"), tmp_path / "ran as root"
    evil = write_wheel(
        tmp_path / "evil", "needed", "2.0", {"spy.pth": f"import pathlib; pathlib.Path({str(ran)!r}).touch()"}
    )
    (tmp_path / "pins").mkdir()
    (tmp_path / "pins/edge-py311.txt").write_text(f"needed==2.0 --hash=sha256:{manifest.sha256(evil)}\n")
    with tarfile.open(tmp_path / f"evil/{PLATFORM}.tar", "w") as archive:  # as releases had it
        archive.add(evil, evil.name)
    for name, target in (("requirements", tmp_path / "pins"), ("wheels", tmp_path / "evil")):
        shutil.rmtree(brought / name)
        (brought / name).symlink_to(target)

    done = host.install(brought)

    assert (done.returncode, done.stdout) == (1, "")
    assert "is a link" in done.stderr
    assert not ran.exists()
    assert not (host.base / "releases/1.1.0").exists()


def sign_again(brought: Path, key: Path) -> None:
    """As somebody would who has the key but not the pinned wheels."""
    for name in ("SHA256SUMS", "SHA256SUMS.sig"):
        (brought / name).unlink()
    manifest.sign(brought, key)


def test_a_wheel_that_the_pins_do_not_name_is_refused(host, bring, key):
    """The wheels that are signed are the pinned ones."""
    brought = bring("1.1.0", pinned="2.0")
    (brought / "requirements/edge-py311.txt").write_text("needed==2.0 --hash=sha256:" + "a" * 64 + "\n")
    sign_again(brought, key)

    done = host.install(brought)

    assert done.returncode == 1
    assert "needed-2.0-py3-none-any.whl is not the wheel that edge-py311.txt pins" in done.stderr


def test_a_wheel_that_does_not_hold_what_is_listed_is_refused(host, bring, key):
    """The list is what an installed release is compared with for the rest of its life."""
    brought = bring("1.1.0")
    listed = brought / f"packages/{PLATFORM}.json"
    packages = json.loads(listed.read_text())
    packages["wheels/classpulse-1.1.0-py3-none-any.whl"]["edge/__init__.py"] = "a" * 64
    listed.write_text(json.dumps(packages))
    sign_again(brought, key)

    done = host.install(brought)

    assert done.returncode == 1
    assert "edge/__init__.py of classpulse-1.1.0-py3-none-any.whl is not what the release lists" in done.stderr


@pytest.mark.parametrize("name", ["/tmp/spy.py", "../../../../bin/spy", "EDGE/__init__.py"])
def test_a_list_that_names_a_file_elsewhere_is_refused(host, bring, key, name):
    """Whoever signed it."""
    brought = bring("1.1.0")
    listed = brought / f"packages/{PLATFORM}.json"
    packages = json.loads(listed.read_text())
    packages["wheels/classpulse-1.1.0-py3-none-any.whl"][name] = "a" * 64
    listed.write_text(json.dumps(packages))
    sign_again(brought, key)

    assert "leaves its folder, or is there twice" in host.install(brought).stderr


@pytest.mark.parametrize("name", [f"packages/{PLATFORM}.json", "requirements/edge-py311.txt"])
def test_a_release_without_the_platforms_pins_or_list_is_refused(host, bring, name):
    """It says how it is built."""
    brought = bring("1.1.0")
    (brought / name).unlink()

    done = host.install(brought)

    assert done.returncode == 1
    assert f"{name} is missing: build the release with --platform {PLATFORM}" in done.stderr


def test_scripts_data_and_bytecode_of_wheels_are_left_out(tmp_path):
    """Some would lie outside site-packages; bytecode is written anew, and numpy's wheel has one such file."""
    files = {"needed.py": "", "needed-1.0.data/scripts/needed": "#!python\n", "__pycache__/needed.cpython-311.pyc": ""}
    wheel = write_wheel(tmp_path, "needed", "1.0", files)

    assert "needed.py" in installs(wheel)
    assert not any(".data/" in name or name.endswith(".pyc") for name in installs(wheel))
