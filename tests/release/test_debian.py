"""A Debian package holds its pinned wheels, its units, and scripts that the shell can read."""

import base64
import gzip
import hashlib
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from release.debian import PACKAGES, SCRIPTS, Target, _sums, _words, build
from tests.needs import need

ROOT = Path(__file__).parents[2]
EDGE, AGGREGATOR, BOTH = PACKAGES


def wheel(folder: Path, name: str, version: str = "1.0") -> Path:
    """A wheel of one module."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"# {base64.b64encode(b'x' * 30_000).decode()}\n")
    return path


@pytest.fixture(params=PACKAGES, ids=lambda package: package.name)
def opened(request, tmp_path, monkeypatch):
    """Package, and the folder that its control files and its other files are unpacked into."""
    need("dpkg-deb")
    if not (ROOT / "models/yunet.tflite").exists():
        pytest.skip("models/yunet.tflite is missing (make models)")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    ours = wheel(tmp_path, "classpulse", "1.2.3")
    usual = os.umask(0o077)
    made = build(request.param, Target("12", "amd64"), [wheel(tmp_path, "needed")], ours, tmp_path / "out")
    os.umask(usual)
    assert made.name == f"{request.param.name}_1.2.3+deb12_amd64.deb"
    subprocess.run(["dpkg-deb", "-R", made, tmp_path / "opened"], check=True)
    return request.param, tmp_path / "opened"


def test_it_says_what_it_is_for(opened):
    """Processor, Python, the broker where there is one, and that a host has one of the three."""
    package, folder = opened
    control = (folder / "DEBIAN/control").read_text()

    assert "Architecture: amd64" in control
    assert "python3 (>= 3.11), python3 (<< 3.12)" in control
    assert ("mosquitto" in control) == ("aggregator" in package.roles)
    assert ("Recommends: python3-picamera2" in control) == ("edge" in package.roles)
    for other in {each.name for each in PACKAGES} - {package.name}:
        assert other in control.partition("Conflicts: ")[2].partition("\n")[0].split(", ")


def test_everybody_may_read_it_whatever_the_umask_was(opened):
    """The services run as users of their own."""
    (made,) = (opened[1].parent / "out").iterdir()

    listed = subprocess.run(["dpkg-deb", "--contents", made], check=True, capture_output=True, text=True).stdout

    assert {line.split()[0] for line in listed.splitlines()} == {"drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x"}


def test_lintian_finds_nothing(opened):
    """What Debian itself asks of a package."""
    need("lintian")
    (made,) = (opened[1].parent / "out").iterdir()

    told = subprocess.run(["lintian", "--fail-on", "error,warning", made], capture_output=True, text=True, check=False)

    assert (told.returncode, told.stdout) == (0, "")


def test_its_manual_page_says_what_help_says(opened):
    """Of the command and of its commands; no line is taken for an order to the formatter."""
    text = gzip.decompress((opened[1] / "usr/share/man/man1/classpulse.1.gz").read_bytes()).decode()

    assert "Article 5(1)(f)" in text
    assert r"\-\-people\-only ANSWER" in text
    assert {line.split()[0] for line in text.splitlines() if line.startswith((".", "'"))} == {
        ".TH",
        ".SH",
        ".nf",
        ".fi",
    }


def test_its_scripts_are_whole(opened):
    """The shell reads them, and no word is left to fill in; every path in md5sums is there."""
    _package, folder = opened

    for script in SCRIPTS:
        path = folder / "DEBIAN" / script
        assert subprocess.run(["sh", "-n", path], check=False).returncode == 0
        assert "@" not in path.read_text().replace('"$@"', ""), script
    for line in (folder / "DEBIAN/md5sums").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.md5((folder / name).read_bytes()).hexdigest() == digest  # noqa: S324 - dpkg's format


def test_it_brings_what_the_host_needs(opened):
    """Wheels with their sums, units, users, examples; models only for a camera, an access list only for a broker."""
    package, folder = opened
    there = {path.name for path in folder.rglob("*") if path.is_file()}

    assert {"needed-1.0-py3-none-any.whl", "classpulse-1.2.3-py3-none-any.whl", "SHA256SUMS"} <= there
    checked = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=folder / "usr/lib/classpulse/wheels", check=False
    )
    assert checked.returncode == 0
    assert {f"{unit}.service" for unit in package.units} == {name for name in there if name.endswith(".service")}
    assert {f"{role}.toml" for role in package.roles} == {name for name in there if name.endswith(".toml")}
    assert ("yunet.tflite" in there) == ("edge" in package.roles)
    assert ("classpulse.acl" in there) == ("aggregator" in package.roles)


def test_versions_with_the_same_pins_share_a_folder(tmp_path):
    """It is named by the others' wheels, not by ours."""
    (tmp_path / "newer").mkdir()
    old, new = wheel(tmp_path, "classpulse", "1.2.3"), wheel(tmp_path, "classpulse", "1.2.4")
    wheels = [wheel(tmp_path, "a"), wheel(tmp_path, "b")]
    newer = [wheel(tmp_path / "newer", "a", "1.1"), wheels[1]]

    named = _words(wheels, old)["LIBRARIES"]

    assert _words(wheels[::-1], new)["LIBRARIES"] == named
    assert _words(newer, new)["LIBRARIES"] != named


def test_two_versions_of_one_project_are_refused(tmp_path):
    """One would be unpacked over the other."""
    with pytest.raises(ValueError, match="two versions of a"):
        _sums([wheel(tmp_path, "a"), wheel(tmp_path, "a", "2.0")])
