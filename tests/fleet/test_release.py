"""A release is what was signed, and only that is installed. Needs .venv-fleet; no hosts."""

import json
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]
pytest.importorskip("cryptography", reason="the fleet's tools are in .venv-fleet")

from release import manifest, sbom, wheelhouse  # noqa: E402
from release import verify as verify_release  # noqa: E402
from release.verify import ReleaseError  # noqa: E402
from release.wheelhouse import Platform  # noqa: E402
from tests.fleet.scripts import PROJECT, install_release, seen  # noqa: E402
from tests.fleet.small_release import SITE, Host, write_release, write_wheel  # noqa: E402


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A new key; its public half beside it."""
    manifest.write_key(tmp_path / "release.key")
    return tmp_path / "release.key"


@pytest.fixture
def public(key: Path) -> Path:
    """What devices have of it."""
    return key.with_suffix(".pub")


@pytest.fixture
def signed(tmp_path: Path, key: Path) -> Path:
    """A release that was brought; the key beside it."""
    return write_release(tmp_path / "classpulse-1.2.3", "1.2.3", key)


@pytest.fixture
def host(tmp_path: Path, public: Path) -> Host:
    """Where releases are installed."""
    return Host(tmp_path / "host", public)


@pytest.fixture
def program(signed: Path, host: Host) -> Path:
    """The same release, installed."""
    return host.installed(signed)


def refused(folder: Path, public: Path) -> str:
    """Why a folder that was brought is refused."""
    with pytest.raises(ReleaseError) as error:
        verify_release.verify(folder, public)
    return str(error.value)


def test_what_was_signed_verifies(signed, public):
    """Python signs, openssl on the host agrees; what a host has already need not be brought."""
    assert verify_release.verify(signed, public) == "1.2.3"
    shutil.rmtree(signed / "wheels")
    assert verify_release.verify(signed, public) == "1.2.3"


def test_a_changed_file_is_refused(signed, public):
    """One byte is enough."""
    (signed / "models/emotion.tflite").write_bytes(b"Weights")

    assert "models/emotion.tflite is not the file that was signed" in refused(signed, public)


def test_an_added_file_is_refused(signed, public):
    """What nobody signed is not installed along."""
    (signed / "models/more.tflite").write_bytes(b"")

    assert "models/more.tflite is not the file that was signed" in refused(signed, public)


def link(path: Path, signed: Path) -> None:
    """A link to the same bytes elsewhere."""
    path.rename(signed.with_name("elsewhere"))
    path.symlink_to(signed.with_name("elsewhere"))


def second_name(path: Path, signed: Path) -> None:
    """A hard link, by which somebody else can change it afterwards."""
    signed.with_name("elsewhere").hardlink_to(path)


def pipe(path: Path, signed: Path) -> None:
    """Whoever reads it waits for ever."""
    path.unlink()
    os.mkfifo(path)


def listen(path: Path, signed: Path) -> None:
    """A socket."""
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize("harm", [link, second_name, pipe, listen])
@pytest.mark.parametrize("name", ["models/emotion.tflite", "SHA256SUMS", "SHA256SUMS.sig", "release.json"])
def test_links_and_special_files_are_refused(signed, public, harm, name):
    """Even where the bytes are the right ones: they could be others a moment later."""
    harm(signed / name, signed)

    assert name in refused(signed, public)


@pytest.mark.parametrize("name", ["requirements", "wheels", "models", "packages"])
def test_a_folder_that_is_a_link_is_refused(signed, public, name):
    """To the same files, and to nothing."""
    link(signed / name, signed)
    assert f"{name} is a link" in refused(signed, public)

    shutil.rmtree(signed.with_name("elsewhere"))
    assert f"{name} is a link" in refused(signed, public)


@pytest.mark.parametrize(
    "name", ["/etc/cron.d/spy", "../spy.pth", "edge/../../spy.pth", "edge\\spy", "EDGE/__init__.py"]
)
def test_a_wheel_that_would_write_elsewhere_or_over_another_file_makes_no_release(tmp_path, name):
    """Absolute, above its folder, or the same name where upper and lower case are one."""
    wheel = write_wheel(tmp_path, "spy", "1.0", {"edge/__init__.py": "", name: "import spy\n"})

    with pytest.raises(ReleaseError, match="leaves its folder"):
        wheelhouse.installs(wheel)


def test_changed_sums_are_refused(signed, public):
    """The list itself is what the signature is of."""
    (signed / "models/emotion.tflite").write_bytes(b"Weights")
    digest = manifest.sha256(signed / "models/emotion.tflite")
    lines = (signed / "SHA256SUMS").read_text().splitlines(keepends=True)
    lines = [f"{digest}  models/emotion.tflite\n" if "emotion" in line else line for line in lines]
    (signed / "SHA256SUMS").write_text("".join(lines))

    assert "is not signed with" in refused(signed, public)


def test_another_key_is_refused(signed, tmp_path):
    """A release signed by somebody else."""
    manifest.write_key(tmp_path / "other.key")

    assert "is not signed with" in refused(signed, tmp_path / "other.pub")


def test_a_private_key_is_its_owners_and_never_overwritten(tmp_path):
    """Mode 0600; a second call fails instead of replacing what signs every release."""
    manifest.write_key(tmp_path / "release.key")

    assert (tmp_path / "release.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        manifest.write_key(tmp_path / "release.key")


def test_a_version_names_one_release(signed, program, public, host):
    """The very same is done already; other content under the same version is refused."""
    sums = (signed / "SHA256SUMS").read_bytes()

    assert install_release.target(host.base, "1.2.3", sums, public) is None
    with pytest.raises(install_release.ReleaseError, match=r"another release 1\.2\.3"):
        install_release.target(host.base, "1.2.3", sums + b"other", public)


@pytest.mark.parametrize("name", ["models/emotion.tflite", "SHA256SUMS", f"{SITE}/needed.py"])
def test_what_broke_off_or_is_damaged_is_installed_again(signed, program, public, host, name):
    """Every file that can be verified is."""
    (program / name).write_bytes(b"a failing card")
    assert host.install(signed).stdout == "installed\n"
    assert verify_release.verify_installed(program, public) == "1.2.3"

    (program / name).unlink()
    assert host.install(signed).stdout == "installed\n"
    assert host.install(signed).stdout == "unchanged\n"


def test_the_installer_refuses_what_is_older_than_the_release_in_use_unless_told_so(program, key, host, tmp_path):
    """Run as the role runs it: a script of its own, with the system's Python."""
    (host.base / "current").symlink_to(program)
    older = write_release(tmp_path / "classpulse-1.2.2", "1.2.2", key)

    refused = host.install(older)

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "1.2.2 is older than 1.2.3" in refused.stderr
    assert host.install(older, "--allow-older").stdout == "installed\n"


