"""Debian's RabbitMQ and PostgreSQL as real processes on loopback, each with its own ports and folder.

Imports no client library, so that benchmarks may start them too.
"""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from tests.cluster.keys import authority
from tests.system.broker import until

USER = "postgres"
"""Whom PostgreSQL runs as when root starts it, because it refuses root."""
_START_S = 240.0
"""A node needs 10 s on a quiet machine."""
_RABBIT_CONF = """\
listeners.tcp.1 = 127.0.0.1:{amqp}
listeners.ssl.1 = 127.0.0.1:{amqps}
ssl_options.cacertfile = {keys}/ca.crt
ssl_options.certfile = {keys}/server.crt
ssl_options.keyfile = {keys}/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
mqtt.listeners.tcp.1 = 127.0.0.1:{mqtt}
mqtt.durable_queue_type = quorum
mqtt.default_user = guest
mqtt.default_pass = guest
loopback_users = none
cluster_formation.peer_discovery_backend = classic_config
cluster_partition_handling = pause_minority
disk_free_limit.absolute = 20MB
vm_memory_high_watermark.absolute = 2GB
log.console = false
{peers}
"""


def free_port() -> int:
    """A port of 127.0.0.1 below those that outgoing connections use: it stays free while its server is killed."""
    while True:
        port = random.randrange(12_000, 32_000)  # noqa: S311 - no secret
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def missing() -> str:
    """What has to be installed before any of this works; "" if nothing."""
    lacking = []
    if _rabbit_folder() is None or shutil.which("epmd") is None:
        lacking.append("rabbitmq-server")
    if _postgres_folder() is None:
        lacking.append("postgresql")
    return f"apt-get install --no-install-recommends {' '.join(lacking)}" if lacking else ""


def _rabbit_folder() -> Path | None:
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    return found[-1].parent if found else None


def _postgres_folder() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


def _alive(group: int) -> bool:
    """Whether a process of this group still runs: one whose parent died before it may stay as a zombie for ever."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, member, *_ = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(member) == group and state not in "ZX":
            return True
    return False


class Process:
    """One server process with its children, which can be killed and frozen together."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(self, command: list[str | Path], *, user: str | None = None, **environment: str) -> None:
        """Start it in a session of its own."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                cwd="/",
            )

    @property
    def pid(self) -> int:
        """Of the first process, which is also its group's number."""
        assert self.process is not None, f"{self.name} does not run"
        return self.process.pid

    def send(self, what: signal.Signals) -> None:
        """Send a signal to it and its children."""
        os.killpg(self.pid, what)

    def kill9(self) -> None:
        """SIGKILL: what it has not written is gone."""
        self.end(signal.SIGKILL)

    def sigstop(self) -> None:
        """Freeze it: connections stay open and nobody answers."""
        self.send(signal.SIGSTOP)

    def sigcont(self) -> None:
        """Thaw it."""
        self.send(signal.SIGCONT)

    def end(self, how: signal.Signals, within_s: float = 120.0) -> None:
        """Send a signal to all and wait; no error if it does not run."""
        if self.process is None:
            return
        try:
            self.send(how)
            self.send(signal.SIGCONT)
        except ProcessLookupError:
            pass
        until(lambda: not _alive(self.pid), f"end of {self.name}", within_s)
        self.process.wait(within_s)
        self.process = None

    def check(self) -> None:
        """AssertionError with the log's end if it ended by itself."""
        if self.process is None or self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended:\n{self.log.read_text(errors='replace')[-3000:]}")


class Rabbit(Process):
    """One node of a RabbitMQ cluster."""

    def __init__(self, number: int, size: int, folder: Path, epmd: int, keys: Path) -> None:
        """It speaks TLS with `keys`, on a port of its own."""
        super().__init__(f"r{number}@localhost", folder / "console.log")
        self.amqp, self.amqps, self.mqtt = free_port(), free_port(), free_port()
        home = folder.parent
        folder.mkdir(parents=True)
        peers = "\n".join(
            f"cluster_formation.classic_config.nodes.{each} = r{each}@localhost" for each in range(1, size + 1)
        )
        ports = {"amqp": self.amqp, "amqps": self.amqps, "mqtt": self.mqtt}
        (folder / "rabbitmq.conf").write_text(_RABBIT_CONF.format(**ports, keys=keys, peers=peers))
        (folder / "advanced.config").write_text("[{kernel, [{net_ticktime, 15}]}].\n")
        (folder / "plugins").write_text("[rabbitmq_mqtt,rabbitmq_consistent_hash_exchange].\n")
        self._environment = {
            "HOME": str(home),  # of the cookie that lets nodes talk to each other
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(epmd),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            # several nodes share few cores here: none may wait busily for work, nor its schedulers for each other
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
            "LANG": "C.UTF-8",
        }

    def spawn_node(self) -> None:
        """Start it and return at once."""
        self.spawn([_tool("rabbitmq-server")], **self._environment)

    def start(self) -> Self:
        """Start it and wait until it serves AMQP and MQTT."""
        self.spawn_node()
        return self.wait()

    def wait(self) -> Self:
        """Until it serves AMQP and MQTT."""
        until(lambda: self.check() or self.answers(), f"{self.name} on port {self.mqtt}", _START_S)
        return self

    def answers(self) -> bool:
        """Whether both listen."""
        for port in (self.amqp, self.mqtt):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)):
                    return False
        return True

    def stop(self) -> None:
        """SIGTERM: it ends in order."""
        self.end(signal.SIGTERM)

    def ctl(self, *arguments: str) -> str:
        """`rabbitmqctl …` at this node; what it printed."""
        command = [_tool("rabbitmqctl"), "--quiet", "--node", self.name, *arguments]
        environment = {**os.environ, **self._environment, "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ""}
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True, timeout=120, cwd="/"
        ).stdout


