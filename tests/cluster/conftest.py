"""A cluster for all tests of this folder, a database for each, and workers as the real daemon."""

import itertools
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from aggregator.config import AggregatorConfig, PostgresqlConfig
from aggregator.store.postgresql import PostgresqlStore
from aggregator.store.windows import Key, Sums
from contract.topics import Room
from service.config import load
from tests.cluster import servers
from tests.cluster.keys import authority
from tests.system.broker import until

_NUMBERS = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these tests are marked."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


class Worker(servers.Process):
    """`classpulse-aggregator run` as a process."""

    def __init__(self, name: str, config: Path) -> None:
        super().__init__(name, config.parent / f"{name}.log")
        self.config = config

    def start(self, **environment: str) -> "Worker":
        """Start it and return at once."""
        command = [sys.executable, "-m", "aggregator", "--config", self.config, "run"]
        self.spawn(command, PYTHONPATH=str(Path.cwd()), **environment)
        return self

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.process = None
        return code

    def said(self) -> str:
        """Its log."""
        return self.log.read_text() if self.log.exists() else ""


class Place:
    """A database of one test; its devices are of the site `name`."""

    def __init__(self, folder: Path, postgres: servers.Postgres) -> None:
        self.name = f"school-{next(_NUMBERS)}"
        self.postgres = postgres
        database = re.sub(r"\W", "_", self.name)
        postgres.create(database)
        self.database = PostgresqlConfig(host="127.0.0.1", port=postgres.port, database=database, tls=False)
        self.folder = folder

    def administration(self) -> psycopg.Connection:
        """The database, for who owns it."""
        where = {"host": "127.0.0.1", "port": self.postgres.port, "dbname": self.database.database}
        return psycopg.connect(**where, user="classpulse", autocommit=True)


class Site(Place):
    """A database, a configuration and workers of one test."""

    def __init__(self, folder: Path, cluster: servers.Cluster, postgres: servers.Postgres) -> None:
        super().__init__(folder, postgres)
        self.cluster = cluster
        (folder / "amqp-password").write_text("guest\n")
        self.file = folder / "aggregator.toml"
        self.file.write_text(
            f'site = "{self.name}"\ncredentials = "{folder}"\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {cluster.nodes[0].mqtt}\ntls = false\n'
            f'[amqp]\nhosts = {json.dumps(cluster.amqp_hosts)}\ntls = false\nusername = "guest"\nqueues = 6\n'
            f"heartbeat_s = 5\n"
            f'[postgresql]\nhost = "127.0.0.1"\nport = {postgres.port}\n'
            f'database = "{self.database.database}"\ntls = false\n'
        )
        self._workers: list[Worker] = []

    @property
    def config(self) -> AggregatorConfig:
        """What the file says."""
        return load(self.file, AggregatorConfig)

    @property
    def ports(self) -> list[int]:
        """MQTT's, of every node."""
        return [node.mqtt for node in self.cluster.nodes]

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`classpulse-aggregator …` with this configuration."""
        command = [sys.executable, "-m", "aggregator", "--config", str(self.file), *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)

    def at_work(self, number: int) -> list[Worker]:
        """Workers that are connected: tables and consumers are there."""
        workers = [self.worker().start() for _ in range(number)]
        for worker in workers:
            until(lambda worker=worker: "connected to the node" in worker.said(), f"{worker.name} at work", 120)
        return workers

    def worker(self) -> Worker:
        """A worker that does not run yet."""
        self._workers.append(Worker(f"worker-{len(self._workers)}", self.file))
        return self._workers[-1]

    def store(self) -> PostgresqlStore:
        """The store, for reading."""
        return PostgresqlStore(self.database, self.folder, writable=False)

    def windows(self, rooms: set[Room]) -> dict[Key, Sums]:
        """What the database holds of these rooms."""
        with self.store() as store:
            return dict(row for room in rooms for row in store.windows(room.site, room.room, 0, 2**40, unsynced=True))

    def end(self) -> None:
        """Kill the workers."""
        for worker in self._workers:
            worker.kill9()


@pytest.fixture(scope="session")
def public_folder() -> Iterator[Path]:
    """Of the servers."""
    if lacking := servers.missing():
        pytest.skip(f"not installed: {lacking}")
    with servers.public_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def keys(public_folder) -> Path:
    """What all servers show, and the authority to trust."""
    return authority(public_folder / "keys")


@pytest.fixture(scope="session")
def cluster(public_folder, keys) -> Iterator[servers.Cluster]:
    """Three nodes of RabbitMQ, all running, started once."""
    nodes = servers.Cluster(public_folder / "rabbitmq", keys=keys)
    try:
        yield nodes.start()
    finally:
        nodes.end()


@pytest.fixture(scope="session")
def postgres(public_folder, keys) -> Iterator[servers.Postgres]:
    """The database server, running, started once."""
    server = servers.Postgres(public_folder / "postgresql", keys)
    try:
        yield server.start()
    finally:
        server.crash()


@pytest.fixture
def place(postgres, tmp_path) -> Place:
    """A new database; no RabbitMQ is needed for it."""
    return Place(tmp_path, postgres)


@pytest.fixture
def site(cluster, postgres, tmp_path) -> Iterator[Site]:
    """A new database; exchanges and queues are declared."""
    made = Site(tmp_path, cluster, postgres)
    declared = made.command("topology")
    assert declared.returncode == 0, declared.stderr
    yield made
    made.end()


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """`wait_until(condition, what, within_s=30)`: polling with a deadline."""
    return until