def test_what_is_installed_verifies(program, public):
    """With the bytecode that the installer made; what the role keeps beside is no part of it."""
    assert list(program.glob(f"{SITE}/__pycache__/needed.*.pyc"))
    assert verify_release.verify_installed(program, public) == "1.2.3"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("models/emotion.tflite", b"Weights"),
        ("models/more.tflite", b""),
        ("packages/edge-py311-x86_64.json", b"{}"),
        ("packages/other.json", b"{}"),
        ("release.json", b'{"version": "9.9.9"}'),
        (f"{SITE}/edge/__init__.py", b"print('spying')"),
        (f"{SITE}/edge/more.py", b""),
        (f"{SITE}/needed.py", b"value = 7.0"),
        (f"{SITE}/needed-1.0.dist-info/RECORD", b""),
        (f"{SITE}/spy.pth", b"import spy"),
        (f"{SITE}/sitecustomize.py", b"print('spying')"),
        (f"{SITE}/needed.pyc", b""),
        (f"{SITE}/__pycache__/needed.cpython-{sys.version_info[0]}{sys.version_info[1]}.pyc", b"spying"),
        (f"{SITE}/__pycache__/needed.cpython-399.pyc", b"never compiled"),
        (f"{SITE}/__pycache__/sitecustomize.cpython-311.pyc", b""),
        ("venv/bin/pip", b"#!/bin/sh"),
        ("venv/pyvenv.cfg", b"home = /tmp"),
        ("SHA256SUMS.sig", b"no signature"),
    ],
)
def test_what_was_changed_after_it_was_installed_is_refused(program, public, name, content):
    """Models, our modules, those of others, and whatever Python would run besides; the error names the file."""
    (program / name).write_bytes(content)

    with pytest.raises(ReleaseError) as error:
        verify_release.verify_installed(program, public)
    assert name.removesuffix(".sig") in str(error.value) or name == "packages/other.json"


