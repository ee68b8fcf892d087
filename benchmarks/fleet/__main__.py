"""Ten thousand devices that speak the real protocol, and the truth that a store must hold in the end.

    python -m benchmarks.fleet --broker 127.0.0.1:1883 --devices 10000 --rate 1 --seconds 60 --truth truth.csv
    python -m benchmarks.fleet.check truth.csv --config aggregator.toml --within 60

Every device publishes, subscribes, has a last will and says `state` and `health`, as the daemon on a Pi does. Each has
a connection of its own as far as this machine has file handles and ports; beyond that devices share connections. Sites
are called `sim-0000` and so on: give another --site where a store holds an earlier run. Only for brokers of your own.
"""

import argparse
import contextlib
import resource
import ssl
import sys
import time
from pathlib import Path

from benchmarks.fleet.crowd import Crowd, Plan
from benchmarks.fleet.link import Access
from benchmarks.fleet.links import Links
from benchmarks.fleet.truth import write
from edge.config import MqttConfig

_SPARE_FILES = 100
_PORTS_OF_ONE_BROKER = 25_000
"""Linux gives away ports 32768 to 60999 towards one address."""
_PROGRESS_S = 5.0
_SLICE = 200
"""Messages between two looks at the network."""


def main() -> int:
    """Simulate; 0 if every message was confirmed."""
    arguments = _arguments()
    plan = _plan(arguments)
    try:
        access = _access(arguments)
        arguments.truth.open("w").close()  # rather now than after an hour
    except (OSError, ValueError) as error:
        sys.exit(f"benchmarks.fleet: {error}")
    crowd, number = Crowd(plan), _connections(arguments, plan)
    print(
        f"{plan.devices} devices on {number} connections, {plan.messages_hz:g} messages/s, {plan.messages} in all",
        flush=True,
    )
    with Links(crowd, access, number, arguments.cuts) as links:
        try:
            _connect(links, number, arguments.connect_within)
            spent_s = _run(crowd, links, arguments)
        except KeyboardInterrupt:
            sys.exit("benchmarks.fleet: interrupted; there is no truth of half a run")
        left = links.left
    write(arguments.truth, crowd.truth)
    _tell(crowd, links, spent_s, arguments.truth)
    if left:
        print(f"{left} messages were never confirmed: a store need not hold them, so the truth does not bind it")
    return 1 if left else 0


def _run(crowd: Crowd, links: Links, arguments: argparse.Namespace) -> float:
    """Say everything, and wait for the confirmations; the seconds that took."""
    planned_s = crowd.plan.messages / crowd.plan.messages_hz
    crowd.begin(time.time() - (planned_s if arguments.backlog else 0.0))
    began = shown = time.monotonic()
    deadline = float("inf")
    while time.monotonic() < deadline and not (crowd.done and links.left == 0):
        sent = 0
        for message in crowd.due(time.time(), _SLICE):
            links.take(message)
            sent += 1
        links.serve(0.0 if sent == _SLICE else 0.01, cuts=not crowd.done)
        if crowd.done and deadline == float("inf"):
            deadline = time.monotonic() + arguments.drain_within
        if time.monotonic() - shown > _PROGRESS_S:
            shown = time.monotonic()
            _progress(crowd, links, shown - began)
    return time.monotonic() - began


def _connect(links: Links, number: int, within_s: float) -> None:
    began = shown = time.monotonic()
    while links.up < number:
        links.serve(0.05)
        now = time.monotonic()
        if now - shown > _PROGRESS_S:
            shown = now
            print(f"{links.up} of {number} connected", file=sys.stderr, flush=True)
        if now - began > within_s:
            troubles = "; ".join(f"{times} x {why}" for why, times in links.tally.troubles.most_common(3))
            sys.exit(
                f"benchmarks.fleet: {links.up} of {number} connections after {within_s:g} s"
                f" ({troubles or 'no answer'}); give the broker more room, or --connections fewer"
            )
    print(f"connected after {time.monotonic() - began:.1f} s", flush=True)


