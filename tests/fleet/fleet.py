"""The lab's hosts as a school: releases, an inventory, playbooks that run over ssh, and what the broker has to say."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.fleet.lab import ADMIN, SWITCH, Host, call, ssh_options, wait_for

PROJECT = Path(__file__).parents[2]
SITE = "greenfield"
EDGE = "classpulse-edge"
"""The daemon's unit."""
ROOMS = {"north": "room-north", "south": "room-south"}
"""Edge host -> its room."""
PLATFORMS = ("edge-py311-x86_64", "edge-py313-x86_64", "aggregator-py311-x86_64")
PICTURES = "/var/lib/class"
"""On an edge host: what its file camera plays."""
STORE = "/var/lib/classpulse-aggregator/store.sqlite"
VERSION = "0.5.0"
"""Of the lab's first release, whatever the project's own is: tests know what is older and newer."""
_PARTS = ("aggregator", "contract", "convert", "edge", "host", "release", "service", "requirements", "train")
_FILES = ("pyproject.toml", "README.md", "LICENSE")
_RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Played:
    """How a playbook ended."""

    status: int
    output: str
    seconds: float

    @property
    def changed(self) -> dict[str, int]:
        """Host -> number of changes."""
        return {host: int(changed) for host, _, changed, _, _ in _RECAP.findall(self.output)}

    @property
    def failed(self) -> set[str]:
        """Hosts that failed or were not reached."""
        return {host for host, _, _, away, failed in _RECAP.findall(self.output) if int(away) or int(failed)}

    def succeed(self) -> "Played":
        """Itself, if it did; AssertionError with its output otherwise."""
        if self.status:
            raise AssertionError(f"the playbook ended with {self.status}\n{self.output[-6000:]}")
        return self