def test_links_in_what_was_installed_are_refused(program, public, tmp_path):
    """A module, a folder of modules, and another Python."""
    for name in (f"{SITE}/needed.py", f"{SITE}/edge", "models"):
        (program / name).rename(tmp_path / "elsewhere")
        (program / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ReleaseError, match=f"{name} is a link"):
            verify_release.verify_installed(program, public)
        (program / name).unlink()
        (tmp_path / "elsewhere").rename(program / name)
    verify_release.verify_installed(program, public)

    (program / "venv/bin/python").unlink()
    (program / "venv/bin/python").symlink_to("/bin/sh")
    with pytest.raises(ReleaseError, match="venv/bin/python is not "):
        verify_release.verify_installed(program, public)


@pytest.mark.parametrize(
    "name",
    ["SHA256SUMS", "SHA256SUMS.sig", "release.json", "models/emotion.tflite", "packages", "venv/lib", "venv/bin"],
)
def test_what_is_missing_after_it_was_installed_is_refused(program, public, name):
    """A part that is gone is no release."""
    (shutil.rmtree if (program / name).is_dir() else Path.unlink)(program / name)

    with pytest.raises(ReleaseError, match="install the release again"):
        verify_release.verify_installed(program, public)


def test_a_missing_key_is_named(program, tmp_path):
    """With what to do."""
    with pytest.raises(ReleaseError, match=r"none\.pub is missing: put the public key there"):
        verify_release.verify_installed(program, tmp_path / "none.pub")


@pytest.mark.parametrize(("new", "old"), [("1.9.0", "1.10.0"), ("0.9", "0.9.1"), ("1.2.3", "2.0.0")])
def test_versions_are_compared_by_their_numbers(tmp_path, new, old):
    """1.10 is newer than 1.9."""
    (tmp_path / old).mkdir()
    (tmp_path / new).mkdir()

    with pytest.raises(ReleaseError, match=f"{new} is older than {old}"):
        verify_release.refuse_older(new, tmp_path / old)
    verify_release.refuse_older(old, tmp_path / new)
    verify_release.refuse_older(old, tmp_path / old)


def test_a_version_that_cannot_be_compared_is_refused(tmp_path):
    """Guessing would let an older one in."""
    (tmp_path / "1.0.0").mkdir()

    with pytest.raises(ReleaseError, match=r"1\.0\.0rc1"):
        verify_release.refuse_older("1.0.0rc1", tmp_path / "1.0.0")


def test_a_model_of_an_older_release_is_refused_unless_told_so(program, key, public, host, tmp_path):
    """The configuration may name a model of another release; a newer one is taken."""
    older = host.installed(write_release(tmp_path / "classpulse-1.2.2", "1.2.2", key))
    newer = host.installed(write_release(tmp_path / "classpulse-1.3.0", "1.3.0", key))

    with pytest.raises(ReleaseError, match=r"1\.2\.2 is older than 1\.2\.3"):
        verify_release.in_program(program, [older / "models/emotion.tflite"], public)
    allowed = verify_release.in_program(program, [older / "models/emotion.tflite"], public, allow_older=True)
    taken = verify_release.in_program(program, [newer / "models/emotion.tflite"], public)

    assert allowed == taken == f"1.2.3, signed with {public}"


def test_a_model_of_no_release_is_refused(program, key, tmp_path):
    """A file that somebody put beside, where the key says that releases are signed."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/emotion.tflite").write_bytes(b"trained at home")

    with pytest.raises(ReleaseError, match="SHA256SUMS is missing"):
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
