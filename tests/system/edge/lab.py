"""A daemon, a broker and an aggregator as processes that may be killed, and the count of what came through."""

import itertools
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aggregator.store.sqlite import SqliteStore
from aggregator.store.windows import Key, Sums, add, fold
from contract.message import CountsMessage
from contract.topics import Device
from service.config import dump
from tests.system.broker import Mosquitto, until

DEVICE = Device("school", "r1", "cam")
ROOT = Path(__file__).resolve().parents[3]
YOUNG_S = 1.5
"""What was accepted this long before a kill of the daemon may be missing: a second, and what a busy machine adds."""
PARTS = ("daemon", "broker", "aggregator")
COMBINATIONS = [each for size in (1, 2, 3) for each in itertools.combinations(PARTS, size)]
_TOLD = re.compile(r"boot ([0-9a-f]{8}) ended without a goodbye before boot ([0-9a-f]{8})")
Table = dict[str, object]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger: what the outbox accepted, and when."""

    accepted: float
    message: CountsMessage


class Lab:
    """One device, one broker, one aggregator. `edge_port` may be a proxy's."""

    def __init__(self, folder: Path, broker: Mosquitto, edge_port: int | None = None) -> None:
        self.folder = folder
        self.broker = broker
        self.edge_port = edge_port or broker.port
        self.state = folder / "edge"
        self.ledger = folder / "ledger"
        self.store = folder / "store.sqlite"
        self.kills: dict[str, float] = {}
        """Boot -> when its daemon was killed."""
        self._daemon: subprocess.Popen[bytes] | None = None
        self._aggregator: subprocess.Popen[bytes] | None = None

    # -- processes

    def start_daemon(self, script: str = "rate=50", *, env: Table | None = None, **tables: Table) -> subprocess.Popen:
        """Start it; `script` as in scripted.py, `tables` add to edge.toml."""
        usual: dict[str, Table] = {
            "device": {"site": DEVICE.site, "room": DEVICE.room, "device": DEVICE.device},
            "camera": {"source": f"file:{script}"},
            "detector": {"name": "haar"},
            "emotions": {"enabled": False},
            "mqtt": {"host": "127.0.0.1", "port": self.edge_port, "tls": False, "reconnect_max_s": 1.0},
            "publish": {"health_s": 1.0, "span_s": 0.0},
            "outbox": {"resend_s": 5.0},
            "clock": {"synchronized": "/"},
        }
        merged = {name: {**usual.get(name, {}), **tables.get(name, {})} for name in usual | tables}
        path = self.folder / "edge.toml"
        path.write_text(dump({"state": str(self.state), "credentials": str(self.folder)} | merged))
        self._daemon = self._start("edge", "tests.system.edge.scripted", path, self.ledger, env=env)
        return self._daemon

    def start_aggregator(self) -> None:
        """Start it; before its first time the broker keeps nothing for it, so wait for it then."""
        first = not self.store.exists()
        path = self.folder / "aggregator.toml"
        top = {"site": DEVICE.site, "credentials": str(self.folder)}
        mqtt: Table = {"host": "127.0.0.1", "port": self.broker.port, "tls": False, "keepalive_s": 5}
        path.write_text(dump(top | {"mqtt": mqtt, "store": {"path": str(self.store)}}))
        self._aggregator = self._start("aggregator", "aggregator", "--config", path, "run")
        if first:
            until(self._aggregator_is_up, "the aggregator")

    def _aggregator_is_up(self) -> bool:
        assert self._aggregator is not None
        assert self._aggregator.poll() is None, self.log("aggregator")
        return b"aggregator/state" in self.broker.log.read_bytes()

    def kill_daemon(self) -> None:
        """SIGKILL: what is in its memory is gone."""
        assert self._daemon is not None
        at = time.time()
        self._daemon.kill()
        self._daemon.wait(10)
        if last := self._entries(self.ledger.read_bytes()[-4096:] if self.ledger.exists() else b"")[-1:]:
            self.kills.setdefault(last[0].message.boot, at)

    def stop_daemon(self) -> float:
        """SIGTERM; the seconds that it took to end, with exit status 0."""
        assert self._daemon is not None
        begin = time.monotonic()
        self._daemon.terminate()
        assert self._daemon.wait(20) == 0
        return time.monotonic() - begin

    def kill_aggregator(self) -> None:
        """SIGKILL."""
        assert self._aggregator is not None
        self._aggregator.kill()
        self._aggregator.wait(10)

    def pause_daemon(self) -> None:
        """Let it accept nothing more; one that has just been started is waited for, or the signal would end it."""
        assert self._daemon is not None
        until(
            lambda: self._daemon.poll() is not None or catches(self._daemon.pid, signal.SIGUSR1), "the daemon's start"
        )
        self._daemon.send_signal(signal.SIGUSR1)

    def close(self) -> None:
        """End everything."""
        for process in (self._daemon, self._aggregator):
            if process and process.poll() is None:
                process.kill()
                process.wait(10)

    def log(self, name: str) -> str:
        """What `edge` or `aggregator` has logged."""
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""

    # -- the count

    def accepted(self) -> list[Entry]:
        """The ledger; a last line that a kill cut off is left out."""
        return self._entries(b"\n" + self.ledger.read_bytes()) if self.ledger.exists() else []

    def _entries(self, text: bytes) -> list[Entry]:
        """Whole lines of the ledger, behind the first."""
        lines = (line.partition(b" ") for line in text.split(b"\n")[1:-1])
        return [Entry(float(at), CountsMessage.from_json(payload)) for at, _, payload in lines]

    def size(self) -> int:
        """Bytes of the ledger."""
        return self.ledger.stat().st_size if self.ledger.exists() else 0

    def lines(self) -> int:
        """How many messages the ledger has."""
        return self.ledger.read_bytes().count(b"\n") if self.ledger.exists() else 0

    def stored(self) -> tuple[set[tuple[str, int]], dict[Key, Sums]]:
        """(boot, seq) of what the store has counted, and its windows; as of one instant."""
        names: set[tuple[str, int]] = set()
        with (
            sqlite3.connect(f"file:{self.store}?mode=ro", uri=True) as db,
            SqliteStore(self.store, writable=False) as store,
        ):
            rows = db.execute("SELECT boot, low, high FROM ranges JOIN boots ON id = boot_id").fetchall()
            windows = dict(store.windows(DEVICE.site, DEVICE.room, 0, 2**40, unsynced=True))
        for boot, low, high in rows:
            names.update((boot, seq) for seq in range(low, high + 1))
        return names, windows

    def wait_until_stored(self, within_s: float = 60.0, *, allowed: Callable[[Entry], bool] = lambda _: False) -> str:
        """Wait until the store has exactly what was accepted, window by window; totals for people.

        `allowed` says of an accepted message whether it may be missing, beside the youngest of a killed daemon.
        """
        verdict = "nothing was compared"
        deadline = time.monotonic() + within_s
        while verdict and time.monotonic() < deadline:
            time.sleep(0.3)
            verdict = self._compare(allowed)
        assert not verdict, (
            f"{verdict}\n--- edge\n{self.log('edge')[-6000:]}\n--- aggregator\n{self.log('aggregator')[-3000:]}"
        )
        entries, lost = self.accepted(), self.lost()
        # a daemon that was not killed loses what `allowed` says, and no more
        killed = [(self.kills[each.message.boot], each) for each in lost if each.message.boot in self.kills]
        oldest = max((at - each.accepted for at, each in killed), default=0.0)
        return (
            f"{len(entries)} accepted, {len(entries) - len(lost)} stored, {len(lost)} lost, the oldest {oldest:.2f} s "
            f"before a kill; {len(self.kills)} daemons killed"
        )

    def lost(self) -> list[Entry]:
        """What was accepted and is not stored."""
        names, _ = self.stored()
        return [each for each in self.accepted() if (each.message.boot, each.message.seq) not in names]

    def untold(self) -> list[Entry]:
        """What is lost although no line of the aggregator's log tells of an end without a goodbye there.

        A boot of which nobody heard is part of the end of the one before.
        """
        order = list(dict.fromkeys(entry.message.boot for entry in self.accepted()))
        told = _TOLD.findall(self.log("aggregator"))
        heard = {boot for pair in told for boot in pair}

        def covers(before: str, after: str, lost: str) -> bool:
            first, last = (order.index(each) if each in order else None for each in (before, after))
            place = order.index(lost)
            return (first is None or first < place) and (last is None or place < last)

        def is_told(boot: str) -> bool:
            return any(boot == pair[0] or (boot not in heard and covers(*pair, boot)) for pair in told)

        return [each for each in self.lost() if not is_told(each.message.boot)]

    def _compare(self, allowed: Callable[[Entry], bool]) -> str:
        """What is wrong with the store, "" if nothing is."""
        entries = self.accepted()
        if not entries or not self.store.exists():
            return "nothing was accepted, or there is no store"
        names, windows = self.stored()
        truth: dict[Key, Sums] = {}
        missing = []
        for entry in entries:
            if (entry.message.boot, entry.message.seq) in names:
                for key, sums in fold(DEVICE, entry.message).items():
                    add(truth, key, sums)
            elif not (self._young(entry) or allowed(entry)):
                missing.append((entry.message.boot, entry.message.seq))
        if missing:
            return f"{len(missing)} of {len(entries)} accepted messages are missing, such as {missing[:3]}"
        if len(names) > len(entries):
            return "messages are stored that were never accepted"
        return "" if truth == windows else f"the windows differ: {set(truth.items()) ^ set(windows.items())}"

    def _young(self, entry: Entry) -> bool:
        killed = self.kills.get(entry.message.boot)
        return killed is not None and entry.accepted > killed - YOUNG_S

    def _start(self, name: str, module: str, *arguments: object, env: Table | None = None) -> subprocess.Popen:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments)],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
            )


