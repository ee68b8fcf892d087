"""Install one role of a signed release into a folder of its own. Runs on the host, as root, with its own Python.

    install_release.py INCOMING --base /opt/classpulse --platform edge-py311-aarch64 --key /etc/classpulse/release.pub

Prints `installed` or `unchanged`. It refuses what the key did not sign, what differs from what was signed, and what is
older than the release in use. `current` is not touched: a release is installed first and chosen afterwards.
"""

import argparse
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


def install(incoming: Path, folder: Path, platform: str, *, system_packages: bool) -> None:
    """Fill `folder`; SHA256SUMS comes last, so that a folder without it is an attempt that broke off.

    The wheel stays, so that what was installed from it can be verified.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(incoming / "models", folder / "models")
    venv = [sys.executable, "-m", "venv", folder / "venv"]
    subprocess.run([*venv, "--system-site-packages"] if system_packages else venv, check=True)
    pip = [folder / "venv/bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index"]
    pins = incoming / "requirements" / f"{platform.rsplit('-', 1)[0]}.txt"
    with tempfile.TemporaryDirectory(dir=folder) as wheels:
        subprocess.run(["tar", "-xf", incoming / "wheels" / f"{platform}.tar", "-C", wheels], check=True)
        subprocess.run([*pip, "--no-deps", "--require-hashes", "--find-links", wheels, "-r", pins], check=True)
    wheel = json.loads((incoming / "release.json").read_text())["wheel"]
    subprocess.run([*pip, "--no-deps", incoming / wheel], check=True)
    for name in (wheel, "release.json", SIGNATURE, SUMS):
        shutil.copy(incoming / name, folder)


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
            install(arguments.incoming, folder, arguments.platform, system_packages=arguments.system_packages)
    except (ReleaseError, OSError, subprocess.CalledProcessError) as error:
        print(f"release refused: {error}", file=sys.stderr)
        return 1
    print("unchanged" if folder is None else "installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
