"""Commands that a test runs and a machine may lack: such a test says that it skips, and stops no other."""

import os
import shutil
from pathlib import Path

import pytest

_PACKAGES = {
    "ip": "iproute2",
    "mosquitto_passwd": "mosquitto",
    "mosquitto_pub": "mosquitto-clients",
    "mosquitto_sub": "mosquitto-clients",
    "nft": "nftables",
    "psql": "postgresql-client",
    "qemu-aarch64-static": "qemu-user-static",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "setpriv": "util-linux",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
}
"""Debian's, where it has another name than the command."""
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
"""Debian keeps servers out of an ordinary user's path."""


def missing(*commands: str) -> str:
    """How to install those of the commands that are not there; "" if all are."""
    packages = {_PACKAGES.get(name, name) for name in commands if shutil.which(name, path=_PATH) is None}
    return f"apt-get install --no-install-recommends {' '.join(sorted(packages))}" if packages else ""


def need(*commands: str) -> None:
    """Skip the running test, or every test of a running fixture, unless all of these commands are there."""
    if lacking := missing(*commands):
        pytest.skip(f"not installed: {lacking}")


def moved_clock(offset: Path) -> dict[str, str]:
    """The environment of a process whose wall clock is off by what the file says, such as +5h; skips if it cannot."""
    need("faketime")
    return {
        "LD_PRELOAD": str(next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }


def bound_by_modes() -> list[str]:
    """What begins a command that shall not write what a file's mode forbids: root would. Skips where that cannot be."""
    if os.geteuid() != 0:
        return []
    need("setpriv")
    return ["setpriv", "--inh-caps", "-dac_override", "--bounding-set", "-dac_override"]
