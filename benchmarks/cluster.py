"""What a message costs in a cluster, and beside it in mosquitto and SQLite: `make bench-cluster`.

    python -m benchmarks.cluster [--messages 40000] [--devices 2000]

Three RabbitMQ nodes, PostgreSQL, mosquitto, the simulated fleet and real aggregators run on this machine. Messages
are sent first and read afterwards, so that each part's CPU time is its own. Ratios of one run are worth more than
numbers of two: other work on the machine changes all of them. Summaries and attention are off, but for the last run:
there all rooms are live, and each has its summary and its events while its messages come.
"""

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from benchmarks import machine
from tests.cluster import servers
from tests.system.broker import Mosquitto, until

_TIMEOUT_S = 400.0
_IDLE_S = 4.0
_REST_S = 8.0
"""Nodes work on for seconds after the messages."""
_POLL_S = 0.1
_MIDDLE = (0.15, 0.9)
"""Shares of the messages between which speed is measured."""
_FRAMES = "SELECT coalesce(sum(frames), 0) FROM windows"
_LIVE_HZ = 0.15
"""Messages per second of each room: so few that two cores keep up, whoever else uses them."""
_LIVE_S = 60.0
_QUIET = "[summary]\nevery_s = 60\n[attention]\nenabled = false\n"


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of one run, in microseconds a message, and its speed by the clock."""

    taken: float
    """The broker, until it had everything."""
    given: float
    """The broker, from then until everything was committed."""
    worker: float
    """All workers together; what starting them costs is taken off."""
    database: float
    rate_hz: float
    """Messages per second, begin and end left out."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where one run happens."""

    folder: Path
    config: Path
    ports: list[int]
    brokers: list[psutil.Process]
    database: list[psutil.Process]
    frames: Callable[[], int]
    """How many the store holds; costs it next to nothing."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent."""

    messages: int
    devices: int
    frames: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=40_000, help="of one run; there are six")
    parser.add_argument("--devices", type=int, default=2000, help="which share 50 connections")
    arguments = parser.parse_args()
    if lacking := servers.missing():
        sys.exit(f"benchmarks.cluster: {lacking}")
    print(machine.describe())
    print(f"{arguments.messages} messages of {arguments.devices} devices in each run", flush=True)
    found: dict[tuple[str, int], Cost] = {}
    for frames in (1, 10):
        load_ = Load(arguments.messages, arguments.devices, frames)
        with small() as scene:
            found["small", frames] = measured(scene, load_, 1, f"mosquitto, SQLite, {frames} frames")
    with servers.running() as (cluster, postgres):
        for frames in (1, 10):
            load_ = Load(arguments.messages, arguments.devices, frames)
            for workers in (1, 2):
                what = f"RabbitMQ, PostgreSQL, {frames} frames, {workers} workers"
                with large(cluster, postgres, f"bench_{frames}_{workers}", _QUIET) as scene:
                    found[f"large{workers}", frames] = measured(scene, load_, workers, what)
        with large(cluster, postgres, "bench_live", "") as scene:
            live(scene, arguments.devices)
    for frames in (1, 10):
        report(frames, found["small", frames], found["large1", frames], found["large2", frames])


