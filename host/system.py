"""This host: systemd, users, files and certificates. The only file here that runs Debian's commands."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from host.files import AGGREGATOR, EDGE, File

USERS = {EDGE: "classpulse", AGGREGATOR: "classpulse-aggregator"}
UNITS = (Path("/usr/lib/systemd/system"), Path("/etc/systemd/system"))
AUTHORITY_DAYS, SERVER_DAYS = 3650, 825
_COMMANDS_S = 120.0


class HostError(RuntimeError):
    """Something that this host cannot do; the text says what, and how to go on."""


def call(*command: str, stdin: str | None = None, check: bool = True) -> str:
    """What a command prints.

    Raises:
        HostError: With its last line, if it fails and `check`.
    """
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, timeout=_COMMANDS_S, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{command[0]}: {error}") from error
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise HostError(f"{' '.join(command[:3])}: {said}")
    return done.stdout


def has(unit: str) -> bool:
    """Whether a package has brought this service, or the fleet's roles have."""
    return any((folder / f"{unit}.service").exists() for folder in UNITS)


def show(unit: str, *properties: str) -> dict[str, str]:
    """Properties of a unit, as systemd tells them."""
    lines = call("systemctl", "show", unit, *(f"--property={name}" for name in properties)).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def last_word(unit: str) -> str:
    """The newest line of a unit's journal that a program wrote."""
    for origin in ("identifier", "unit"):
        options = (f"--{origin}={unit}", "--lines=1", "--output=cat", "--no-pager")
        if said := call("journalctl", *options, check=False).strip():
            return said.splitlines()[-1]
    return "nothing in the journal"


def table(path: Path) -> dict[str, Any]:
    """A TOML file; {} where there is none.

    Raises:
        HostError: If it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise HostError(f"{path}: {error}: mend it, or move it away, and run `classpulse setup` again") from error


def write(files: Mapping[Path, File]) -> None:
    """Each file whole or not at all."""
    for path, file in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.name in ("keys", "others"):
            path.parent.chmod(0o700)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(file.content)
                opened.flush()
                os.fsync(opened.fileno())
            shutil.chown(name, "root", file.group)
            Path(name).chmod(file.mode)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def program(unit: str, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run `unit`'s program as its user, with its folders and credentials; output and errors are kept."""
    command = [*_as_service(unit), "--pipe", "--", *_command(unit, words)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, cwd="/")


def become(unit: str, words: Sequence[str]) -> int:
    """The same for a person: from this terminal, in this folder; the program's exit status."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    where = ["--pty" if terminal else "--pipe", f"--property=WorkingDirectory=-{Path.cwd()}"]
    return subprocess.run([*_as_service(unit), *where, "--", *_command(unit, words)], check=False).returncode


def _command(unit: str, words: Sequence[str]) -> list[str]:
    module = unit.removeprefix("classpulse-")  # a release has no other program than Python
    return [str(Path(sys.prefix) / "bin/python"), "-I", "-B", "-m", module, *words]


def _as_service(unit: str) -> list[str]:
    keys = ("LoadCredential", "SetCredential", "SupplementaryGroups", "Environment", "LimitCORE", "MemorySwapMax")
    properties = [
        f"User={USERS[unit]}",
        f"Group={USERS[unit]}",
        f"StateDirectory={USERS[unit]}",
        "StateDirectoryMode=0700",
    ]
    settings = [(key, value) for key, value in _settings(unit) if key in keys and value]
    # before the first setup there are none, and systemd would start nothing
    lacking = {("LoadCredential", value) for _, value in settings if not Path(value.partition(":")[2]).exists()}
    properties += [f"{key}={value}" for key, value in settings if (key, value) not in lacking]
    return ["systemd-run", "--quiet", "--wait", "--collect", *(f"--property={each}" for each in properties)]


def _settings(unit: str) -> list[tuple[str, str]]:
    """Key and value of each line of the unit and its drop-ins; an empty value takes away what came before."""
    found: list[tuple[str, str]] = []
    for line in call("systemctl", "cat", f"{unit}.service").splitlines():
        key, separator, value = line.partition("=")
        if separator and not key.startswith("#"):
            found = [each for each in found if each[0] != key or value] + [(key, value)]
    return found


def names() -> tuple[str, list[str]]:
    """This host's name on the network (.local, as mDNS has it), and every name and address of it."""
    host = socket.gethostname().partition(".")[0]
    addresses = call("hostname", "-I", check=False).split()
    return f"{host}.local", [f"{host}.local", host, "localhost", "127.0.0.1", *addresses]


def time_zone() -> str:
    """This host's, such as Europe/Berlin."""
    link = Path("/etc/localtime")
    zone = str(link.resolve()).partition("/zoneinfo/")[2] if link.is_symlink() else ""
    return zone or "UTC"


def cameras() -> list[str]:
    """Cameras that could be answered with: the Pi's own where libcamera's tool lists any, and USB's."""
    found = []
    for tool in ("rpicam-hello", "libcamera-hello"):
        if shutil.which(tool) and " : " in call(tool, "--list-cameras", check=False):
            found.append("pi")
            break
    for device in sorted(Path("/sys/class/video4linux").glob("video*")):
        usb = "/usb" in str(device.resolve())
        first = (device / "index").exists() and (device / "index").read_text().strip() == "0"
        if usb and first:
            found.append(f"usb:{device.name.removeprefix('video')}")
    return found


def authority(keys: Path) -> str:
    """This host's own certificate authority, as PEM; made where there is none."""
    key, certificate = keys / "own-ca.key", keys / "own-ca.crt"
    if not certificate.exists():
        with tempfile.TemporaryDirectory(dir=keys) as name:
            folder = Path(name)
            _key(folder / "key")
            command = ["openssl", "req", "-x509", "-new", "-key", str(folder / "key"), "-days", str(AUTHORITY_DAYS)]
            command += ["-subj", f"/CN=classpulse on {socket.gethostname()}", "-out", str(folder / "crt")]
            call(*command, "-addext", "keyUsage=critical,keyCertSign,cRLSign")
            (folder / "key").replace(key)
            (folder / "crt").replace(certificate)
    return certificate.read_text()


def server(keys: Path, host: str, names: Sequence[str]) -> tuple[str, str]:
    """A new certificate with its chain, and its key, both PEM, for a server of these names and addresses."""
    with tempfile.TemporaryDirectory(dir=keys) as name:
        folder = Path(name)
        _key(folder / "key")
        alternatives = ",".join(f"{'IP' if _is_address(each) else 'DNS'}:{each}" for each in dict.fromkeys(names))
        (folder / "ext").write_text(
            f"subjectAltName={alternatives}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n"
        )
        call("openssl", "req", "-new", "-key", str(folder / "key"), "-subj", f"/CN={host}", "-out", str(folder / "csr"))
        command = ["openssl", "x509", "-req", "-in", str(folder / "csr"), "-CA", str(keys / "own-ca.crt")]
        command += ["-CAkey", str(keys / "own-ca.key"), "-set_serial", f"0x{secrets.token_hex(16)}"]
        call(*command, "-days", str(SERVER_DAYS), "-extfile", str(folder / "ext"), "-out", str(folder / "crt"))
        return (folder / "crt").read_text() + (keys / "own-ca.crt").read_text(), (folder / "key").read_text()


def _key(path: Path) -> None:
    call("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(path))


def _is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdecimal()
