"""Install one role of a signed release into a folder of its own. Runs on the host, as root, with its own Python.

    install_release.py INCOMING --base /opt/classpulse --platform edge-py311-aarch64 --key /etc/classpulse/release.pub

Prints `installed` or `unchanged`. It refuses what the key did not sign, what differs from what was signed, and what is
older than the release in use. `current` is not touched: a release is installed first and chosen afterwards. Packages
that another installed release has from the same pins are copied from there, which spares a Pi minutes.
"""

import argparse
import base64
import csv
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from verify_release import SIGNATURE, SUMS, ReleaseError, refuse_older, verify


def target(base: Path, version: str, sums: bytes, key: Path) -> Path | None:
    """The folder to install into; None if this very release is installed and whole.

    Raises:
        ReleaseError: If another release of the same version is installed.
    """
    folder = base / "releases" / version
    try:
        verify(folder, key, installed=True)
    except ReleaseError:  # there is none, or an attempt that broke off, or one that a failing card has damaged
        return folder
    if (folder / SUMS).read_bytes() != sums:
        raise ReleaseError(f"another release {version} is installed: a version names one release only")
    return None


def install(incoming: Path, folder: Path, platform: str, key: Path, *, system_packages: bool) -> None:
    """Fill `folder`; SHA256SUMS comes last, so that a folder without it is an attempt that broke off.

    The wheel stays, so that what was installed from it can be verified.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(incoming / "models", folder / "models")
    venv = [sys.executable, "-m", "venv", "--without-pip", folder / "venv"]
    subprocess.run([*venv, "--system-site-packages"] if system_packages else venv, check=True)
    python = folder / "venv/bin/python"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]
    pins = f"requirements/{platform.rsplit('-', 1)[0]}.txt"
    if not take_over(folder, (incoming / SUMS).read_text(), pins, key):
        subprocess.run([python, "-m", "ensurepip", "--upgrade", "--default-pip"], check=True, stdout=subprocess.DEVNULL)
        with tempfile.TemporaryDirectory(dir=folder) as wheels:
            subprocess.run(["tar", "-xf", incoming / "wheels" / f"{platform}.tar", "-C", wheels], check=True)
            subprocess.run([*pip, "--require-hashes", "--find-links", wheels, "-r", incoming / pins], check=True)
    wheel = json.loads((incoming / "release.json").read_text())["wheel"]
    subprocess.run([*pip, incoming / wheel], check=True)
    for name in (wheel, "release.json", SIGNATURE, SUMS):
        shutil.copy(incoming / name, folder)


def take_over(folder: Path, sums: str, pins: str, key: Path) -> bool:
    """Copy the packages of a release beside `folder` that has the same pins, Python and kind of environment, if any."""
    pinned = next((line for line in sums.splitlines() if line.endswith(f"  {pins}")), None)
    site = next((folder / "venv/lib").glob("python3*/site-packages"))
    for other in sorted(folder.parent.iterdir(), reverse=True):
        there = other / site.relative_to(folder)
        try:
            verify(other, key, installed=True)
            same = pinned in (other / SUMS).read_text().splitlines() and _kind(other) == _kind(folder)
            names = packaged(there) if same else []
        except (ReleaseError, OSError, ValueError):  # damaged, or an attempt that broke off
            continue
        if names:
            for name in names:
                (site / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(there / name, site / name)
            subprocess.run([folder / "venv/bin/python", "-m", "compileall", "-q", site], check=False)
            return True
    return False


def packaged(site: Path) -> list[str]:
    """The files that pip installed below `site`, without our own package, commands and bytecode.

    Raises:
        ReleaseError: If a file differs from what pip wrote, or pip did not write it.
    """
    listed, names = set(), []
    for record in site.glob("*.dist-info/RECORD"):
        ours = record.parent.name.startswith("classpulse-")
        for name, digest, _ in csv.reader(record.read_text().splitlines()):
            listed.add(name)
            if ours or name.startswith("..") or name.endswith(".pyc"):
                continue
            if not name.endswith("/RECORD") and _digest(site / name) != digest:
                raise ReleaseError(f"{site / name} is not what pip installed")
            names.append(name)
    there = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    if strange := {name for name in there - listed if not name.endswith(".pyc")}:
        raise ReleaseError(f"{site / min(strange)} is in no package that pip installed")
    return names


def _digest(path: Path) -> str:
    """As pip writes it into its records."""
    with path.open("rb") as file:
        return "sha256=" + base64.urlsafe_b64encode(hashlib.file_digest(file, "sha256").digest()).decode().rstrip("=")


def _kind(release: Path) -> set[str]:
    """Which Python its environment is of, and whether it sees the system's packages."""
    lines = (release / "venv/pyvenv.cfg").read_text().splitlines()
    return {line for line in lines if not line.startswith("command")}  # it names the folder


def main() -> int:
    """Verify, install; 1 and one line on stderr if it is refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("incoming", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--platform", required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--allow-older", action="store_true")
    parser.add_argument("--system-packages", action="store_true", help="the environment sees apt's picamera2")
    arguments = parser.parse_args()
    try:
        version = verify(arguments.incoming, arguments.key)
        if not arguments.allow_older:
            refuse_older(version, arguments.base / "current")
        sums = (arguments.incoming / SUMS).read_bytes()
        folder = target(arguments.base, version, sums, arguments.key)
        if folder is not None:
            install(
                arguments.incoming, folder, arguments.platform, arguments.key, system_packages=arguments.system_packages
            )
    except (ReleaseError, OSError, subprocess.CalledProcessError) as error:
        print(f"release refused: {error}", file=sys.stderr)
        return 1
    print("unchanged" if folder is None else "installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
