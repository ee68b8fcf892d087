"""A release that `release` built, installed as on a device, and what `check` says of it. In .venv-fleet; no hosts."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]
pytest.importorskip("cryptography", reason="the fleet's tools are in .venv-fleet")

from release import manifest  # noqa: E402
from release.__main__ import MODELS, build  # noqa: E402
from release.verify import ReleaseError  # noqa: E402
from release.wheelhouse import installs  # noqa: E402
from tests.fleet.fleet import PROJECT, VERSION, copy_of_project  # noqa: E402
from tests.fleet.small_release import PLATFORM, Host  # noqa: E402

_CONFIG = """
state = "{folder}/state"
[device]
site = "greenfield"
room = "room-101"
device = "cam-1"
[camera]
source = "file:{folder}/none.jpg"
[mqtt]
host = "127.0.0.1"
port = 9
[detector]
model = "{models}/yunet.tflite"
[emotions]
model = "{models}/emotion_int8.tflite"
"""


class Device:
    """A folder with what the edge role leaves on a device: key, release, configuration."""

    def __init__(self, folder: Path) -> None:
        manifest.write_key(folder / "release.key")
        self.folder = folder
        self.key = folder / "release.pub"
        self.brought = build(copy_of_project(folder / "source", VERSION), folder, folder / "release.key", [])
        # The pinned wheels are the clone's; the project's own modules are the release's.
        ours = next(self.brought.glob("wheels/*.whl"))
        (self.brought / f"packages/{PLATFORM}.json").write_text(json.dumps({f"wheels/{ours.name}": installs(ours)}))
        (self.brought / "requirements/edge-py311.txt").write_text("")
        manifest.sign(self.brought, folder / "release.key")
        self.release = Host(folder / "host", self.key).installed(self.brought)
        config = _CONFIG.format(folder=folder, models=self.release / "models")
        (folder / "edge.toml").write_text(config)

    def check(self, *options: object) -> str:
        """The line about the release."""
        libraries = next((PROJECT / ".venv/lib").glob("python3*")) / "site-packages"
        command = [
            self.release / "venv/bin/python",
            "-P",
            "-m",
            "edge",
            "--config",
            self.folder / "edge.toml",
            "check",
            *options,
        ]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, env={"PYTHONPATH": str(libraries)}
        )
        assert done.returncode == 1, "there is no camera and no broker"
        return next(line for line in done.stdout.splitlines() if " release: " in line)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Device:
    """A real release, installed; tests change copies of its files and put them back."""
    missing = [name for name in MODELS if not (PROJECT / "models" / name).exists()]
    if missing:
        pytest.skip(f"models/{missing[0]} is not there: make models")
    return Device(tmp_path_factory.mktemp("device"))


@pytest.fixture
def device(built: Device, tmp_path: Path):
    """`built`, the same again after each test."""
    shutil.copytree(built.release, tmp_path / "release", symlinks=True)
    yield built
    shutil.rmtree(built.release)
    shutil.copytree(tmp_path / "release", built.release, symlinks=True)


def test_what_release_builds_verifies_on_the_device(device):
    """In use, and brought as a folder."""
    version = device.release.name

    assert device.check("--key", device.key) == f"ok   release: {version}, signed with {device.key}"
    assert device.check("--key", device.key, "--release", device.brought).startswith("ok   release: ")


@pytest.mark.parametrize("name", ["models/emotion_int8.tflite", "models/emotion_int8.json"])
def test_a_tampered_model_is_refused_unless_told_so(device, name):
    """The line names the file, the key and what to do."""
    path = device.release / name
    path.write_bytes(path.read_bytes() + b" ")

    told = f"{path} is not the file that was signed with {device.key}: install the release again"
    assert device.check("--key", device.key) == f"FAIL release: {told}"
    assert device.check("--key", device.key, "--allow-unsigned") == "ok   release: not verified, as you said"


def test_a_tampered_program_is_refused(device):
    """Every module is compared with the signed list of its platform."""
    module = next(device.release.glob("venv/lib/python3*/site-packages/edge/daemon.py"))
    module.write_text(module.read_text() + "\n")

    assert device.check("--key", device.key).startswith(f"FAIL release: {module} is not the file that was signed ")


def test_a_foreign_key_is_refused(device, tmp_path):
    """Another school's releases, or this one's on another school's device."""
    manifest.write_key(tmp_path / "other.key")

    line = device.check("--key", tmp_path / "other.pub")

    assert line.startswith(f"FAIL release: {device.release}/SHA256SUMS is not signed with {tmp_path}/other.pub: ")


def test_a_missing_signature_is_refused(device):
    """A release without it is nobody's."""
    (device.release / "SHA256SUMS.sig").unlink()

    assert device.check("--key", device.key).startswith(f"FAIL release: {device.release}/SHA256SUMS.sig is missing: ")


def test_an_older_release_that_was_brought_is_refused_unless_told_so(device, tmp_path):
    """Signed with the right key, and whole, but a way back that nobody asked for."""
    older = tmp_path / "classpulse-0.0.1"
    shutil.copytree(device.brought, older)
    facts = (older / "release.json").read_text()
    (older / "release.json").write_text(facts.replace(f'"version": "{device.release.name}"', '"version": "0.0.1"'))
    manifest.sign(older, device.key.with_suffix(".key"))
    options = ("--key", device.key, "--release", older)

    assert device.check(*options).startswith(
        f"FAIL release: 0.0.1 is older than {device.release.name}, which is in use"
    )
    assert device.check(*options, "--allow-older") == f"ok   release: {older} is 0.0.1, signed with {device.key}"


def test_a_release_needs_both_halves_of_one_key(built, tmp_path):
    """`release` verifies what it has signed: a public key of another pair would lock every device out."""
    manifest.write_key(tmp_path / "release.key")
    manifest.write_key(tmp_path / "other.key")
    (tmp_path / "other.pub").replace(tmp_path / "release.pub")

    with pytest.raises(ReleaseError, match=r"not signed with \S+release\.pub"):
        build(built.folder / "source", tmp_path / "out", tmp_path / "release.key", [])


@pytest.mark.parametrize("name", ["emotion_int8.tflite", "yunet.tflite"])
def test_a_model_that_is_not_its_cards_is_not_signed(device, tmp_path, name):
    """Before anything is built, and with the card's name."""
    source = copy_of_project(tmp_path / "source", VERSION)
    (source / "models" / name).write_bytes(b"another model")

    with pytest.raises(ReleaseError, match=name.replace("tflite", "json") + " is of "):
        build(source, tmp_path, device.key.with_suffix(".key"), [])
    assert not list(tmp_path.glob("classpulse-*/SHA256SUMS"))
