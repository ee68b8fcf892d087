"""Processes that are started together end together."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.processes import ProcessEndedError, Processes

SLEEP = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)")


@pytest.fixture(autouse=True)
def _signals_as_before():
    """Processes ignores signals while it ends its processes; the tests' own process goes on."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, action in before.items():
        signal.signal(number, action)


def test_every_process_is_ended(tmp_path: Path):
    """None outlives the block, whatever ends it."""
    with contextlib.suppress(KeyboardInterrupt), Processes(tmp_path) as processes:
        started = [processes.start(name, *SLEEP) for name in ("one", "two")]
        raise KeyboardInterrupt

    assert all(process.popen.returncode is not None for process in started)


def test_a_process_that_ended_is_named_with_its_status_and_log(tmp_path: Path):
    """The person reads its last lines."""
    with Processes(tmp_path) as processes:
        process = processes.start("camera", sys.executable, "-c", "import sys; sys.exit('no such device')")
        process.popen.wait(30)

        with pytest.raises(ProcessEndedError, match="the camera ended with exit status 1\n    no such device"):
            processes.check()


def test_a_process_that_was_ended_on_purpose_is_not_missed(tmp_path: Path):
    """The table ends before the rest."""
    with Processes(tmp_path) as processes:
        processes.end(processes.start("table", *SLEEP))

        processes.check()


def test_processes_end_when_the_demonstration_is_killed(tmp_path: Path):
    """The kernel ends what nobody could."""
    code = (
        "import sys, time; from pathlib import Path; from demo.processes import Processes\n"
        f"print(Processes(Path({str(tmp_path)!r})).start('one', *{SLEEP!r}).popen.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen((sys.executable, "-c", code), stdout=subprocess.PIPE)
    child = int(parent.stdout.readline())
    deadline = time.monotonic() + 30
    while "up" not in (tmp_path / "one.log").read_text() and time.monotonic() < deadline:
        time.sleep(0.02)

    parent.kill()
    parent.wait(10)

    while runs(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not runs(child)


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
