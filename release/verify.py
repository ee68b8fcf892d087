"""Whether a release is what was signed, and no older than the one in use. Needs Python and the command openssl alone.

The roles bring this file to a host as verify_release.py; there the system's own Python runs it on a release's folder:

    verify_release.py FOLDER --key /etc/classpulse/release.pub [--installed]

It finds what is damaged, mixed up or somebody else's. Who is root on the device can change the key, too, and the list
of the bytecode, which the installer makes of verified sources and nobody signs.
"""

import argparse
import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
FACTS = "release.json"
BYTECODE = "bytecode.json"
"""File of bytecode, below the release's folder -> SHA-256: what the installer compiled."""
KEY = Path("/etc/classpulse/release.pub")
"""The Ed25519 public key that the device's releases must be signed with."""
Packages = dict[str, dict[str, str]]
"""packages/<platform>.json: wheel -> each file that it installs, below site-packages -> SHA-256."""
_AGAIN = "install the release again"


class ReleaseError(ValueError):
    """A release that is not to be used; the text names file and key, and what to do."""


def verify(folder: Path, key: Path, *, into: Path | None = None) -> str:
    """The version of the release in `folder`, which was brought, if each of its files is what was signed.

    Wheels and models may be missing: a host is brought only what it lacks.

    Args:
        folder: Whose it is does not matter.
        key: The public key, PEM.
        into: Write there each file from the very bytes that were verified.

    Raises:
        ReleaseError: If the signature is not of `key`, or a file is a link, differs or was not signed.
    """
    names = files(folder)
    sums, signature = (_read(folder / name, f"bring the whole folder {folder}") for name in (SUMS, SIGNATURE))
    signed = _signed(folder, sums, signature, key)
    contents = {SUMS: sums, SIGNATURE: signature}
    for name in sorted(names | {FACTS}):
        data = contents[name] if name in contents else _signed_file(folder, name, signed, key)
        if into is not None:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_bytes(data)
        if name == FACTS:
            version = str(json.loads(data)["version"])
    return version


def verify_installed(folder: Path, key: Path) -> str:
    """The version of the release that install_release.py left in `folder`, if it is what was signed, file by file.

    Raises:
        ReleaseError: As `verify`; and if a file is missing, or is of no package.
    """
    sums = _read(folder / SUMS)
    signed = _signed(folder, sums, _read(folder / SIGNATURE), key)
    python = folder / "venv/bin/python"
    there = files(folder, links=(python,))
    listed = sorted(name for name in there if name.startswith("packages/"))
    if len(listed) != 1:
        raise ReleaseError(f"{folder}/packages has {len(listed)} lists instead of one: {_AGAIN}")
    facts = json.loads(_signed_file(folder, FACTS, signed, key))
    packages: Packages = json.loads(_signed_file(folder, listed[0], signed, key))
    site = next((path for path in folder.glob("venv/lib/python3*/site-packages")), folder).relative_to(folder)
    expected = {name: digest for name, digest in signed.items() if name.startswith("models/")}
    expected |= {str(site / name): digest for wheel in packages.values() for name, digest in wheel.items()}
    compiled = json.loads(_read(folder / BYTECODE))
    expected |= {name: digest for name, digest in compiled.items() if _source(name) in expected}
    for name in sorted(expected):
        _signed_file(folder, name, expected, key)
    config = folder / "venv/pyvenv.cfg"
    if os.path.realpath(python) != os.path.realpath(sys.executable):
        raise ReleaseError(f"{python} is not {os.path.realpath(sys.executable)}: {_AGAIN}")
    if _read(config).decode() not in (environment(system_packages=False), environment(system_packages=True)):
        raise ReleaseError(f"{config} is not what the installer wrote: {_AGAIN}")
    known = {*expected, SUMS, SIGNATURE, FACTS, BYTECODE, listed[0], "venv/pyvenv.cfg"}
    for name in sorted(there - known):
        if not _kept(name):
            raise ReleaseError(f"{folder / name} is of no package: {_AGAIN}")
    return str(facts["version"])


