"""What somebody on the school's network tries, with a device's keys, forged ones or none."""

import shlex
import subprocess
import sys
import time
from pathlib import Path

from tests.fleet.fleet import PROJECT, Fleet
from tests.fleet.lab import SWITCH, call

CERTIFICATE = "import json, sys; print(json.load(sys.stdin)['certificate'])"


def received(fleet: Fleet, host: str, topic: str) -> bool:
    """Whether the broker keeps what `host`'s identity publishes to `topic` below classpulse/1."""
    mark = f"mark-{time.monotonic_ns()}"
    publication = ("-q", "1", "-r", "-t", f"classpulse/1/{topic}", "-m", mark)
    sent = client(fleet, "mosquitto_pub", *keys_of(fleet, host), *publication)
    assert sent.returncode == 0, sent.stderr
    there = fleet.retained(topic) == mark
    if there:
        fleet.on_broker(f"mosquitto_pub -q 1 -r -n -t classpulse/1/{topic}")
    return there


def client(fleet: Fleet, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """One of mosquitto's clients on the controller, through TLS with the fleet's authority."""
    connection = ("-h", fleet.hosts["hub"].address, "-p", "8883", "--cafile", fleet.pki / "ca.crt")
    command = ("ip", "netns", "exec", SWITCH, "timeout", "20", program, *connection, *arguments)
    return call(*command, check=False)


def keys_of(fleet: Fleet, host: str) -> tuple[object, ...]:
    """The options that make a client of mosquitto's the device, with the keys on its disk."""
    keys = fleet.hosts[host].root / "etc/classpulse/keys"
    return ("--cert", keys / "device.crt", "--key", keys / "device.key")


def password_of(fleet: Fleet) -> str:
    """The fleet's password at the local socket."""
    return (fleet.pki / "fleet.password").read_text().splitlines()[0]


def forge(folder: Path, name: str) -> None:
    """A key and a certificate for `name` by an authority of its own."""
    key, certificate = folder / "forged.key", folder / "forged.crt"
    call("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    public = call("openssl", "pkey", "-in", key, "-pubout").stdout
    pki = shlex.join([sys.executable, str(PROJECT / "ansible/pki.py"), str(folder / "pki"), "issue", name])
    issued = call("bash", "-c", f"{pki} <<< {shlex.quote(public)} | {sys.executable} -c {shlex.quote(CERTIFICATE)}")
    certificate.write_text(issued.stdout)