def _tool(name: str) -> Path:
    folder = _rabbit_folder()
    assert folder is not None, missing()
    return folder / name


class Cluster:
    """RabbitMQ nodes with an epmd of their own; `nodes` are started in turn."""

    def __init__(self, folder: Path, size: int = 3, keys: Path | None = None) -> None:
        """They speak TLS with `keys`, or with some of their own."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.keys = keys or authority(folder / "keys")
        cookie = folder / ".erlang.cookie"
        cookie.write_text("CLASSPULSETEST")
        cookie.chmod(0o400)
        self._epmd_port = free_port()
        self._epmd = Process("epmd", folder / "epmd.log")
        self.nodes = [
            Rabbit(number, size, folder / f"r{number}", self._epmd_port, self.keys) for number in range(1, size + 1)
        ]

    @property
    def amqp_hosts(self) -> list[str]:
        """`host:port` of every node."""
        return [f"127.0.0.1:{node.amqp}" for node in self.nodes]

    def start(self) -> Self:
        """All nodes, the first one first, because it makes the cluster that the others join."""
        self._epmd.spawn(["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"])
        for node in self.nodes:
            node.start()
        return self

    def end(self) -> None:
        """End everything, killing what does not go."""
        for process in [*self.nodes, self._epmd]:
            process.kill9()


class Postgres(Process):
    """One PostgreSQL server; anybody on this machine is let in, but `guarded` by TLS and password only."""

    def __init__(self, folder: Path, keys: Path | None = None) -> None:
        """It speaks TLS with `keys`."""
        super().__init__("postgres", folder / "postgres.log")
        binaries = _postgres_folder()
        assert binaries is not None, missing()
        self._binaries, self._data = binaries, folder / "data"
        self.port = free_port()
        self.folder = folder
        self._user = USER if os.geteuid() == 0 else None
        self.user = self._user or pwd.getpwuid(os.geteuid()).pw_name
        folder.mkdir(parents=True, exist_ok=True)
        if self._user:
            shutil.chown(folder, self._user, self._user)
        command = [
            binaries / "initdb",
            "-D",
            self._data,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "-U",
            "classpulse",
        ]
        subprocess.run(command, check=True, capture_output=True, user=self._user, group=self._user, cwd="/")
        access = self._data / "pg_hba.conf"
        access.write_text(f"hostssl all guarded all scram-sha-256\nhost all guarded all reject\n{access.read_text()}")
        if keys:
            self._speak_tls(keys)

    def _speak_tls(self, keys: Path) -> None:
        for ending in ("crt", "key"):
            copy = self._data / f"server.{ending}"
            shutil.copy(keys / copy.name, copy)
            copy.chmod(0o600)
            if self._user:
                shutil.chown(copy, self._user, self._user)
        with (self._data / "postgresql.conf").open("a") as file:
            file.write("ssl = on\n")  # server.crt and server.key are its own defaults

    def start(self) -> Self:
        """Start it and wait until it answers."""
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.spawn([self._binaries / "postgres", "-D", self._data, *options], user=self._user)
        until(lambda: self.check() or self.ready(), f"postgres on port {self.port}", _START_S)
        return self

    def ready(self) -> bool:
        """Whether it takes queries."""
        command = [self._binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def create(self, database: str) -> None:
        """An empty database."""
        command = [self._binaries / "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "classpulse", database]
        subprocess.run(command, check=True, capture_output=True)

    def stop(self) -> None:
        """SIGINT, its fast shutdown: connections are closed, nothing is lost."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(120)
            self.process = None

    def crash(self) -> None:
        """SIGQUIT, its immediate shutdown: it recovers from its log at the next start."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(120)
            self.process = None


@contextmanager
def public_folder() -> Iterator[Path]:
    """A new one that PostgreSQL's user can reach, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="classpulse-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def running(nodes: int = 3) -> Iterator[tuple[Cluster, Postgres]]:
    """A cluster and a database, both started, in a folder that is removed at the end with them."""
    with ExitStack() as stack:
        folder = stack.enter_context(public_folder())
        cluster, postgres = Cluster(folder / "rabbitmq", nodes), Postgres(folder / "postgresql")
        stack.callback(cluster.end)
        stack.callback(postgres.crash)
        postgres.start()
        cluster.start()
        yield cluster, postgres
