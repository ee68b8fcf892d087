"""Whether a release is what was signed, and no older than the one in use. Needs Python and the command openssl alone.

The roles bring this file to a host as verify_release.py; there the system's own Python runs it on a release's folder:

    verify_release.py FOLDER --key /etc/classpulse/release.pub [--installed]

It finds what is damaged, mixed up or somebody else's. Who is root on the device can change the key, too.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
FACTS = "release.json"
KEY = Path("/etc/classpulse/release.pub")
"""The Ed25519 public key that the device's releases must be signed with."""


class ReleaseError(ValueError):
    """A release that is not to be used; the text names file and key, and what to do."""


def verify(folder: Path, key: Path, *, installed: bool = False) -> str:
    """The version of the release in `folder`, if it is what was signed.

    Of a folder that was brought every file is looked at; of one that is installed the models, the wheel, and the
    modules that were installed from it.

    Raises:
        ReleaseError: If the signature is not of `key`, or a file differs, is missing or was not signed.
    """
    sums = _signed(folder, key)
    _unchanged(folder, [FACTS], sums, key)
    facts = json.loads((folder / FACTS).read_text())
    there = (folder / "models" if installed else folder).rglob("*")
    names = {path.relative_to(folder).as_posix() for path in there if not path.is_dir()} - {SUMS, SIGNATURE}
    needed = {facts["wheel"], *(name for name in sums if name.startswith("models/"))}
    _unchanged(folder, sorted(names | needed), sums, key)
    if installed:
        _installed_from(folder / facts["wheel"], folder)
    return str(facts["version"])


def refuse_older(version: str, in_use: Path) -> None:
    """Return if `version` is that of the release in use or a newer one; `in_use` is its folder, or a link to it.

    Raises:
        ReleaseError: If it is older.
    """
    used = in_use.resolve().name  # a release is installed in a folder that has its version's name
    if in_use.exists() and _order(version) < _order(used):
        raise ReleaseError(f"{version} is older than {used}, which is in use: take the newer one, or allow the older")


def in_program(
    program: Path, models: Iterable[Path], key: Path = KEY, *, allow_unsigned: bool = False, allow_older: bool = False
) -> str:
    """What the running program's release is, for people.

    Args:
        program: The folder that its environment lies in.
        models: The files that it is configured to use; each may lie in another release, but in no older one.
        key: As in `verify`. Where it is missing nothing was installed by the role, and nothing is asked for.
        allow_unsigned: Verify nothing.
        allow_older: Take models of an older release.

    Raises:
        ReleaseError: As `verify` and `refuse_older`.
    """
    if allow_unsigned:
        return "not verified, as you said"
    if not key.exists() and not (program / SUMS).exists():
        return f"not installed from one, and {key} does not exist: nothing to verify"
    version = verify(program, key, installed=True)
    for home in {model.resolve().parents[1] for model in models} - {program.resolve()}:
        models_version = verify(home, key, installed=True)
        if not allow_older:
            refuse_older(models_version, program)
    return f"{version}, signed with {key}"


def _signed(folder: Path, key: Path) -> dict[str, str]:
    """File name -> SHA-256 of the list whose signature is of `key`."""
    if not key.exists():
        raise ReleaseError(f"{key} is missing: put the public key there that your releases are signed with")
    for name in (SUMS, SIGNATURE):
        if not (folder / name).exists():
            raise ReleaseError(f"{folder / name} is missing: bring the whole folder that `make release` built")
    files = ["-inkey", str(key), "-sigfile", str(folder / SIGNATURE), "-in", str(folder / SUMS)]
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", *files]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise ReleaseError("the command openssl is missing: apt-get install openssl") from None
    if done.returncode:
        raise ReleaseError(f"{folder / SUMS} is not signed with {key}: it is somebody else's release, or was changed")
    lines = (folder / SUMS).read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def _unchanged(folder: Path, names: Iterable[str], sums: dict[str, str], key: Path) -> None:
    for name in names:
        path = folder / name
        if not path.exists():
            raise ReleaseError(f"{path} is missing: install the release again")
        with path.open("rb") as file:
            if sums.get(name) != hashlib.file_digest(file, "sha256").hexdigest():
                raise ReleaseError(f"{path} is not the file that was signed with {key}: install the release again")


def _installed_from(wheel: Path, folder: Path) -> None:
    """Every module of the wheel is in the folder's environment, as it is in the wheel, and no others beside it."""
    site = next(folder.glob("venv/lib/python3*/site-packages"), folder)
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}
        for name in sorted(names):
            if not (site / name).exists() or (site / name).read_bytes() != archive.read(name):
                raise ReleaseError(f"{site / name} is not what {wheel} holds: install the release again")
    packages = {name.partition("/")[0] for name in names}
    found = {path.relative_to(site).as_posix() for package in packages for path in (site / package).rglob("*.py")}
    for name in sorted(found - names):
        raise ReleaseError(f"{site / name} is not in {wheel}: install the release again")


def _order(version: str) -> tuple[int, ...]:
    try:
        return tuple(map(int, version.split(".")))
    except ValueError:
        raise ReleaseError(
            f"version {version!r} is not numbers with dots between: name releases such as 1.2.3"
        ) from None


def main() -> int:
    """Print version and the list's SHA-256; 1 and one line on standard error if the release is not to be used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--key", type=Path, default=KEY)
    parser.add_argument("--installed", action="store_true", help="it has an environment, which is looked at too")
    arguments = parser.parse_args()
    try:
        version = verify(arguments.folder, arguments.key, installed=arguments.installed)
    except (ReleaseError, OSError) as error:
        print(f"release refused: {error}", file=sys.stderr)
        return 1
    print(version, hashlib.sha256((arguments.folder / SUMS).read_bytes()).hexdigest())
    return 0


if __name__ == "__main__":
    sys.exit(main())