@dataclass(slots=True)
class Fleet:
    """One school in the lab."""

    folder: Path
    hosts: dict[str, Host]
    release: Path
    """The signed folder that the inventory names."""
    room_vars: dict[str, dict[str, object]] = field(default_factory=dict)
    """Edge host -> variables that a test sets."""

    @property
    def key(self) -> Path:
        """The key that signs releases; its public half beside it."""
        return self.folder / "release.key"

    @property
    def pki(self) -> Path:
        """The certificate authority's folder."""
        return self.folder / "pki"

    def deploy(self) -> Played:
        """`make deploy`, as docs/deployment.md says."""
        return self._run("make", "-C", PROJECT, "-o", ".venv-fleet/.ready", "deploy", f"INVENTORY={self._write()}")

    def play(self, playbook: str, *arguments: str) -> Played:
        """Run a playbook of the project."""
        ansible = Path(sys.executable).with_name("ansible-playbook")
        return self._run(ansible, "-i", self._write(), PROJECT / "ansible" / playbook, *arguments)

    def _write(self) -> Path:
        inventory = self.folder / "inventory.yml"
        inventory.write_text(json.dumps(self._inventory(), indent=1))  # JSON is YAML
        return inventory

    def _run(self, *command: str | Path) -> Played:
        """From the controller's network."""
        space = ["ip", "netns", "exec", SWITCH, "env", f"ANSIBLE_CONFIG={PROJECT}/ansible/ansible.cfg"]
        # connections stay open for a minute, and another run's hosts have the same addresses
        space += ["ANSIBLE_NOCOLOR=1", "ANSIBLE_HOST_KEY_CHECKING=0", f"ANSIBLE_SSH_CONTROL_PATH_DIR={self.folder}"]
        started = time.monotonic()
        done = call(*space, *command, check=False, timeout_s=1500)
        played = Played(done.returncode, done.stdout + done.stderr, time.monotonic() - started)
        (self.folder / "ansible.log").open("a").write(f"$ {command}\n{played.output}\n")
        return played

    def identity(self, host: str) -> str:
        """The device's identity, `<site>/<room>/<device>`."""
        room = self.room_vars.get(host, {}).get("edge_room", ROOMS[host])
        return f"{SITE}/{room}/cam-1"

    def retained(self, topic: str) -> str:
        """The retained payload of a topic below classpulse/1; "" if there is none."""
        return self.on_broker(f"mosquitto_sub --retained-only -W 2 -t classpulse/1/{topic}").strip()

    def seen(self, host: str, version: str = "", seconds: int = 60) -> str:
        """What the broker sees of a room: fresh counts, or AssertionError."""
        device = self.identity(host)
        wanted = f"--version {version}" if version else ""
        return self.hosts["hub"].run(f"classpulse-seen {device} {wanted} --seconds {seconds}").strip()

    def seen_boot(self, host: str) -> str:
        """Which start of a room's daemon the broker hears counts of, as `seen`."""
        return self.seen(host, seconds=180).partition(" boot ")[2].partition(",")[0]

    def on_broker(self, command: str) -> str:
        """Run one of mosquitto's clients on the broker's machine as the fleet."""
        return self.hosts["hub"].run(f"XDG_CONFIG_HOME=/etc/classpulse/clients {command}", check=False)

    def windows(self) -> list[tuple[str, int, int]]:
        """(room, frames, faces) of every window that the aggregator has stored, oldest first."""
        query = "SELECT room, SUM(frames), SUM(faces) FROM windows GROUP BY room, start ORDER BY start"
        code = f'import json, sqlite3; print(json.dumps(sqlite3.connect("{STORE}").execute("{query}").fetchall()))'
        return [tuple(window) for window in json.loads(self.hosts["hub"].run(f"python3 -c '{code}'"))]

    def frames(self, host: str) -> int:
        """Frames that the aggregator has stored of a room."""
        room = self.identity(host).split("/")[1]
        return sum(frames for name, frames, _ in self.windows() if name == room)

    def in_use(self, host: str) -> str:
        """The version of the release that a room runs, or the aggregator."""
        return self.hosts[host].run(f"basename $(readlink {self.base(host)}/current)").strip()

    def base(self, host: str) -> str:
        """The folder of a host's releases, and of what installs them."""
        return "/opt/classpulse-aggregator" if host == "hub" else "/opt/classpulse"

    def await_counts(self, host: str) -> None:
        """Wait until the broker sees the room alive and the aggregator stores frames that it did not have."""
        before = self.frames(host)
        self.seen(host, seconds=180)
        wait_for(f"more frames of {host}", lambda: self.frames(host) > before)

    def _inventory(self) -> dict[str, object]:
        rooms = {
            host: {"ansible_host": self.hosts[host].address, "edge_room": room, **self.room_vars.get(host, {})}
            for host, room in ROOMS.items()
        }
        hub = {"ansible_host": self.hosts["hub"].address}
        common = {
            "ansible_user": ADMIN,
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": " ".join(ssh_options(self.hosts["hub"].key)),
            "classpulse_site": SITE,
            "classpulse_release": str(self.release),
            "classpulse_release_key": str(self.key.with_suffix(".pub")),
            "classpulse_pki": str(self.pki),
            "broker_ntp": False,  # hosts of the lab share this machine's clock and may not set it
            "edge_camera": f"file:{PICTURES}",
            "edge_camera_loop": True,
            "edge_camera_rate_hz": 1.0,
            "edge_min_faces": 1,
            "edge_span_s": 0.0,
            "edge_health_s": 5.0,
            "edge_clock_wait_s": 0.0,
            "edge_clock_synchronized": "/etc/hostname",
            "edge_alive_s": 90,
            "aggregator_alive_s": 60,
            "aggregator_page_user": "anna",
        }
        groups = {"broker": {"hosts": {"hub": hub}}, "aggregator": {"hosts": {"hub": hub}}, "edge": {"hosts": rooms}}
        return {"all": {"vars": common, "children": groups}}


