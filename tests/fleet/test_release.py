"""A release is what was signed, and only that is installed. Needs .venv-fleet; no hosts."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
pytestmark = pytest.mark.fleet
pytest.importorskip("cryptography", reason="the fleet's tools are in .venv-fleet")

from release import manifest, sbom  # noqa: E402
from release.wheelhouse import Platform  # noqa: E402


def script(name: str):
    """A script of ansible/files as a module."""
    spec = importlib.util.spec_from_file_location(name, PROJECT / f"ansible/files/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


install_release = script("install_release")
seen = script("seen")


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A small signed folder; the key beside it."""
    manifest.write_key(tmp_path / "release.key")
    folder = tmp_path / "classpulse-1.2.3"
    (folder / "models").mkdir(parents=True)
    (folder / "models/emotion.tflite").write_bytes(b"weights")
    (folder / "release.json").write_text(json.dumps({"version": "1.2.3", "wheel": "none.whl"}))
    manifest.sign(folder, tmp_path / "release.key")
    return folder


def both_verify(folder: Path, public: Path) -> None:
    """The controller's check and the host's, which uses openssl: they must agree."""
    manifest.verify(folder, public)
    install_release.verified(folder, public)


def refused_by_both(folder: Path, public: Path) -> bool:
    """Whether neither of them takes the folder."""
    answers = []
    for check, error in (
        (manifest.verify, manifest.ManifestError),
        (install_release.verified, install_release.ReleaseError),
    ):
        try:
            check(folder, public)
            answers.append(False)
        except error:
            answers.append(True)
    assert answers[0] == answers[1], "the controller and the host do not agree"
    return answers[0]


def test_what_was_signed_verifies(signed):
    """Python signs, openssl on the host agrees."""
    both_verify(signed, signed.with_name("release.pub"))


def test_a_changed_file_is_refused(signed):
    """One byte is enough."""
    (signed / "models/emotion.tflite").write_bytes(b"Weights")

    assert refused_by_both(signed, signed.with_name("release.pub"))


def test_an_added_file_is_refused(signed):
    """What nobody signed is not installed along."""
    (signed / "models/more.tflite").write_bytes(b"")

    assert refused_by_both(signed, signed.with_name("release.pub"))


def test_changed_sums_are_refused(signed):
    """The list itself is what the signature is of."""
    (signed / "models/emotion.tflite").write_bytes(b"Weights")
    digest = manifest.sha256(signed / "models/emotion.tflite")
    lines = (signed / "SHA256SUMS").read_text().splitlines(keepends=True)
    lines = [f"{digest}  models/emotion.tflite\n" if "emotion" in line else line for line in lines]
    (signed / "SHA256SUMS").write_text("".join(lines))

    assert refused_by_both(signed, signed.with_name("release.pub"))


def test_another_key_is_refused(signed, tmp_path):
    """A release signed by somebody else."""
    manifest.write_key(tmp_path / "other.key")

    assert refused_by_both(signed, tmp_path / "other.pub")


def test_a_private_key_is_its_owners_and_never_overwritten(tmp_path):
    """Mode 0600; a second call fails instead of replacing what signs every release."""
    manifest.write_key(tmp_path / "release.key")

    assert (tmp_path / "release.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        manifest.write_key(tmp_path / "release.key")


def test_a_version_names_one_release(signed, tmp_path):
    """The same version with other content is refused, the very same is done already, a broken attempt is made anew."""
    base, sums = tmp_path / "opt", (signed / "SHA256SUMS").read_bytes()
    folder = base / "releases/1.2.3"
    assert install_release.target(base, "1.2.3", sums) == folder

    folder.mkdir(parents=True)
    assert install_release.target(base, "1.2.3", sums) == folder

    shutil.copy(signed / "SHA256SUMS", folder)
    assert install_release.target(base, "1.2.3", sums) is None
    with pytest.raises(install_release.ReleaseError, match=r"1\.2\.3"):
        install_release.target(base, "1.2.3", sums + b"other")


def test_a_platform_is_its_name():
    """There and back, with the pins it is installed from."""
    platform = Platform.from_name("edge-py313-aarch64")

    assert platform == Platform("edge", "3.13", "aarch64")
    assert (platform.name, platform.pins) == ("edge-py313-aarch64", "edge-py313")
    assert (PROJECT / "requirements" / f"{platform.pins}.txt").exists()


def test_the_sbom_names_every_wheel_with_its_hashes(tmp_path):
    """What is pinned is listed; the file is valid CycloneDX, or writing it would have failed."""
    pins = tmp_path / "edge-py311.txt"
    pins.write_text("numpy==1.26.4 \\\n    --hash=sha256:" + "a" * 64 + " \\\n    --hash=sha256:" + "b" * 64 + "\n")
    model = tmp_path / "emotion.tflite"
    model.write_bytes(b"weights")

    sbom.write(tmp_path / "sbom.json", "1.2.3", [pins], [model])

    parts = {part["name"]: part for part in json.loads((tmp_path / "sbom.json").read_text())["components"]}
    assert parts["numpy"]["purl"] == "pkg:pypi/numpy@1.26.4"
    assert len(parts["numpy"]["hashes"]) == 2
    assert parts["emotion.tflite"]["type"] == "machine-learning-model"


STATE = 'classpulse/1/s/r/d/state {"state":"%s","version":"%s","reason":"","boot":"%s"}'
COUNTS = 'classpulse/1/s/r/d/counts {"boot":"%s","seq":7}'


@pytest.mark.parametrize(
    ("lines", "alive"),
    [
        ([STATE % ("ready", "1.0.0", "aa"), COUNTS % "aa"], True),
        ([STATE % ("paused", "1.0.0", "aa")], True),
        ([STATE % ("ready", "1.0.0", "aa")], False),
        ([STATE % ("ready", "1.0.0", "aa"), COUNTS % "bb"], False),
        ([STATE % ("lost", "1.0.0", "aa"), COUNTS % "aa"], False),
        ([STATE % ("ready", "0.9.0", "aa"), COUNTS % "aa"], False),
        ([COUNTS % "aa"], False),
        (["classpulse/1/s/r/d/state no JSON"], False),
        ([STATE % ("ready", "0.9.0", "aa"), STATE % ("ready", "1.0.0", "bb"), COUNTS % "bb"], True),
    ],
)
def test_alive_is_ready_of_this_version_with_counts_of_the_same_start(lines, alive):
    """Neither a state that was retained nor a resend of an earlier start is a living device."""
    assert seen.alive(lines, "1.0.0")[0] is alive
