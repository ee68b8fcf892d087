#!/usr/bin/python3
"""Wait until the broker has seen a device, or a site's aggregator, alive. Runs on the broker's host, as root.

    seen.py SITE/ROOM/DEVICE [--version 0.1.0] [--seconds 90]
    seen.py SITE [--version 0.1.0] [--seconds 90]

A device is alive if it is `ready`, of that version, and then sends counts of the same start of the daemon: a state that
was retained is not enough, nor are an earlier start's counts, which the outbox sends again. Outside its lesson hours it
is `paused` and sends no counts; that is alive too. An aggregator is alive if it is `ready`, of that version, and says
nothing else for some seconds. Prints what it saw, with the start's id; 1 and what was last seen if the time is over.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator

CLIENTS = "/etc/classpulse/clients"
"""Folder of mosquitto_sub's options: the local socket, the user and its password, which no command line shows."""
STEADY_S = 6
"""Longer than RestartSec of the unit: an aggregator that ends whenever it starts is not alive."""


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
            return True, f"{last} and counts, boot {message.get('boot')}, seq {message.get('seq')}"
    return False, last


def steady(lines: Iterable[str], version: str) -> tuple[bool, str]:
    """Whether every line `TOPIC PAYLOAD`, of which there is one at least, is `ready` of that version and one start."""
    starts, last = set(), "nothing"
    for line in lines:
        try:
            state = json.loads(line.partition(" ")[2])
        except ValueError:
            continue
        last = f"{state.get('state')} of version {state.get('version')}: {state.get('reason')}"
        starts.add(state.get("boot") if state.get("state") == "ready" else None)
        if version and state.get("version") != version:
            starts.add(None)
    return len(starts) == 1 and None not in starts, last


def heard(seconds: float, *topics: str) -> Iterator[str]:
    """Lines `TOPIC PAYLOAD`, retained ones first, until the time is over."""
    wanted = [part for topic in topics for part in ("-t", f"classpulse/1/{topic}")]
    command = ["mosquitto_sub", "-q", "1", "-W", str(max(1, round(seconds))), "-F", "%t %p", *wanted]
    environment = {**os.environ, "XDG_CONFIG_HOME": CLIENTS}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield from process.stdout or ()
        finally:
            process.kill()


def main() -> int:
    """Listen, decide, say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("identity")
    parser.add_argument("--version", default="")
    parser.add_argument("--seconds", type=int, default=90)
    arguments = parser.parse_args()
    who, deadline = arguments.identity, time.monotonic() + arguments.seconds
    if "/" in who:
        found, last = alive(heard(arguments.seconds, f"{who}/state", f"{who}/counts"), arguments.version)
    else:
        found, last = False, "nothing"
        while not found and time.monotonic() < deadline:
            found, last = steady(heard(STEADY_S, f"{who}/aggregator/state"), arguments.version)
    print(last)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
