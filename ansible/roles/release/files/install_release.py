"""Install one role of a signed release into a folder of its own. Runs on the host, as root, with its own Python.

    install_release.py INCOMING --base /opt/classpulse --platform edge-py311-aarch64 --key /etc/classpulse/release.pub

Prints `installed`, `unchanged`, or a line for each file of the release that is to be brought first: what another
installed release has is taken from there. It refuses what the key did not sign, what differs from what was signed, and
what is older than the release in use. `current` is not touched: a release is installed first and chosen afterwards.

What arrived is copied to a folder of root's as it is verified, and only the copy is installed. No program of the
release runs: wheels are unpacked, file by file, and each is compared with the signed list of its platform.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from verify_release import (
    BYTECODE,
    FACTS,
    SIGNATURE,
    SUMS,
    Packages,
    ReleaseError,
    environment,
    plain,
    refuse_older,
    verify,
    verify_installed,
)


def target(base: Path, version: str, sums: bytes, key: Path) -> Path | None:
    """The folder to install into; None if this very release is installed and whole.

    Raises:
        ReleaseError: If another release of the same version is installed.
    """
    folder = base / "releases" / version
    try:
        verify_installed(folder, key)
    except (
        ReleaseError,
        OSError,
    ):  # there is none, or an attempt that broke off, or one that a failing card has damaged
        return folder
    if (folder / SUMS).read_bytes() != sums:
        raise ReleaseError(f"another release {version} is installed: a version names one release only")
    return None


def packages_of(arrived: Path, platform: str) -> Packages:
    """What the platform installs, from wheels that its pins name.

    Raises:
        ReleaseError: If the release is not for it.
    """
    listed = arrived / f"packages/{platform}.json"
    pins = arrived / f"requirements/{platform.rsplit('-', 1)[0]}.txt"
    for path in (listed, pins):
        if not path.exists():
            name = path.relative_to(arrived)
            raise ReleaseError(f"{name} is missing: build the release with --platform {platform}, and bring it whole")
    packages: Packages = json.loads(listed.read_text())
    plain(name for wheel in packages.values() for name in wheel)
    pinned, sums = pins.read_text(), signed_in(arrived)
    for wheel in packages:
        if f"sha256:{sums[wheel]}" not in pinned and not wheel.startswith("wheels/classpulse-"):
            raise ReleaseError(f"{wheel} is not the wheel that {pins.name} pins: build the release again")
    return packages


def signed_in(folder: Path) -> dict[str, str]:
    """File -> SHA-256, as a list says that was verified."""
    lines = (folder / SUMS).read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


class Installed:
    """The files that other releases on this host have, by their content."""

    def __init__(self, releases: Path) -> None:
        self._paths: dict[str, Path] = {}
        for listed in sorted(releases.glob("*/packages/*.json")):
            folder = listed.parents[1]
            site = next(folder.glob("venv/lib/python3*/site-packages"), folder)
            try:
                packages: Packages = json.loads(listed.read_text())
                models = {folder / name: digest for name, digest in signed_in(folder).items() if "models/" in name}
            except (OSError, ValueError):  # an attempt that broke off
                continue
            names = {site / name: digest for wheel in packages.values() for name, digest in wheel.items()}
            self._paths |= {digest: path for path, digest in {**models, **names}.items()}

    def read(self, digest: str) -> bytes | None:
        """The content with this SHA-256, if there is any; what is damaged is passed over."""
        path = self._paths.get(digest)
        data = path.read_bytes() if path is not None and path.is_file() else b""
        return data if hashlib.sha256(data).hexdigest() == digest else None


def lacking(arrived: Path, packages: Packages, installed: Installed) -> list[str]:
    """The files of the release that neither arrived nor can be taken from another release."""
    models = {name: {name: digest} for name, digest in signed_in(arrived).items() if name.startswith("models/")}
    return [
        name
        for name, parts in {**models, **packages}.items()
        if not (arrived / name).exists() and any(installed.read(digest) is None for digest in parts.values())
    ]


def install(arrived: Path, folder: Path, platform: str, packages: Packages, installed: Installed) -> None:
    """Fill `folder`, whose environment is made.

    Raises:
        ReleaseError: If a wheel does not hold what the list of its platform says.
    """
    site = folder / f"venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    site.mkdir(parents=True)
    for wheel, parts in packages.items():
        for name, data in unpacked(arrived / wheel, parts, installed).items():
            write(site / name, data)
    for name, digest in signed_in(arrived).items():
        if name.startswith("models/"):
            data = (arrived / name).read_bytes() if (arrived / name).exists() else installed.read(digest)
            write(folder / name, data or b"")
    for name in (f"packages/{platform}.json", FACTS, SIGNATURE, SUMS):
        write(folder / name, (arrived / name).read_bytes())


def unpacked(wheel: Path, parts: dict[str, str], installed: Installed) -> dict[str, bytes]:
    """What a wheel installs: below site-packages -> content."""
    if not wheel.exists():
        return {name: installed.read(digest) or b"" for name, digest in parts.items()}
    with zipfile.ZipFile(io.BytesIO(wheel.read_bytes())) as archive:
        contents = {name: archive.read(name) for name in parts}
    for name, digest in parts.items():
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise ReleaseError(f"{name} of {wheel.name} is not what the release lists: build the release again")
    return contents


def make_environment(folder: Path, *, system_packages: bool) -> None:
    """A virtual environment of this Python, as PEP 405 wants it, without pip or any other program."""
    (folder / "venv/bin").mkdir(parents=True)
    (folder / "venv/bin/python").symlink_to(Path(sys.executable).resolve())
    write(folder / "venv/pyvenv.cfg", environment(system_packages=system_packages).encode())


def write(path: Path, data: bytes) -> None:
    """A new file, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o644)


