#!/usr/bin/python3
"""Wait until the broker has seen a device alive. Runs on the broker's host, as root, with its own Python.

    seen.py SITE/ROOM/DEVICE [--version 0.1.0] [--seconds 90]

Alive is: `ready`, of that version, and then counts of the same start of the daemon. A device outside its lesson hours
is `paused` and sends no counts; that is alive too. Prints what it saw; 1 and what was last seen if the time is over.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable

CLIENTS = "/etc/classpulse/clients"
"""Folder of mosquitto_sub's options: the local socket, the user and its password, which no command line shows."""


def alive(lines: Iterable[str], version: str) -> tuple[bool, str]:
    """Whether lines `TOPIC PAYLOAD` show a living device, and the last thing seen; stops reading once they do."""
    state: dict[str, object] = {}
    last = "nothing"
    for line in lines:
        topic, _, payload = line.strip().partition(" ")
        kind = topic.rpartition("/")[2]
        try:
            message = json.loads(payload)
        except ValueError:
            continue
        if kind == "state":
            state = message
            last = f"{state.get('state')} of version {state.get('version')}: {state.get('reason')}"
        if version and state.get("version") != version:
            continue
        if kind == "state" and state.get("state") == "paused":
            return True, last
        if kind == "counts" and state.get("state") == "ready" and message.get("boot") == state.get("boot"):
            return True, f"{last} and counts, seq {message.get('seq')}"
    return False, last


def main() -> int:
    """Listen, decide, say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("identity")
    parser.add_argument("--version", default="")
    parser.add_argument("--seconds", type=int, default=90)
    arguments = parser.parse_args()
    topics = [part for kind in ("state", "counts") for part in ("-t", f"classpulse/1/{arguments.identity}/{kind}")]
    command = ["mosquitto_sub", "-q", "1", "-W", str(arguments.seconds), "-F", "%t %p", *topics]
    environment = {**os.environ, "XDG_CONFIG_HOME": CLIENTS}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        found, last = alive(process.stdout or (), arguments.version)
        process.kill()
    print(last)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