def build_release(folder: Path, key: Path) -> Path:
    """A signed release of the working tree, as `make release` builds it, for the lab's hosts."""
    source = copy_of_project(folder / "source", VERSION)
    command = [sys.executable, "-m", "release", "--source", str(source), "--out", str(folder), "--key", str(key)]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    if done.returncode:
        raise AssertionError(f"no release: {done.stdout}\n{done.stderr}")
    return next(folder.glob("classpulse-*"))


def build_deb(
    folder: Path,
    version: str,
    debian: str,
    *,
    package: str = "classpulse",
    arch: str = "amd64",
    wheels: Path | None = None,
) -> Path:
    """A package of the working tree in a version, as `make deb` builds it; wheels from a folder, or downloaded."""
    source = copy_of_project(folder / f"source-{version}-{debian}", version)
    for name in ("debian", "systemd", "ansible"):
        shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)} if wheels else {}
    command = [PROJECT / ".venv/bin/python", "-m", "release.debian", "--out", folder, "--package", package]
    command += ["--arch", arch, "--debian", debian]
    done = subprocess.run(command, cwd=source, env=os.environ | offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(source)
    return folder / f"{package}_{version}+deb{debian}_{arch}.deb"


def next_release(old: Path, version: str, key: Path, edits: dict[str, str]) -> Path:
    """Another release with the same wheels around the project's own; `edits` are file -> what is added at its end."""
    new = old.with_name(f"classpulse-{version}")
    shutil.copytree(old, new, copy_function=_link)
    source = copy_of_project(old.parent / f"source-{version}", version)
    for name, text in edits.items():
        with (source / name).open("a") as file:
            file.write(text)
    old_wheel = next(new.glob("wheels/classpulse-*.whl"))
    old_wheel.unlink()
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", new / "wheels", source)
    _relist(new, f"wheels/{old_wheel.name}")
    facts = json.loads((old / "release.json").read_text())
    (new / "release.json").unlink()
    (new / "release.json").write_text(json.dumps({**facts, "version": version}))
    resign(new, key)
    return new


def resign(release: Path, key: Path) -> None:
    """Sign a release folder again, with `key`."""
    for name in ("SHA256SUMS", "SHA256SUMS.sig"):
        (release / name).unlink(missing_ok=True)
    code = (
        f"from pathlib import Path; from release.manifest import sign; sign(Path({str(release)!r}), Path({str(key)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)


def draw_class(host: Host) -> None:
    """Pictures of a class, for the host's file camera."""
    pictures = host.root / PICTURES.lstrip("/")
    call(PROJECT / ".venv/bin/python", "-m", "tests.fleet.pictures", pictures, cwd=PROJECT)


def _relist(release: Path, old_wheel: str) -> None:
    """Name the project's own new wheel in the lists of all platforms, in the old one's place."""
    code = "import json, sys; from pathlib import Path; from release.wheelhouse import installs; "
    code += "print(json.dumps(installs(Path(sys.argv[1]))))"
    ours = next(release.glob("wheels/classpulse-*.whl"))
    parts = json.loads(call(sys.executable, "-c", code, ours, cwd=PROJECT).stdout)
    for listed in release.glob("packages/*.json"):
        packages = json.loads(listed.read_text())
        del packages[old_wheel]
        listed.unlink()
        listed.write_text(json.dumps({**packages, f"wheels/{ours.name}": parts}))


def copy_of_project(folder: Path, version: str) -> Path:
    """The working tree's own files under another version, without what others build in it."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in _PARTS:
        shutil.copytree(PROJECT / name, folder / name, ignore=ignore)
    for name in _FILES:
        shutil.copy(PROJECT / name, folder / name)
    shutil.copytree(PROJECT / "models", folder / "models")
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(
        re.sub(r'^version = ".*"', f'version = "{version}"', pyproject.read_text(), flags=re.MULTILINE)
    )
    return folder


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
