"""Build Debian packages that carry their wheels: `python -m release.debian --out dist`. Needs dpkg-deb; no root.

`classpulse-edge` is the camera, `classpulse-aggregator` store and page beside a broker, `classpulse` both; a host has
one of them. A package brings wheels, units and the maintainer scripts of debian/, which make the environment.
"""

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from tempfile import TemporaryDirectory

from release.wheelhouse import Platform, build_wheel, fetch

ROOT = Path(__file__).parents[1]
MAINTAINER = "classpulse authors <classpulse@users.noreply.github.com>"
DESCRIPTION = (
    " Counts faces and facial expressions in the pictures of a camera and\n"
    " publishes the counts. No picture leaves the host. Run `classpulse setup`\n"
    " after installing: it asks what the law and the room need."
)
MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
"""Debian's name of a processor -> the kernel's."""
PYTHONS = {"12": "3.11", "13": "3.13"}
"""Debian's version -> its Python's."""
MODELS = ("yunet.tflite", "yunet.json")
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


@dataclass(frozen=True, slots=True)
class Package:
    """One of the three."""

    name: str
    roles: tuple[str, ...]
    """Of `edge` and `aggregator`."""
    summary: str
    depends: tuple[str, ...]

    @property
    def units(self) -> list[str]:
        """The services, in the order in which they start."""
        units = {"aggregator": ["classpulse-aggregator", "classpulse-page"], "edge": ["classpulse-edge"]}
        return [unit for role, names in units.items() if role in self.roles for unit in names]

    @property
    def users(self) -> list[str]:
        """The services' users."""
        return [{"edge": "classpulse", "aggregator": "classpulse-aggregator"}[role] for role in self.roles]

    @property
    def bases(self) -> list[str]:
        """Folders whose `current` is the environment; the units name them."""
        return ["/opt/classpulse", *(["/opt/classpulse-aggregator"] if "aggregator" in self.roles else [])]


