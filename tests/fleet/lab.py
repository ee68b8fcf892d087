"""Real hosts on one machine: each boots systemd from an overlay root, in a network namespace with its own address.

Nothing but a switch connects them: no internet, no shared files. Needs root.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests import needs

TOOLS = ("systemd-nspawn", "mmdebstrap", "ip", "ssh", "ssh-keygen")
"""Packages systemd-container, mmdebstrap, iproute2, openssh-client."""
SWITCH = "cp-lab"
"""The controller's network namespace; the switch is in it."""
CONTROLLER = "10.77.0.1"
ADMIN = "admin"
"""The user whom ansible/firstboot makes: ssh with the controller's key, sudo without a password."""
_PACKAGES = (
    "systemd,systemd-sysv,libpam-systemd,dbus,openssh-server,python3,python3-venv,python3-apt,iproute2,ca-certificates,"
    "openssl,procps,sudo"
)
_ON_THE_MIRROR = ("mosquitto", "mosquitto-clients", "systemd-timesyncd")
"""What the roles install; it lies in the package cache, as on a school's mirror."""
MIRROR = tuple(filter(None, [os.environ.get("LAB_DEBIAN_MIRROR")]))
"""Behind mmdebstrap's other arguments; without one it takes Debian's own."""
_REBOOTED = 133
"""systemd-nspawn's exit status when the host wants to boot again."""
# Without bpf() inside, IPAddressDeny and DeviceAllow of a unit silently do nothing.
_NSPAWN = (
    "--boot",
    "--quiet",
    "--register=no",
    "--keep-unit",
    "--resolv-conf=off",
    "--timezone=off",
    "--link-journal=no",
    "--console=pipe",
    "--system-call-filter=bpf",
    "--capability=CAP_BPF,CAP_NET_ADMIN,CAP_PERFMON",
)


DETECTOR = Path(__file__).parents[2] / "models/yunet.tflite"
"""In every release, and not in the repository."""


def missing() -> str:
    """Why no lab can be built here; "" where it can."""
    if os.geteuid() != 0:
        return "hosts need root"
    lacking = needs.missing(*TOOLS)
    return f"not installed: {lacking}" if lacking else no_detector()


def no_detector() -> str:
    """What to do for YuNet's file; "" where it is."""
    return "" if DETECTOR.exists() else f"models/{DETECTOR.name} is missing (make models)"