def environment(*, system_packages: bool) -> str:
    """The pyvenv.cfg of an environment of this Python, which sees apt's packages or not."""
    home = Path(os.path.realpath(sys.executable)).parent
    return f"home = {home}\ninclude-system-site-packages = {str(system_packages).lower()}\n"


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
        ReleaseError: As `verify_installed` and `refuse_older`.
    """
    if allow_unsigned:
        return "not verified, as you said"
    if not key.exists() and not (program / SUMS).exists():
        return f"not installed from one, and {key} does not exist: nothing to verify"
    program = program.resolve()
    version = verify_installed(program, key)
    for home in {model.resolve().parents[1] for model in models} - {program}:
        models_version = verify_installed(home, key)
        if not allow_older:
            refuse_older(models_version, program)
    return f"{version}, signed with {key}"


def files(folder: Path, links: Iterable[Path] = ()) -> set[str]:
    """The names of all files below `folder`.

    Raises:
        ReleaseError: If there is anything but files and folders, besides `links`.
    """
    found = set()
    for place, folders, names in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *names)):
            mode = path.lstat().st_mode
            if path not in links and not stat.S_ISDIR(mode):
                if not stat.S_ISREG(mode):
                    raise ReleaseError(f"{path} is a link or no ordinary file: a release has none, bring it again")
                found.add(path.relative_to(folder).as_posix())
    return found


def plain(names: Iterable[str]) -> None:
    """Return if each name stays below the folder that it is written to, and is another's on every file system.

    Raises:
        ReleaseError: If one does not.
    """
    seen: set[str] = set()
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name or name.casefold() in seen:
            raise ReleaseError(f"{name!r} leaves its folder, or is there twice: no release has such a file")
        seen.add(name.casefold())


def _signed(folder: Path, sums: bytes, signature: bytes, key: Path) -> dict[str, str]:
    """File name -> SHA-256 of the list `sums`, whose signature is of `key`."""
    if not key.exists():
        raise ReleaseError(f"{key} is missing: put the public key there that your releases are signed with")
    with TemporaryDirectory() as private:  # openssl must read the bytes that are used afterwards
        for name, content in ((SUMS, sums), (SIGNATURE, signature)):
            Path(private, name).write_bytes(content)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", "-inkey", str(key.absolute())]
        command += ["-sigfile", SIGNATURE, "-in", SUMS]
        try:
            done = subprocess.run(command, capture_output=True, check=False, cwd=private)
        except FileNotFoundError:
            raise ReleaseError("the command openssl is missing: apt-get install openssl") from None
    if done.returncode:
        raise ReleaseError(f"{folder / SUMS} is not signed with {key}: it is somebody else's release, or was changed")
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in sums.decode().splitlines())}
    plain(listed)
    return listed


def _signed_file(folder: Path, name: str, signed: dict[str, str], key: Path) -> bytes:
    data = _read(folder / name)
    if signed.get(name) != hashlib.sha256(data).hexdigest():
        raise ReleaseError(f"{folder / name} is not the file that was signed with {key}: {_AGAIN}")
    return data


def _read(path: Path, otherwise: str = _AGAIN) -> bytes:
    """The bytes of an ordinary file that has no second name."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ReleaseError(f"{path} is missing: {otherwise}") from None
    with os.fdopen(file, "rb") as opened:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            raise ReleaseError(f"{path} has a second name or is no ordinary file: {otherwise}")
        return opened.read()


def _kept(name: str) -> bool:
    """Whether the roles put it beside a release: the configuration and units that it works with."""
    return "/" not in name and name.endswith((".toml", ".service", ".timer"))


def _source(name: str) -> str:
    """The module that bytecode is of; "" if it is none."""
    path = PurePosixPath(name)
    if path.suffix != ".pyc" or path.parent.name != "__pycache__":
        return ""
    return str(path.parent.parent / f"{path.name.partition('.')[0]}.py")


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
        version = (verify_installed if arguments.installed else verify)(arguments.folder, arguments.key)
    except (ReleaseError, OSError) as error:
        print(f"release refused: {error}", file=sys.stderr)
        return 1
    print(version, hashlib.sha256((arguments.folder / SUMS).read_bytes()).hexdigest())
    return 0


if __name__ == "__main__":
    sys.exit(main())
