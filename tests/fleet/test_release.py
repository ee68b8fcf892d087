"""A release is what was signed, and only that is installed. Needs .venv-fleet; no hosts."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]
pytest.importorskip("cryptography", reason="the fleet's tools are in .venv-fleet")

from release import manifest, sbom  # noqa: E402
from release import verify as verify_release  # noqa: E402
from release.wheelhouse import Platform  # noqa: E402
from tests.fleet.scripts import PROJECT, install_release, seen  # noqa: E402

WHEEL = "classpulse-1.2.3-py3-none-any.whl"
MODULES = {"edge/__init__.py": "", "edge/daemon.py": "print('counting')\n"}


def make_release(folder: Path, version: str, key: Path) -> Path:
    """A small signed release in `folder`, with a wheel of two modules and one model."""
    (folder / "models").mkdir(parents=True)
    (folder / "models/emotion.tflite").write_bytes(b"weights")
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        for name, text in {**MODULES, f"classpulse-{version}.dist-info/RECORD": ""}.items():
            wheel.writestr(name, text)
    (folder / "release.json").write_text(json.dumps({"version": version, "wheel": WHEEL}))
    manifest.sign(folder, key)
    return folder


def install(brought: Path, base: Path) -> Path:
    """`brought` as install_release.py leaves it on a host, with an environment of our own modules only."""
    version = json.loads((brought / "release.json").read_text())["version"]
    folder = base / "releases" / version
    shutil.copytree(brought, folder)
    with zipfile.ZipFile(folder / WHEEL) as wheel:
        wheel.extractall(site_packages(folder))
    (folder / "edge.toml").write_text("what the role keeps with it")
    return folder


def site_packages(folder: Path) -> Path:
    """Where an installed release's modules are."""
    return folder / "venv/lib/python3.11/site-packages"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A new key; its public half beside it."""
    manifest.write_key(tmp_path / "release.key")
    return tmp_path / "release.key"


@pytest.fixture
def signed(tmp_path: Path, key: Path) -> Path:
    """A release that was brought; the key beside it."""
    return make_release(tmp_path / "classpulse-1.2.3", "1.2.3", key)


@pytest.fixture
def program(signed: Path, tmp_path: Path) -> Path:
    """The same release, installed."""
    return install(signed, tmp_path / "opt")


def both_verify(folder: Path, public: Path) -> None:
    """The controller's check and the host's, which uses openssl: they must agree."""
    manifest.verify(folder, public)
    verify_release.verify(folder, public)


def refused_by_both(folder: Path, public: Path) -> bool:
    """Whether neither of them takes the folder."""
    answers = []
    for check, error in (
        (manifest.verify, manifest.ManifestError),
        (verify_release.verify, verify_release.ReleaseError),
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


def test_a_version_names_one_release(signed, program, key, tmp_path):
    """The very same is done already; other content under the same version is refused."""
    base, sums, public = tmp_path / "opt", (signed / "SHA256SUMS").read_bytes(), key.with_suffix(".pub")

    assert install_release.target(base, "1.2.3", sums, public) is None
    with pytest.raises(install_release.ReleaseError, match=r"another release 1\.2\.3"):
        install_release.target(base, "1.2.3", sums + b"other", public)


def test_what_broke_off_or_is_damaged_is_installed_again(signed, program, key, tmp_path):
    """SHA256SUMS comes last, and every file that can be verified is."""
    base, sums, public = tmp_path / "opt", (signed / "SHA256SUMS").read_bytes(), key.with_suffix(".pub")
    (program / "models/emotion.tflite").write_bytes(b"a failing card")
    assert install_release.target(base, "1.2.3", sums, public) == program

    (program / "SHA256SUMS").unlink()
    assert install_release.target(base, "1.2.3", sums, public) == program

    shutil.rmtree(program)
    assert install_release.target(base, "1.2.3", sums, public) == program


def test_the_installer_refuses_what_is_older_than_the_release_in_use_unless_told_so(program, key, tmp_path):
    """Run as the role runs it: a script of its own, with the system's Python."""
    (program.parents[1] / "current").symlink_to(program)
    shutil.copy(PROJECT / "ansible/files/install_release.py", tmp_path)
    shutil.copy(PROJECT / "release/verify.py", tmp_path / "verify_release.py")
    older = make_release(tmp_path / "classpulse-1.2.2", "1.2.2", key)
    command = [sys.executable, tmp_path / "install_release.py", older, f"--base={tmp_path / 'opt'}"]
    command += ["--platform=edge-py311-x86_64", f"--key={key.with_suffix('.pub')}"]

    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    taken = subprocess.run([*command, "--allow-older"], capture_output=True, text=True, check=False)

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "1.2.2 is older than 1.2.3" in refused.stderr
    assert "wheels/edge-py311-x86_64.tar" in taken.stderr  # it began: this small release brings no wheels


def test_what_is_installed_verifies(program, key):
    """The wheel and the pins' archive may be elsewhere; what the role keeps beside is no part of it."""
    assert verify_release.verify(program, key.with_suffix(".pub"), installed=True) == "1.2.3"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("models/emotion.tflite", b"Weights"),
        ("models/more.tflite", b""),
        (WHEEL, b"no wheel"),
        ("release.json", b'{"version": "9.9.9", "wheel": "none.whl"}'),
        ("venv/lib/python3.11/site-packages/edge/daemon.py", b"print('spying')"),
        ("venv/lib/python3.11/site-packages/edge/more.py", b""),
        ("SHA256SUMS.sig", b"no signature"),
    ],
)
def test_what_was_changed_after_it_was_installed_is_refused(program, key, name, content):
    """Models, wheel and modules; the error names the file."""
    (program / name).write_bytes(content)

    with pytest.raises(verify_release.ReleaseError, match=name.removesuffix(".sig").replace(".", r"\.")):
        verify_release.verify(program, key.with_suffix(".pub"), installed=True)


