"""Ten thousand devices that speak the real protocol, and the windows that a store must hold in the end.

    python -m benchmarks.fleet --broker 127.0.0.1:1883 --devices 10000 --rate 1 --seconds 60 --expected expected.csv
    python -m benchmarks.fleet.check expected.csv --config aggregator.toml --within 60

Every device publishes, subscribes, and has a last will, `state` and `health`, as the daemon on a Pi does. Each has a
connection of its own as far as this machine has file handles and ports; beyond that devices share connections. Sites
are called `sim-0000` and so on: give another --site where a store holds an earlier run. Only for brokers of your own.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

from benchmarks.fleet.connection import ConnectionOptions
from benchmarks.fleet.connections import Connections
from benchmarks.fleet.devices import Fleet, Plan
from benchmarks.fleet.expected import write
from edge.config import MqttConfig
from service.tls import client_context, read_password

_SPARE_FILES = 100
_PORTS_OF_ONE_BROKER = 25_000
"""Linux gives away ports 32768 to 60999 towards one address."""
_PROGRESS_S = 5.0
_SLICE = 200
"""Messages between two polls of the network."""


def main() -> int:
    """Simulate; 0 if every message was confirmed."""
    arguments = _arguments()
    plan = _plan(arguments)
    try:
        options = _options(arguments)
        arguments.expected.open("w").close()  # rather now than after an hour
    except (OSError, ValueError) as error:
        sys.exit(f"benchmarks.fleet: {error}")
    fleet, number = Fleet(plan), _connections(arguments, plan)
    print(
        f"{plan.devices} devices on {number} connections, {plan.messages_hz:g} messages/s, {plan.messages} in all",
        flush=True,
    )
    with Connections(fleet, options, number, arguments.disconnects) as connections:
        try:
            _connect(connections, number, arguments.connect_within)
            elapsed_s = _run(fleet, connections, arguments)
        except KeyboardInterrupt:
            sys.exit("benchmarks.fleet: interrupted; nothing can be expected of half a run")
        unconfirmed = connections.unconfirmed
    write(arguments.expected, fleet.expected)
    _report(fleet, connections, elapsed_s, arguments.expected)
    if unconfirmed:
        print(f"{unconfirmed} messages were never confirmed: the store may lack them")
    return 1 if unconfirmed else 0


def _run(fleet: Fleet, connections: Connections, arguments: argparse.Namespace) -> float:
    """Publish everything, and wait for the confirmations; the seconds that took."""
    planned_s = fleet.plan.messages / fleet.plan.messages_hz
    fleet.begin(time.time() - (planned_s if arguments.backlog else 0.0))
    began = shown = time.monotonic()
    deadline = float("inf")
    while time.monotonic() < deadline and not (fleet.done and connections.unconfirmed == 0):
        sent = 0
        for message in fleet.due(time.time(), _SLICE):
            connections.send(message)
            sent += 1
        connections.poll(0.0 if sent == _SLICE else 0.01, disconnects=not fleet.done)
        if fleet.done and deadline == float("inf"):
            deadline = time.monotonic() + arguments.drain_within
        if time.monotonic() - shown > _PROGRESS_S:
            shown = time.monotonic()
            _progress(fleet, connections, shown - began)
    return time.monotonic() - began


def _connect(connections: Connections, number: int, within_s: float) -> None:
    began = shown = time.monotonic()
    while connections.accepted < number:
        connections.poll(0.05)
        now = time.monotonic()
        if now - shown > _PROGRESS_S:
            shown = now
            print(f"{connections.accepted} of {number} connected", file=sys.stderr, flush=True)
        if now - began > within_s:
            failures = "; ".join(f"{times} x {why}" for why, times in connections.stats.failures.most_common(3))
            sys.exit(
                f"benchmarks.fleet: {connections.accepted} of {number} connections after {within_s:g} s"
                f" ({failures or 'no answer'}); give the broker more room, or --connections fewer"
            )
    print(f"connected after {time.monotonic() - began:.1f} s", flush=True)


def _progress(fleet: Fleet, connections: Connections, elapsed_s: float) -> None:
    stats = connections.stats
    print(
        f"{elapsed_s:5.0f} s: {fleet.published} of {fleet.plan.messages} published, {stats.acknowledged} acknowledged,"
        f" {connections.unconfirmed} unconfirmed, {stats.resent} sent again, {connections.accepted} connections,"
        f" {fleet.behind_s(time.time()):.1f} s behind",
        file=sys.stderr,
        flush=True,
    )


def _report(fleet: Fleet, connections: Connections, elapsed_s: float, expected: Path) -> None:
    """Print what was sent."""
    plan, stats = fleet.plan, connections.stats
    planned_s = plan.messages / plan.messages_hz
    delays = sorted(stats.puback_s) or [0.0]
    p50, p99 = (delays[int(len(delays) * share)] * 1000 for share in (0.5, 0.99))
    busy = time.process_time() / max(elapsed_s, 0.001)
    print(f"{fleet.published} messages of {plan.frames} frames in {elapsed_s:.1f} s (planned: {planned_s:.1f} s)")
    print(f"  {fleet.delayed} of them late, {fleet.duplicates} duplicated, {fleet.malformed} malformed ones on top")
    print(f"  {stats.sent} sent in all, {stats.resent} of them again after a lost connection or without confirmation")
    print(f"  {stats.acknowledged} PUBACKs, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    print(f"  {stats.disconnects} disconnected on purpose, {stats.reconnects} reconnects")
    for why, times in stats.failures.most_common(5):
        print(f"    {times} x {why}")
    frames = sum(sums.frames for sums in fleet.expected.values())
    print(f"expected: {len(fleet.expected)} windows of {frames} frames in {expected}")
    print(f"this process took {busy:.0%} of a core: near 100 % it, not the broker, was the limit")


def _plan(arguments: argparse.Namespace) -> Plan:
    return Plan(
        devices=arguments.devices,
        rate_hz=arguments.rate,
        frames=arguments.frames,
        messages=arguments.messages or round(arguments.devices * arguments.rate / arguments.frames * arguments.seconds),
        duplicates=arguments.duplicates,
        late=arguments.late,
        late_s=arguments.late_s,
        malformed=arguments.malformed,
        site=arguments.site,
        seed=arguments.seed,
    )


def _connections(arguments: argparse.Namespace, plan: Plan) -> int:
    """As many real ones as there are devices, file handles and ports."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    files, ports = hard - _SPARE_FILES, _PORTS_OF_ONE_BROKER * len(arguments.broker)
    number = min(plan.devices, arguments.connections or plan.devices, files, ports)
    if number < plan.devices and not arguments.connections:
        print(f"this machine allows {number} connections: {files} files (ulimit -Hn), {ports} ports")
    return number


