"""Install one role of a signed release into a folder of its own. Runs on the host, as root, with its own Python.

    install_release.py INCOMING --base /opt/classpulse --platform edge-py311-aarch64 --key /etc/classpulse/release.pub

Prints `installed` or `unchanged`. It refuses what the key did not sign and what differs from what was signed. `current`
is not touched: a release is installed first and chosen afterwards.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SUMS = "SHA256SUMS"


class ReleaseError(RuntimeError):
    """A release that is not installed; the text says why."""


def verified(folder: Path, key: Path) -> dict[str, str]:
    """File name -> SHA-256 of what is in `folder`, each checked.

    Raises:
        ReleaseError: If the signature is not of `key`, or a file differs or was not signed.
    """
    signature = ["-sigfile", folder / f"{SUMS}.sig", "-in", folder / SUMS]
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin", *signature]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise ReleaseError(f"{SUMS} is not signed with {key}")
    signed = {
        name: digest for digest, name in (line.split("  ", 1) for line in (folder / SUMS).read_text().splitlines())
    }
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name in (SUMS, f"{SUMS}.sig"):
            continue
        with path.open("rb") as file:
            if signed.get(name) != hashlib.file_digest(file, "sha256").hexdigest():
                raise ReleaseError(f"{name} is not the file that was signed")
    return signed


def target(base: Path, version: str, sums: bytes) -> Path | None:
    """The folder to install into; None if this very release is installed.

    Raises:
        ReleaseError: If another release of the same version is installed.
    """
    folder = base / "releases" / version
    if not (folder / SUMS).exists():
        return folder
    if (folder / SUMS).read_bytes() != sums:
        raise ReleaseError(f"another release {version} is installed: a version names one release only")
    return None


def install(incoming: Path, folder: Path, platform: str, *, system_packages: bool) -> None:
    """Fill `folder`; SHA256SUMS comes last, so that a folder without it is an attempt that broke off."""
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
    for name in ("release.json", f"{SUMS}.sig", SUMS):
        shutil.copy(incoming / name, folder)


def main() -> int:
    """Verify, install; 1 and one line on stderr if it is refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("incoming", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--platform", required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--system-packages", action="store_true", help="the environment sees apt's picamera2")
    arguments = parser.parse_args()
    try:
        verified(arguments.incoming, arguments.key)
        version = json.loads((arguments.incoming / "release.json").read_text())["version"]
        sums = (arguments.incoming / SUMS).read_bytes()
        folder = target(arguments.base, version, sums)
        if folder is not None:
            install(arguments.incoming, folder, arguments.platform, system_packages=arguments.system_packages)
    except (ReleaseError, OSError, subprocess.CalledProcessError) as error:
        print(f"release refused: {error}", file=sys.stderr)
        return 1
    print("unchanged" if folder is None else "installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