PACKAGES = (
    Package("classpulse-edge", ("edge",), "classroom camera that publishes only counts", ()),
    Package("classpulse-aggregator", ("aggregator",), "live page of all rooms' counts", ("mosquitto", "openssl")),
    Package(
        "classpulse", ("edge", "aggregator"), "classroom camera and live page on one host", ("mosquitto", "openssl")
    ),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a package is for."""

    debian: str
    """Such as 12."""
    arch: str
    """`arm64` or `amd64`."""

    def platform(self, role: str) -> Platform:
        """Whose pins and wheels these are."""
        return Platform(role, PYTHONS[self.debian], MACHINES[self.arch])


def build(package: Package, target: Target, wheels: list[Path], ours: Path, out: Path) -> Path:
    """The .deb file.

    Args:
        package: Which one.
        target: For which Debian and processor.
        wheels: The pinned wheels, downloaded and checked.
        ours: The project's own wheel.
        out: The folder that the file is written to.
    """
    version = f"{ours.name.split('-')[1]}+deb{target.debian}"
    with TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        _install(package, wheels, ours, root, version)
        _control(package, target, root, version, _words(wheels, ours))
        for each in root.rglob("*"):  # whatever the umask is
            each.chmod(0o755 if each.is_dir() or os.access(each, os.X_OK) else 0o644)
        out.mkdir(parents=True, exist_ok=True)
        made = out / f"{package.name}_{version}_{target.arch}.deb"
        # wheels are packed already: fast is better than small
        command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", name, str(made)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return made


def _install(package: Package, wheels: list[Path], ours: Path, root: Path, version: str) -> None:
    folder = "usr/lib/classpulse/wheels"
    files: dict[str, bytes | Path] = {f"{folder}/{each.name}": each for each in (*wheels, ours)}
    files[f"{folder}/SHA256SUMS"] = _sums([*wheels, ours]).encode()
    for unit in package.units:
        files[f"usr/lib/systemd/system/{unit}.service"] = ROOT / f"systemd/{unit}.service"
    users = (f'u {user} - "classpulse" /nonexistent /usr/sbin/nologin\n' for user in package.users)
    files["usr/lib/sysusers.d/classpulse.conf"] = (
        (ROOT / "debian/sysusers.conf").read_text() + "".join(users)
    ).encode()
    if "edge" in package.roles:
        files |= {f"usr/share/classpulse/models/{name}": ROOT / "models" / name for name in MODELS}
    if "aggregator" in package.roles:
        files["usr/share/classpulse/classpulse.acl"] = ROOT / "ansible/roles/broker/files/classpulse.acl"
    doc = f"usr/share/doc/{package.name}"
    for role in package.roles:
        files[f"{doc}/examples/{role}.toml"] = _said(role, "check", "--example").encode()
    licence = textwrap.indent((ROOT / "LICENSE").read_text(), " ", lambda _: True).replace(" \n", " .\n")
    files[f"{doc}/copyright"] = (ROOT / "debian/copyright").read_text().replace("@LICENSE@\n", licence).encode()
    files[f"{doc}/changelog.gz"] = gzip.compress(_changelog(package, version).encode(), mtime=0)
    files["usr/share/man/man1/classpulse.1.gz"] = gzip.compress(_manual(package).encode(), mtime=0)
    for path, content in {**files, "usr/bin/classpulse": ROOT / "debian/classpulse"}.items():
        made = root / path
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        made.chmod(0o755 if path.startswith("usr/bin/") else 0o644)


def _said(*words: str) -> str:
    """What one of our commands prints, on lines of 78 characters at most."""
    command, settings = [sys.executable, "-m", *words], os.environ | {"COLUMNS": "80"}
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=True).stdout


def _manual(package: Package) -> str:
    """The manual page of the command `classpulse`: what it and its commands print as help."""
    text = f".TH CLASSPULSE 1\n.SH NAME\nclasspulse \\- {package.summary}\n"
    for title, words in {"DESCRIPTION": (), "SETUP": ("setup",), "STATUS": ("status",)}.items():
        shown = _said("host", *words, "--help").replace("\\", "\\e").replace("-", "\\-")
        text += f".SH {title}\n.nf\n" + "".join(f"\\&{line}\n" for line in shown.splitlines()) + ".fi\n"
    return text


def _sums(wheels: list[Path]) -> str:
    """What `sha256sum --check` reads; ValueError if a project is there in two versions."""
    names = [wheel.name.partition("-")[0] for wheel in wheels]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"requirements/ pin two versions of {', '.join(sorted(twice))}: run requirements/compile.sh")
    return "".join(f"{hashlib.sha256(wheel.read_bytes()).hexdigest()}  {wheel.name}\n" for wheel in sorted(wheels))


def _words(wheels: list[Path], ours: Path) -> dict[str, str]:
    """What the scripts' words stand for, besides the package's own."""
    libraries = hashlib.sha256(_sums(wheels).encode()).hexdigest()[:12]
    return {"LIBRARIES": libraries, "NEED_MB": str(_room_mb([*wheels, ours])), "OURS_MB": str(_room_mb([ours]))}


def _control(package: Package, target: Target, root: Path, version: str, words: dict[str, str]) -> None:
    folder = root / "DEBIAN"
    files = sorted(path for path in root.rglob("*") if path.is_file())
    size_kb = sum(path.stat().st_size for path in files) // 1024 + 1
    major, minor = PYTHONS[target.debian].split(".")
    python = [f"python3 (>= {major}.{minor})", f"python3 (<< {major}.{int(minor) + 1})"]
    others = ", ".join(each.name for each in PACKAGES if each != package)
    fields = {
        "Package": package.name,
        "Version": version,
        "Architecture": target.arch,
        "Maintainer": MAINTAINER,
        "Installed-Size": str(size_kb),
        "Depends": ", ".join([*python, "systemd", *package.depends]),
        "Recommends": "python3-picamera2" if "edge" in package.roles else "",
        "Conflicts": others,
        "Replaces": others,
        "Section": "misc",
        "Priority": "optional",
        "Description": f"{package.summary}\n{DESCRIPTION}",
    }
    folder.mkdir()
    (folder / "control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items() if value))
    sums = (f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files)  # noqa: S324 - dpkg's format
    (folder / "md5sums").write_text("".join(sums))
    words |= {"PACKAGE": package.name, "VERSION": version}
    words |= {name.upper(): " ".join(getattr(package, name)) for name in ("units", "users", "bases")}
    for script in SCRIPTS:
        text = (ROOT / "debian" / script).read_text()
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        (folder / script).write_text(text)
        (folder / script).chmod(0o755)


def _room_mb(wheels: list[Path]) -> int:
    """What is needed: the wheels' files, as much again for bytecode as there are modules, and 100 MB."""
    total = 0
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            total += sum(each.file_size * (2 if each.filename.endswith(".py") else 1) for each in archive.infolist())
    return total // 2**20 + 100


def _changelog(package: Package, version: str) -> str:
    date = formatdate(int(os.environ.get("SOURCE_DATE_EPOCH", _committed())))
    return f"{package.name} ({version}) stable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- {MAINTAINER}  {date}\n"


def _committed() -> str:
    git = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "0"


def main() -> int:
    """Build those that are asked for; 1 and one line where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    names = [package.name for package in PACKAGES]
    parser.add_argument("--package", action="append", choices=names, help="default: all three")
    parser.add_argument("--debian", action="append", choices=PYTHONS, help="default: both")
    parser.add_argument("--arch", action="append", choices=MACHINES, help="default: both")
    arguments = parser.parse_args()
    if shutil.which("dpkg-deb") is None:
        print("deb: dpkg-deb is missing: apt-get install dpkg-dev", file=sys.stderr)
        return 1
    missing = [name for name in MODELS if not (ROOT / "models" / name).exists()]
    if missing:
        print(f"deb: models/{missing[0]} is missing (make models)", file=sys.stderr)
        return 1
    packages = [package for package in PACKAGES if package.name in (arguments.package or names)]
    targets = [Target(debian, arch) for debian in arguments.debian or PYTHONS for arch in arguments.arch or MACHINES]
    with TemporaryDirectory() as folder:
        ours = build_wheel(ROOT, Path(folder))
        for target in targets:
            wheels = {
                role: fetch(target.platform(role), _pins(target, role), Path(folder))
                for role in ("edge", "aggregator")
                if any(role in package.roles for package in packages)
            }
            for package in packages:
                needed = {wheel.name: wheel for role in package.roles for wheel in wheels[role]}
                made = build(package, target, list(needed.values()), ours, arguments.out)
                print(f"{made}: {made.stat().st_size / 1e6:.0f} MB")
    return 0


def _pins(target: Target, role: str) -> Path:
    return ROOT / f"requirements/{target.platform(role).pins}.txt"


if __name__ == "__main__":
    sys.exit(main())
