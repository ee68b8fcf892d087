"""The demonstration's processes: started, watched and ended together, so that none outlives the others."""

import ctypes
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_END_S = 10.0
"""A process that has not ended this long after SIGTERM is killed."""
_TAIL_LINES = 12
_PR_SET_PDEATHSIG = 1
"""Source: prctl(2)."""
_LIBC = ctypes.CDLL(None)


class ProcessEndedError(RuntimeError):
    """A process that should still run and does not; the text has its last log lines."""


@dataclass(frozen=True, slots=True)
class Process:
    """One running process."""

    name: str
    popen: "subprocess.Popen[bytes]"
    log: Path | None
    """Its standard error, and its standard output unless that is read by the caller; None: the terminal."""

    def tail(self) -> str:
        """The last lines of its log, indented; "" if there are none."""
        if self.log is None:
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "".join(f"\n    {line}" for line in lines)


class Processes:
    """All processes; `with` ends them in reverse order of their start."""

    def __init__(self, folder: Path) -> None:
        """`folder` gets `<name>.log` of each."""
        self._folder = folder
        self._running: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # a second Ctrl-C must not leave processes behind
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for process in reversed(self._running):
            _end(process)

    def start(self, name: str, *command: str | Path, output: int | IO[bytes] | None = None) -> Process:
        """Start a process whose output goes to its log; `output=PIPE` keeps standard output for the caller."""
        path = self._folder / f"{name}.log"
        with path.open("wb") as log:
            popen = _popen(command, output if output is not None else log, log)
        self._running.append(Process(name, popen, path))
        return self._running[-1]

    def show(self, name: str, *command: str | Path) -> Process:
        """Start a process that writes to the terminal."""
        self._running.append(Process(name, _popen(command, None, None), None))
        return self._running[-1]

    def end(self, process: Process) -> None:
        """End one process before the others."""
        self._running.remove(process)
        _end(process)

    def check(self) -> None:
        """Raise ProcessEndedError if one has ended."""
        for process in self._running:
            status = process.popen.poll()
            if status is not None:
                raise ProcessEndedError(f"the {process.name} ended with exit status {status}{process.tail()}")

    def logs(self) -> str:
        """The last log lines of every process, for an error."""
        return "".join(f"\n  {each.name}:{each.tail()}" for each in self._running if each.log is not None)


def _popen(
    command: tuple[str | Path, ...], output: int | IO[bytes] | None, errors: IO[bytes] | None
) -> "subprocess.Popen[bytes]":
    # a session of its own: Ctrl-C reaches only us, and we end the processes in order
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread when it starts others
    )


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(process: Process) -> None:
    if process.popen.poll() is None:
        process.popen.terminate()
    try:
        process.popen.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.popen.kill()
        process.popen.wait()