def call(
    *command: str | Path, check: bool = True, timeout_s: float = 1200, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command; its output is kept, and shown where it fails."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=timeout_s, cwd=cwd
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def wait_for(what: str, seen: Callable[[], object], timeout_s: float = 180, every_s: float = 0.3) -> object:
    """The first truthy answer of `seen`; AssertionError naming `what` after the time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        answer = seen()
        if answer:
            return answer
        time.sleep(every_s)
    raise AssertionError(f"not within {timeout_s:.0f} s: {what}")


def root_of(suite: str, cache: Path) -> Path:
    """The folder of a Debian suite's root, made on first use (a minute) and kept until the packages change."""
    recipe = hashlib.sha256(repr((_PACKAGES, _ON_THE_MIRROR)).encode()).hexdigest()[:8]
    root = cache / f"{suite}-{recipe}"
    if not root.exists():
        new = cache / f"{suite}.new"
        shutil.rmtree(new, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        call(
            "mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", suite, new, *MIRROR, timeout_s=1500
        )
        shutil.copy("/etc/resolv.conf", new / "etc/resolv.conf")
        call("chroot", new, "apt-get", "update", "-qq")
        fetch = ("apt-get", "install", "-qq", "--yes", "--download-only", "--no-install-recommends")
        call("chroot", new, *fetch, *_ON_THE_MIRROR)
        (new / "etc/resolv.conf").unlink()
        call("chroot", new, "useradd", "--create-home", "--shell", "/bin/bash", ADMIN)
        (new / "etc/sudoers.d" / ADMIN).write_text(f"{ADMIN} ALL=(ALL) NOPASSWD:ALL\n")
        new.rename(root)
    return root


@dataclass(slots=True)
class Host:
    """One machine of the lab."""

    name: str
    number: int
    suite: str
    folder: Path
    key: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """Its address on the lab's switch."""
        return f"10.77.0.{10 + self.number}"

    @property
    def root(self) -> Path:
        """Its root folder, seen from here."""
        return self.folder / "root"

    def connect(self) -> None:
        """Give it a network namespace and a cable to the switch."""
        call("ip", "netns", "add", self._space)
        call("ip", "-n", self._space, "link", "set", "lo", "up")
        cable = ("ip", "-n", SWITCH, "link", "add", f"port{self.number}", "type", "veth")
        call(*cable, "peer", "name", "host0", "netns", self._space)
        call("ip", "-n", SWITCH, "link", "set", f"port{self.number}", "master", "br0", "up")
        call("ip", "-n", self._space, "addr", "add", f"{self.address}/24", "dev", "host0")
        call("ip", "-n", self._space, "link", "set", "host0", "up")

    def install(self, base: Path) -> None:
        """A fresh disk: an overlay over `base`, with the controller's key."""
        for part in ("upper", "scratch", "root"):
            (self.folder / part).mkdir(parents=True)
        layers = f"lowerdir={base},upperdir={self.folder}/upper,workdir={self.folder}/scratch"
        call("mount", "-t", "overlay", "overlay", "-o", layers, self.root)
        for user, home in {"root": self.root / "root", ADMIN: self.root / "home" / ADMIN}.items():
            (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
            (home / ".ssh/authorized_keys").write_text(self.key.with_suffix(".pub").read_text())
            for made in (home / ".ssh", home / ".ssh/authorized_keys"):
                os.chown(made, home.stat().st_uid, home.stat().st_gid)
            # Inside a container systemd misses the end of a user's manager, and the next login waits for its 90 s.
            lingering = self.root / "var/lib/systemd/linger" / user
            lingering.parent.mkdir(parents=True, exist_ok=True)
            lingering.touch()
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        (self.root / "etc/machine-id").write_text("")

    def start(self) -> None:
        """Switch it on; a reboot inside boots it again."""
        nspawn = ["systemd-nspawn", f"--directory={self.root}", f"--machine={self.name}", *_NSPAWN]
        nspawn.append(f"--network-namespace-path=/run/netns/{self._space}")
        supervise = f'while "$@"; [ $? = {_REBOOTED} ]; do :; done'
        with (self.folder / "console.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", supervise, "supervise", *nspawn],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "UNIFIED_CGROUP_HIERARCHY": "1"},
                start_new_session=True,
            )

    def cut_power(self) -> None:
        """Kill everything that runs on it, at once; what it has not synced stays in this machine's page cache."""
        if self.process is None:
            return
        # systemd-nspawn itself is not in the host's network, and locks the disk as long as it lives
        os.killpg(self.process.pid, signal.SIGKILL)
        for pid in call("ip", "netns", "pids", self._space).stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        self.process.wait(10)
        wait_for(f"{self.name} to be dead", lambda: not self._alive())
        self.process = None

    def _alive(self) -> bool:
        assert self.process is not None
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return bool(call("ip", "netns", "pids", self._space).stdout.split())
        return True

    def remove(self) -> None:
        """Take it away; its disk stays in the run's folder until that goes."""
        self.cut_power()
        call("umount", "--lazy", self.root, check=False)
        call("ip", "netns", "del", self._space, check=False)

    def run(self, command: str, *, check: bool = True, user: str = "root") -> str:
        """What a shell command, over ssh, writes to its output."""
        ssh = ("ip", "netns", "exec", SWITCH, "ssh", *ssh_options(self.key), f"{user}@{self.address}")
        return call(*ssh, command, check=check).stdout

    def wait_up(self, timeout_s: float = 180) -> None:
        """Wait until ssh answers."""
        wait_for(f"ssh on {self.name}", lambda: self.run("echo up", check=False).strip() == "up", timeout_s)

    def booted_at(self) -> str:
        """The boot's id: another one after a reboot. /proc's own is this machine's."""
        return self.run("systemctl show --property=UserspaceTimestampMonotonic --value").strip()

    def received(self) -> int:
        """Bytes that it got from the network since it was connected."""
        (card,) = json.loads(call("ip", "-n", self._space, "-s", "-j", "link", "show", "host0").stdout)
        return int(card["stats64"]["rx"]["bytes"])

    def main_pid(self, unit: str) -> int:
        """The unit's main process, in the host's numbering; 0 if it does not run."""
        return int(self.run(f"systemctl show --property=MainPID --value {unit}").strip() or 0)

    @property
    def _space(self) -> str:
        return f"cp-{self.name}"


def ssh_options(key: Path) -> Sequence[str]:
    """How the controller reaches hosts that are new each time."""
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=5")
    return ("-i", str(key), *(part for option in options for part in ("-o", option)))


@contextmanager
def lab(folder: Path, cache: Path, suites: dict[str, str]) -> Iterator[dict[str, Host]]:
    """Boot one host per name -> suite; everything is gone afterwards but `folder` and the cached roots."""
    key = folder / "key"
    call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    hosts = {
        name: Host(name, number, suite, folder / name, key)
        for number, (name, suite) in enumerate(suites.items(), start=1)
    }
    try:
        _switch()
        for host in hosts.values():
            host.connect()
            host.install(root_of(host.suite, cache))
            host.start()
        for host in hosts.values():
            host.wait_up()
        yield hosts
    finally:
        for host in hosts.values():
            host.remove()
        call("ip", "netns", "del", SWITCH, check=False)


def _switch() -> None:
    left = re.findall(r"^cp-\S+", call("ip", "netns").stdout, re.MULTILINE)
    if left:
        raise AssertionError(f"network namespaces of another run are here: {', '.join(left)} (ip netns del NAME)")
    call("ip", "netns", "add", SWITCH)
    for command in (
        "link set lo up",
        "link add br0 type bridge",
        f"addr add {CONTROLLER}/24 dev br0",
        "link set br0 up",
    ):
        call("ip", "-n", SWITCH, *command.split())