def _progress(crowd: Crowd, links: Links, spent_s: float) -> None:
    tally = links.tally
    print(
        f"{spent_s:5.0f} s: {crowd.said} of {crowd.plan.messages} said, {tally.acknowledged} acknowledged,"
        f" {links.left} wait, {tally.resent} sent again, {links.up} connections,"
        f" {crowd.behind_s(time.time()):.1f} s behind",
        file=sys.stderr,
        flush=True,
    )


def _tell(crowd: Crowd, links: Links, spent_s: float, truth: Path) -> None:
    """What was sent."""
    plan, tally = crowd.plan, links.tally
    planned_s = plan.messages / plan.messages_hz
    delays = sorted(tally.puback_s) or [0.0]
    p50, p99 = (delays[int(len(delays) * share)] * 1000 for share in (0.5, 0.99))
    busy = time.process_time() / max(spent_s, 0.001)
    print(f"{crowd.said} messages of {plan.frames} frames in {spent_s:.1f} s (planned: {planned_s:.1f} s)")
    print(f"  {crowd.held_back} of them late, {crowd.duplicates} doubled, {crowd.broken} broken ones on top")
    print(f"  {tally.sent} sent in all, {tally.resent} of them again after a lost connection or without a word")
    print(f"  {tally.acknowledged} PUBACKs, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    print(f"  {tally.cuts} connections cut on purpose, {tally.reconnects} made again")
    for why, times in tally.troubles.most_common(5):
        print(f"    {times} x {why}")
    frames = sum(sums.frames for sums in crowd.truth.values())
    print(f"truth: {len(crowd.truth)} windows of {frames} frames in {truth}")
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
        broken=arguments.broken,
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


def _access(arguments: argparse.Namespace) -> Access:
    tls = _tls(arguments.credentials) if arguments.tls else None
    password = (arguments.credentials / "mqtt-password").read_text().strip() if arguments.username else None
    brokers = []
    for address in arguments.broker:
        host, _, port = address.rpartition(":") if ":" in address else (address, "", "")
        usual = 8883 if tls else 1883
        brokers.append(MqttConfig(host=host, port=int(port or usual), tls=bool(tls), username=arguments.username))
    return Access(tuple(brokers), tls, password, arguments.confirm, arguments.resend_s, quiet=arguments.quiet)


def _tls(credentials: Path) -> ssl.SSLContext:
    authority = credentials / "ca.crt"
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise OSError(f"{authority}: {error.strerror or error}") from error
    with contextlib.suppress(FileNotFoundError):
        context.load_cert_chain(credentials / "fleet.crt", credentials / "fleet.key")
    return context


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
    add("--backlog", action="store_true", help="say at once what there was to say in the last --seconds")
    add("--quiet", action="store_true", help="only counts: no state, no health, no subscriptions")
    add("--connections", type=int, default=0, help="0: one per device, as far as this machine allows")
    add("--truth", type=Path, default=Path("truth.csv"), help="where the windows go that a store must hold")
    wrong = parser.add_argument_group("what goes wrong")
    wrong.add_argument("--duplicates", type=float, default=0.0, metavar="SHARE", help="of messages sent once more")
    wrong.add_argument(
        "--late", type=float, default=0.0, metavar="SHARE", help="of messages that younger ones overtake"
    )
    wrong.add_argument("--late-s", type=float, default=20.0, metavar="S", help="how late at most")
    wrong.add_argument("--broken", type=float, default=0.0, metavar="SHARE", help="of unreadable messages, on top")
    wrong.add_argument("--cuts", type=float, default=0.0, metavar="HZ", help="connections cut per second")
    to = parser.add_argument_group("the way there")
    to.add_argument("--confirm", choices=("puback", "stored"), default="puback", help="what a device waits for")
    to.add_argument("--resend-s", type=float, default=60.0, metavar="S", help="without confirmation: send again")
    to.add_argument("--tls", action="store_true", help="with ca.crt, and fleet.crt and fleet.key if present")
    to.add_argument("--credentials", type=Path, default=Path("/etc/classpulse"), help="folder of those files")
    to.add_argument("--username", default="", help="its password is CREDENTIALS/mqtt-password")
    to.add_argument("--connect-within", type=float, default=300.0, metavar="S")
    to.add_argument("--drain-within", type=float, default=120.0, metavar="S", help="for the last confirmations")
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
