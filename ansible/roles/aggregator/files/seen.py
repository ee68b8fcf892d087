#!/opt/classpulse-aggregator/current/venv/bin/python
"""Wait until the database has seen a device alive, or this machine's worker is. Runs on a worker's host, as root.

    seen.py SITE/ROOM/DEVICE [--version 0.1.0] [--seconds 90]
    seen.py SITE [--version 0.1.0] [--seconds 90]

A device is alive if it is `ready`, of that version, and has counts stored that are younger than that word; outside its
lesson hours it is `paused`, and that is alive too. A worker is alive if it is of that version, was connected to a node
and has not ended since. Prints what it saw; 1 and what was last seen if the time is over.
"""

import argparse
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from aggregator.config import AggregatorConfig
from aggregator.store.factory import open_store
from aggregator.store.types import Store, StoreError
from contract.topics import Device
from service.config import load

CONFIG = Path("/etc/classpulse/aggregator.toml")
KEYS = "/etc/classpulse/keys"
UNIT = "classpulse-aggregator"
STEADY_S = 6
"""Longer than RestartSec of the unit: a worker that ends whenever it starts is not alive."""


def device_alive(store: Store, device: Device, wanted: str) -> tuple[bool, str]:
    """Whether the database knows it alive, and what it knows."""
    spoken = store.states().get(device)
    if spoken is None or spoken.state is None:
        return False, "nothing"
    state, since = spoken.state, int(spoken.state_at)
    last = f"{state.state} of version {state.version}: {state.reason}"
    if wanted not in ("", state.version):
        return False, last
    if state.state == "paused":
        return True, last
    rows = store.windows(device.site, device.room, since, since + 10 * 86400, unsynced=True)
    frames = sum(sums.frames for key, sums in rows if key.device == device.device)
    return state.state == "ready" and frames > 0, f"{last}, and {frames} frames stored since"


def worker_alive(wanted: str) -> tuple[bool, str]:
    """Whether this machine's worker works and goes on doing so, and what was seen of it."""
    if wanted not in ("", version("classpulse")):
        return False, f"version {version('classpulse')}"
    before = _invocation()
    time.sleep(STEADY_S)
    if not before or _invocation() != before:
        return False, f"{UNIT} does not stay up"
    journal = ("journalctl", "--output=cat", f"_SYSTEMD_INVOCATION_ID={before}")
    said = subprocess.run(journal, capture_output=True, text=True, check=True).stdout
    if "connected to the node" not in said:
        return False, said.strip().rpartition("\n")[2] or "it says nothing"
    return True, f"version {version('classpulse')} is connected"


def _invocation() -> str:
    """The name of the unit's present life; "" while it has none."""
    command = ("systemctl", "show", "--property=InvocationID,ActiveState", UNIT)
    facts = dict(line.split("=", 1) for line in subprocess.check_output(command, text=True).splitlines())
    return facts["InvocationID"] if facts["ActiveState"] == "active" else ""


def in_database(device: Device, wanted: str) -> tuple[bool, str]:
    """What `device_alive` says, with a store opened anew."""
    os.environ["CREDENTIALS_DIRECTORY"] = KEYS
    try:
        with open_store(load(CONFIG, AggregatorConfig), writable=False) as store:
            return device_alive(store, device, wanted)
    except StoreError as error:
        return False, str(error)


def seen(identity: str, wanted: str) -> tuple[bool, str]:
    """Whether the device, or the site's worker on this machine, is alive, and what was seen of it."""
    return in_database(Device(*identity.split("/")), wanted) if "/" in identity else worker_alive(wanted)


def main() -> int:
    """Look, decide, say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("identity")
    parser.add_argument("--version", default="")
    parser.add_argument("--seconds", type=int, default=90)
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.seconds
    found, last = seen(arguments.identity, arguments.version)
    while not found and time.monotonic() < deadline:
        time.sleep(1)
        found, last = seen(arguments.identity, arguments.version)
    print(last)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
