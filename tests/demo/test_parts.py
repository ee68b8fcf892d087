"""Processes that are started together end together."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.parts import PartEndedError, Parts

SLEEP = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)")


@pytest.fixture(autouse=True)
def _signals_as_before():
    """Parts ignores signals while it ends its processes; the tests' own process goes on."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, action in before.items():
        signal.signal(number, action)


def test_every_part_is_ended(tmp_path: Path):
    """None outlives the block, whatever ends it."""
    with contextlib.suppress(KeyboardInterrupt), Parts(tmp_path) as parts:
        started = [parts.start(name, *SLEEP) for name in ("one", "two")]
        raise KeyboardInterrupt

    assert all(part.process.returncode is not None for part in started)


def test_a_part_that_ended_is_named_with_its_status_and_log(tmp_path: Path):
    """The person reads what the part said last."""
    with Parts(tmp_path) as parts:
        part = parts.start("camera", sys.executable, "-c", "import sys; sys.exit('no such device')")
        part.process.wait(30)

        with pytest.raises(PartEndedError, match="the camera ended with exit status 1\n    no such device"):
            parts.check()


def test_a_part_that_was_ended_on_purpose_is_not_missed(tmp_path: Path):
    """The table ends before the rest."""
    with Parts(tmp_path) as parts:
        parts.end(parts.start("table", *SLEEP))

        parts.check()


def test_parts_end_when_the_demonstration_is_killed(tmp_path: Path):
    """The kernel ends what nobody could."""
    code = (
        "import sys, time; from pathlib import Path; from demo.parts import Parts\n"
        f"print(Parts(Path({str(tmp_path)!r})).start('one', *{SLEEP!r}).process.pid, flush=True); time.sleep(60)"
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