def _options(arguments: argparse.Namespace) -> ConnectionOptions:
    tls = client_context(arguments.credentials, "fleet") if arguments.tls else None
    password = read_password(arguments.credentials / "mqtt-password") if arguments.username else None
    brokers = []
    for address in arguments.broker:
        host, _, port = address.rpartition(":") if ":" in address else (address, "", "")
        usual = 8883 if tls else 1883
        brokers.append(MqttConfig(host=host, port=int(port or usual), tls=bool(tls), username=arguments.username))
    return ConnectionOptions(
        tuple(brokers), tls, password, arguments.confirm, arguments.resend_s, quiet=arguments.quiet
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--broker", action="append", metavar="HOST[:PORT]", help="may be given again, for each node (127.0.0.1)")
    add("--devices", type=int, default=100)
    add("--rate", type=float, default=1.0, help="frames per second of each device")
    add("--frames", type=int, default=1, help="frames in one message; 10 is a device's batch_s = 1.0 at 10 frames/s")
    add("--seconds", type=float, default=60.0)
    add("--messages", type=int, default=0, help="of all devices together, instead of --seconds")
    add("--backlog", action="store_true", help="publish at once the messages of the last --seconds")
    add("--quiet", action="store_true", help="only counts: no state, no health, no subscriptions")
    add("--connections", type=int, default=0, help="0: one per device, as far as this machine allows")
    add("--expected", type=Path, default=Path("expected.csv"), help="where the windows go that a store must hold")
    faults = parser.add_argument_group("faults")
    faults.add_argument("--duplicates", type=float, default=0.0, metavar="SHARE", help="of messages sent once more")
    faults.add_argument(
        "--late", type=float, default=0.0, metavar="SHARE", help="of messages that younger ones overtake"
    )
    faults.add_argument("--late-s", type=float, default=20.0, metavar="S", help="how late at most")
    faults.add_argument("--malformed", type=float, default=0.0, metavar="SHARE", help="of unreadable messages, on top")
    faults.add_argument("--disconnects", type=float, default=0.0, metavar="HZ", help="connections ended per second")
    network = parser.add_argument_group("network")
    network.add_argument("--confirm", choices=("puback", "stored"), default="puback", help="what a device waits for")
    network.add_argument("--resend-s", type=float, default=60.0, metavar="S", help="without confirmation: send again")
    network.add_argument("--tls", action="store_true", help="with ca.crt, and fleet.crt and fleet.key if present")
    network.add_argument("--credentials", type=Path, default=Path("/etc/classpulse"), help="folder of those files")
    network.add_argument("--username", default="", help="its password is CREDENTIALS/mqtt-password")
    network.add_argument("--connect-within", type=float, default=300.0, metavar="S")
    network.add_argument("--drain-within", type=float, default=120.0, metavar="S", help="for the last confirmations")
    add("--site", default="sim")
    add("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.broker = arguments.broker or ["127.0.0.1"]
    for name in ("devices", "rate", "frames", "seconds"):
        if getattr(arguments, name) <= 0:
            parser.error(f"--{name} must be above 0")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