def retained(port: int, kind: str) -> bytes:
    """The device's retained message on a topic."""
    command = ["mosquitto_sub", "-p", str(port), "-t", DEVICE.topic(kind), "-C", "1", "-W", "10"]
    return subprocess.run(command, capture_output=True, check=True).stdout.rstrip(b"\n")


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal. Source: proc(5), SigCgt."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> number - 1 & 1)


def kill_at_random(lab: Lab, kills: int, dice: random.Random, tell: Callable[[str], None] = lambda _: None) -> None:
    """Kill daemon, broker, aggregator, or some of them together or shortly one after another, until so many are killed.

    They start again in any order, at once or later.
    """
    kill = {"daemon": lab.kill_daemon, "broker": lab.broker.kill9, "aggregator": lab.kill_aggregator}
    start = {"daemon": lab.start_daemon, "broker": lab.broker.start, "aggregator": lab.start_aggregator}
    killed = 0
    while killed < kills:
        counted = lab.size()
        until(lambda: lab.size() > counted, "the daemon counts")  # noqa: B023 - called at once
        time.sleep(dice.uniform(0.1, 1.5))
        victims = dice.choice(COMBINATIONS)
        for victim in dice.sample(victims, len(victims)):
            kill[victim]()
            time.sleep(dice.choice((0.0, 0.0, dice.uniform(0.0, 2.0))))
        for victim in dice.sample(victims, len(victims)):
            time.sleep(dice.choice((0.0, 0.0, dice.uniform(0.0, 2.0))))
            start[victim]()
        killed += len(victims)
        tell(f"{killed} kills: {', '.join(victims)}")