@pytest.mark.parametrize(
    "name",
    ["SHA256SUMS", "SHA256SUMS.sig", "release.json", "models/emotion.tflite", WHEEL, "venv/lib/python3.11"],
)
def test_what_is_missing_after_it_was_installed_is_refused(program, key, name):
    """A part that is gone is no release; the error names what is missing."""
    (shutil.rmtree if (program / name).is_dir() else Path.unlink)(program / name)

    with pytest.raises(
        verify_release.ReleaseError, match="daemon|__init__" if "venv" in name else f"{name} is missing"
    ):
        verify_release.verify(program, key.with_suffix(".pub"), installed=True)


def test_a_missing_key_is_named(program, tmp_path):
    """With what to do."""
    with pytest.raises(verify_release.ReleaseError, match=r"none\.pub is missing: put the public key there"):
        verify_release.verify(program, tmp_path / "none.pub", installed=True)


@pytest.mark.parametrize(("new", "old"), [("1.9.0", "1.10.0"), ("0.9", "0.9.1"), ("1.2.3", "2.0.0")])
def test_versions_are_compared_by_their_numbers(tmp_path, new, old):
    """1.10 is newer than 1.9."""
    (tmp_path / old).mkdir()
    (tmp_path / new).mkdir()

    with pytest.raises(verify_release.ReleaseError, match=f"{new} is older than {old}"):
        verify_release.refuse_older(new, tmp_path / old)
    verify_release.refuse_older(old, tmp_path / new)
    verify_release.refuse_older(old, tmp_path / old)


def test_a_version_that_cannot_be_compared_is_refused(tmp_path):
    """Guessing would let an older one in."""
    (tmp_path / "1.0.0").mkdir()

    with pytest.raises(verify_release.ReleaseError, match=r"1\.0\.0rc1"):
        verify_release.refuse_older("1.0.0rc1", tmp_path / "1.0.0")


def test_a_model_of_an_older_release_is_refused_unless_told_so(program, key, tmp_path):
    """The configuration may name a model of another release; a newer one is taken."""
    public = key.with_suffix(".pub")
    older = install(make_release(tmp_path / "classpulse-1.2.2", "1.2.2", key), tmp_path / "opt")
    newer = install(make_release(tmp_path / "classpulse-1.3.0", "1.3.0", key), tmp_path / "opt")

    with pytest.raises(verify_release.ReleaseError, match=r"1\.2\.2 is older than 1\.2\.3"):
        verify_release.in_program(program, [older / "models/emotion.tflite"], public)
    allowed = verify_release.in_program(program, [older / "models/emotion.tflite"], public, allow_older=True)
    taken = verify_release.in_program(program, [newer / "models/emotion.tflite"], public)

    assert allowed == taken == f"1.2.3, signed with {public}"


def test_a_model_of_no_release_is_refused(program, key, tmp_path):
    """A file that somebody put beside, where the key says that releases are signed."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/emotion.tflite").write_bytes(b"trained at home")

    with pytest.raises(verify_release.ReleaseError, match="SHA256SUMS is missing"):
        verify_release.in_program(program, [tmp_path / "mine/emotion.tflite"], key.with_suffix(".pub"))


@pytest.mark.parametrize(
    ("name", "role", "pins"),
    [
        ("edge-py313-aarch64", "edge", "edge-py313"),
        ("aggregator-cluster-py313-aarch64", "aggregator-cluster", "aggregator-cluster-py313"),
    ],
)
def test_a_platform_is_its_name(name, role, pins):
    """There and back, with the pins it is installed from."""
    platform = Platform.from_name(name)

    assert platform == Platform(role, "3.13", "aarch64")
    assert (platform.name, platform.pins) == (name, pins)
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


AGGREGATOR = 'classpulse/1/s/aggregator/state {"state":"%s","version":"%s","reason":"","boot":"%s"}'


@pytest.mark.parametrize(
    ("lines", "steady"),
    [
        ([AGGREGATOR % ("ready", "1.0.0", "aa")], True),
        ([], False),
        ([AGGREGATOR % ("stopped", "1.0.0", "aa")], False),
        ([AGGREGATOR % ("ready", "0.9.0", "aa")], False),
        ([AGGREGATOR % ("ready", "1.0.0", "aa"), AGGREGATOR % ("lost", "1.0.0", "aa")], False),
        ([AGGREGATOR % ("ready", "1.0.0", "aa"), AGGREGATOR % ("ready", "1.0.0", "bb")], False),
        ([AGGREGATOR % ("ready", "1.0.0", "aa"), AGGREGATOR % ("ready", "1.0.0", "aa")], True),
        (["classpulse/1/s/aggregator/state no JSON"], False),
    ],
)
def test_an_aggregator_is_alive_if_it_stays_ready(lines, steady):
    """One that ends whenever it starts says `ready` again and again, of another start each time."""
    assert seen.steady(lines, "1.0.0")[0] is steady
