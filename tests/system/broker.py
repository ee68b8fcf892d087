"""A real mosquitto of a test's own, to be started, stopped, killed and frozen."""

import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

ADAPTED = ("max_queued_messages 0", "max_queued_bytes 268435456", "max_inflight_messages 1000", "autosave_interval 60")
"""What our broker role sets beyond mosquitto's defaults."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], object], what: str, within_s: float = 30.0) -> None:
    """Wait until `condition()` is true.

    Raises:
        AssertionError: Saying that `what` did not come.
    """
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within_s} s")
        time.sleep(0.02)


def answers(address: str) -> bool:
    """Whether a GET of this http address is answered with 200."""
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - http, from tests
            return bool(answer.status == 200)
    except OSError:
        return False


class Mosquitto:
    """One mosquitto with its own folder and port, which stay the same over `stop`, `kill9` and `start`."""

    def __init__(self, folder: Path, listener: tuple[str, ...] = ("allow_anonymous true",), port: int = 0) -> None:
        """`listener`: configuration lines such as `cafile …`; without any, everybody may do everything."""
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self.folder = folder
        self.log = folder / "mosquitto.log"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        lines = (
            f"listener {self.port} {self.host}",
            "user root",  # who starts it as root has folders that only root may write
            "persistence true",
            f"persistence_location {folder}/",
            "log_type all",
            "connection_messages true",
            *ADAPTED,
            *listener,
        )
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> "Mosquitto":
        """Start it and wait until it accepts connections."""
        binary = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([binary, "-c", self.folder / "mosquitto.conf"], stdout=log, stderr=log)
        until(self._answers, f"mosquitto on port {self.port}")
        return self

    def stop(self) -> None:
        """SIGTERM: it writes its database and ends. No error if it does not run."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """SIGKILL: what it has not written is gone."""
        self._end(signal.SIGKILL)

    def sigstop(self) -> None:
        """Freeze it: connections stay open and nobody answers."""
        self._running().send_signal(signal.SIGSTOP)

    def sigcont(self) -> None:
        """Thaw it."""
        self._running().send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.send_signal(signal.SIGCONT)
        self.process.wait(30)
        self.process = None

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self.process is not None, "mosquitto does not run"
        return self.process

    def _answers(self) -> bool:
        if self._running().poll() is not None:
            raise AssertionError(f"mosquitto ended:\n{self.log.read_text()}")
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0