def report(frames: int, small_: Cost, one: Cost, two: Cost) -> None:
    """The table of one size of message."""
    print(f"\n{frames} frame{'s' * (frames > 1)} a message: CPU us/message{'mosquitto':>20}{'cluster':>12}{'ratio':>8}")
    rows = [
        ("broker takes it", small_.taken, one.taken),
        ("broker gives it", small_.given, one.given),
        ("aggregator", small_.worker, one.worker),
        ("database", small_.database, one.database),
    ]
    rows.append(("all together", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    for name, left, right in rows:
        ratio = f"{right / left:8.2f}" if left else f"{'-':>8}"
        print(f"  {name:45}{left:12.1f}{right:12.1f}{ratio}")
    print(f"  {'messages/s per core of an aggregator':45}{1e6 / small_.worker:12,.0f}{1e6 / one.worker:12,.0f}")
    print(f"  {'messages/s by the clock, one aggregator':45}{small_.rate_hz:12,.0f}{one.rate_hz:12,.0f}")
    print(f"  {'two workers':45}{'':12}{two.rate_hz:12,.0f}{two.rate_hz / one.rate_hz:8.2f} x one")
    total = sum(row[2] for row in rows[:-1])
    print(f"  cores for 10,000 such messages/s in the cluster: {total / 100:.1f}, generators not counted")


def measured(scene: Scene, load_: Load, workers: int, what: str) -> Cost:
    """Send everything, then let workers read it. What the parts use while nothing happens is taken off."""
    idle = rest(scene)  # also makes the session in which mosquitto keeps messages
    sending = Meter(scene, idle)
    send(scene, load_)
    taken_s = sending.broker_s()
    reading = Meter(scene, idle)
    with aggregators(scene, workers) as processes:
        rate_hz = watch(scene, load_.messages, load_.frames)
        worker_s = cpu_s(processes) - workers * idle.start_s
        given_s, database_s = reading.broker_s(), reading.database_s()
    compare = ("benchmarks.fleet.check", scene.folder / "expected.csv", "--config", scene.config)
    subprocess.run((sys.executable, "-m", *compare), check=True, stdout=subprocess.DEVNULL)
    us = 1e6 / load_.messages
    print(
        f"{what}: {rate_hz:,.0f} messages/s; at rest the broker takes {idle.broker:.1%} of a core,"
        f" the database {idle.database:.1%}",
        flush=True,
    )
    return Cost(taken_s * us, given_s * us, worker_s * us, database_s * us, rate_hz)


def live(scene: Scene, devices: int) -> None:
    """Print what a worker costs while lessons run: it adds up every room anew with each summary."""
    with aggregators(scene, 1) as processes:
        time.sleep(_IDLE_S)
        worker_s, database_s = cpu_s(processes), cpu_s(scene.database)
        rate = ("--rate", str(_LIVE_HZ), "--seconds", str(_LIVE_S))
        fleet(scene, "--devices", str(devices), *rate)
        worker_s, database_s = cpu_s(processes) - worker_s, cpu_s(scene.database) - database_s
        rss = processes[0].memory_info().rss / 2**20
    messages = devices * _LIVE_HZ * _LIVE_S
    print(
        f"{devices} rooms live, {messages / _LIVE_S:.0f} messages/s, summaries and events: one worker, {rss:.0f} MiB, "
        f"{worker_s / _LIVE_S:.0%} of a core ({messages / worker_s:,.0f} messages per second of CPU); "
        f"database {database_s / _LIVE_S:.0%}",
        flush=True,
    )


@dataclass(frozen=True, slots=True)
class Idle:
    """What is used while nothing happens."""

    start_s: float
    """CPU seconds of an aggregator's start."""
    broker: float
    """CPU seconds per second."""
    database: float


class Meter:
    """CPU seconds from now on, beyond what would be used at rest."""

    def __init__(self, scene: Scene, idle: Idle) -> None:
        self._scene, self._idle = scene, idle
        self._broker_s, self._database_s = cpu_s(scene.brokers), cpu_s(scene.database)
        self._began = time.monotonic()

    def broker_s(self) -> float:
        """Of all nodes."""
        return cpu_s(self._scene.brokers) - self._broker_s - self._idle.broker * (time.monotonic() - self._began)

    def database_s(self) -> float:
        """Of the database, all its processes."""
        return cpu_s(self._scene.database) - self._database_s - self._idle.database * (time.monotonic() - self._began)


def rest(scene: Scene) -> Idle:
    """Start an aggregator for which nothing waits, and look at everybody's CPU for some seconds."""
    with aggregators(scene, 1) as processes:
        until(lambda: scene.frames() == 0, "the store", _TIMEOUT_S)
        time.sleep(_IDLE_S)
        start_s = cpu_s(processes)
    meter = Meter(scene, Idle(0.0, 0.0, 0.0))
    time.sleep(_REST_S)
    return Idle(start_s, meter.broker_s() / _REST_S, meter.database_s() / _REST_S)


def send(scene: Scene, load_: Load) -> None:
    """The fleet's backlog, with what belongs to it: a few duplicates, a few late ones."""
    number = ("--devices", str(load_.devices), "--messages", str(load_.messages), "--frames", str(load_.frames))
    faults = ("--rate", str(load_.frames), "--duplicates", "0.01", "--late", "0.01")
    fleet(scene, "--backlog", *number, *faults)


def fleet(scene: Scene, *arguments: str) -> None:
    """Run the simulated one to its end, without sessions."""
    command = [sys.executable, "-m", "benchmarks.fleet", "--quiet", "--connections", "50", *arguments]
    command += [part for port in scene.ports for part in ("--broker", f"127.0.0.1:{port}")]
    command += ["--site", scene.folder.name.replace("_", "-").lower(), "--expected", str(scene.folder / "expected.csv")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def watch(scene: Scene, messages: int, frames: int) -> float:
    """Wait until everything is stored; messages per second, begin and end left out, when workers come and go."""
    seen: list[tuple[float, float]] = []
    deadline = time.monotonic() + _TIMEOUT_S
    while not seen or seen[-1][1] < messages:
        if time.monotonic() > deadline:
            sys.exit(f"benchmarks.cluster: not everything was stored within {_TIMEOUT_S:.0f} s")
        seen.append((time.monotonic(), scene.frames() / frames))
        time.sleep(_POLL_S)
    (begin, first), (end, last) = (next(each for each in seen if each[1] >= part * messages) for part in _MIDDLE)
    return (last - first) / max(end - begin, _POLL_S)


@contextmanager
def aggregators(scene: Scene, number: int) -> Iterator[list[psutil.Process]]:
    """So many daemons, ended in order."""
    command = [sys.executable, "-m", "aggregator", "--config", str(scene.config), "run"]
    with (scene.folder / "aggregator.log").open("ab") as log:
        started = [subprocess.Popen(command, stdout=log, stderr=log) for _ in range(number)]
    try:
        yield [psutil.Process(each.pid) for each in started]
    finally:
        for each in started:
            each.terminate()
        for each in started:
            each.wait(60)


@contextmanager
def small() -> Iterator[Scene]:
    """A broker and a file: what serves one school."""
    with tempfile.TemporaryDirectory(prefix="bench-small-") as name:
        folder = Path(name)
        broker = Mosquitto(folder / "mosquitto", ("allow_anonymous true", "log_type error")).start()
        top = f'site = "bench"\ncredentials = "{folder}"\n'
        mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\ntls = false\n'
        config = folder / "aggregator.toml"
        config.write_text(f'{top}{mqtt}[store]\npath = "{folder}/store.sqlite"\n{_QUIET}')
        try:
            store = folder / "store.sqlite"
            brokers = [each for each in psutil.Process().children() if each.name() == "mosquitto"]
            yield Scene(folder, config, [broker.port], brokers, [], lambda: _in_file(store))
        finally:
            broker.stop()


@contextmanager
def large(cluster: servers.Cluster, postgres: servers.Postgres, name: str, settings: str) -> Iterator[Scene]:
    """The cluster, with a database of this run's own, and more `settings` of its workers."""
    postgres.create(name)
    with tempfile.TemporaryDirectory(prefix="bench-large-") as folder_name:
        folder = Path(folder_name)
        (folder / "amqp-password").write_text("guest\n")
        config = folder / "aggregator.toml"
        config.write_text(
            f'site = "bench"\ncredentials = "{folder}"\n[mqtt]\nhost = "127.0.0.1"\n'
            f'[amqp]\nhosts = {json.dumps(cluster.amqp_hosts)}\ntls = false\nusername = "guest"\n'
            f'[postgresql]\nhost = "127.0.0.1"\nport = {postgres.port}\ndatabase = "{name}"\ntls = false\n{settings}'
        )
        topology = [sys.executable, "-m", "aggregator", "--config", str(config), "topology"]
        subprocess.run(topology, check=True, stdout=subprocess.DEVNULL)
        nodes, server = [psutil.Process(node.pid) for node in cluster.nodes], psutil.Process(postgres.pid)
        with psycopg.connect(
            host="127.0.0.1", port=postgres.port, dbname=name, user="classpulse", autocommit=True
        ) as db:
            ports = [node.mqtt for node in cluster.nodes]
            yield Scene(folder, config, ports, nodes, [server], lambda: _in_database(db))


def _in_file(store: Path) -> int:
    """Frames in a SQLite file; -1 before it has tables."""
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
            return int(db.execute(_FRAMES).fetchone()[0])
    except sqlite3.OperationalError:
        return -1


def _in_database(db: psycopg.Connection) -> int:
    """Frames in a database; -1 before it has tables."""
    try:
        return int(db.execute(_FRAMES).fetchall()[0][0])
    except psycopg.errors.UndefinedTable:
        return -1


def cpu_s(roots: list[psutil.Process]) -> float:
    """CPU seconds of processes, their children, and the children that have ended."""
    return sum(_own_cpu_s(each) for root in roots for each in (root, *root.children(recursive=True)))


def _own_cpu_s(process_: psutil.Process) -> float:
    try:
        return float(sum(process_.cpu_times()[:4]))
    except psutil.NoSuchProcess:  # it ended between two looks, and is in its parent's sum
        return 0.0


if __name__ == "__main__":
    main()
