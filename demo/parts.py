"""The demonstration's processes: started, watched and ended together, so that none outlives the others."""

import ctypes
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_END_S = 10.0
"""A part that has not ended this long after SIGTERM is killed."""
_TAIL_LINES = 12
_PR_SET_PDEATHSIG = 1
"""Source: prctl(2)."""
_LIBC = ctypes.CDLL(None)


class PartEndedError(RuntimeError):
    """A part that should still run and does not; the text has its last log lines."""


@dataclass(frozen=True, slots=True)
class Part:
    """One running process."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path | None
    """Its standard error, and its standard output unless that is read by the caller; None: the terminal."""

    def tail(self) -> str:
        """The last lines of its log, indented; "" if there are none."""
        if self.log is None:
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "".join(f"\n    {line}" for line in lines)


class Parts:
    """All parts; `with` ends them in reverse order of their start."""

    def __init__(self, folder: Path) -> None:
        """`folder` gets `<name>.log` of each."""
        self._folder = folder
        self._parts: list[Part] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # a second Ctrl-C must not leave parts behind
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for part in reversed(self._parts):
            _end(part)

    def start(self, name: str, *command: str | Path, output: int | IO[bytes] | None = None) -> Part:
        """Start a part whose output goes to its log; `output=PIPE` keeps standard output for the caller."""
        path = self._folder / f"{name}.log"
        with path.open("wb") as log:
            process = _popen(command, output if output is not None else log, log)
        self._parts.append(Part(name, process, path))
        return self._parts[-1]

    def show(self, name: str, *command: str | Path) -> Part:
        """Start a part that writes to the terminal."""
        self._parts.append(Part(name, _popen(command, None, None), None))
        return self._parts[-1]

    def end(self, part: Part) -> None:
        """End one part before the others."""
        self._parts.remove(part)
        _end(part)

    def check(self) -> None:
        """Raise PartEndedError if one has ended."""
        for part in self._parts:
            status = part.process.poll()
            if status is not None:
                raise PartEndedError(f"the {part.name} ended with exit status {status}{part.tail()}")

    def logs(self) -> str:
        """The last log lines of every part, for an error."""
        return "".join(f"\n  {part.name}:{part.tail()}" for part in self._parts if part.log is not None)


def _popen(
    command: tuple[str | Path, ...], output: int | IO[bytes] | None, errors: IO[bytes] | None
) -> "subprocess.Popen[bytes]":
    # a session of its own: Ctrl-C reaches only us, and we end the parts in order
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread when it starts parts
    )


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(part: Part) -> None:
    if part.process.poll() is None:
        part.process.terminate()
    try:
        part.process.wait(_END_S)
    except subprocess.TimeoutExpired:
        part.process.kill()
        part.process.wait()