def run(arguments: argparse.Namespace, arrived: Path) -> str:
    """Verify what arrived while it is copied, and install the copy; what to print."""
    version = verify(arguments.incoming, arguments.key, into=arrived)
    if not arguments.allow_older:
        refuse_older(version, arguments.base / "current")
    packages = packages_of(arrived, arguments.platform)
    folder = target(arguments.base, version, (arrived / SUMS).read_bytes(), arguments.key)
    if folder is None:
        return "unchanged"
    installed = Installed(arguments.base / "releases")
    if missing := lacking(arrived, packages, installed):
        return "\n".join(missing)
    new = arrived.parent / "new"
    make_environment(new, system_packages=arguments.system_packages)
    install(arrived, new, arguments.platform, packages, installed)
    shutil.rmtree(folder, ignore_errors=True)  # an attempt that broke off, or what was damaged
    folder.parent.mkdir(exist_ok=True)
    new.rename(folder)
    compiling = [folder / "venv/bin/python", "-I", "-m", "compileall", "-q", folder / "venv/lib"]
    subprocess.run(compiling, check=False, stdout=subprocess.DEVNULL)
    compiled = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("venv/lib/**/*.pyc"))}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in compiled.items()}
    write(folder / BYTECODE, json.dumps(digests, indent=1).encode())
    verify_installed(folder, arguments.key)
    return "installed"


def main() -> int:
    """1 and one line on stderr if the release is refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("incoming", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--platform", required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--allow-older", action="store_true")
    parser.add_argument("--system-packages", action="store_true", help="the environment sees apt's picamera2")
    arguments = parser.parse_args()
    try:
        os.umask(0o022)  # the service's user reads what root installs
        arguments.base.mkdir(parents=True, exist_ok=True)
        for left in arguments.base.glob("installing-*"):  # of a run that was killed
            shutil.rmtree(left)
        with TemporaryDirectory(dir=arguments.base, prefix="installing-") as private:
            print(run(arguments, Path(private, "arrived")))
    except (ReleaseError, OSError, KeyError, zipfile.BadZipFile) as error:
        print(f"release refused: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
