"""Kills at random for as long as you like, and then the count: `python -m tests.soak --kills 315` (`make soak`).

Daemon, broker and aggregator are killed alone, in pairs and all together, at one moment or shortly one after another.
It ends with exit status 0 only if everything that the outbox accepted is in the store exactly once, window by window,
but for the last second before a kill of the daemon; if all that is lost is told; and if the daemon that was never
killed for the last part grew neither in memory nor in open files.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from edge.health import rss_bytes
from tests.system.broker import Mosquitto
from tests.system.edge.lab import Lab, kill_at_random


def open_files(process: Path) -> int:
    """How many a process has; `process` is its folder below /proc."""
    return sum(1 for _ in (process / "fd").iterdir())


def growth(lab: Lab, seconds: float, rate_hz: float) -> str:
    """How one undisturbed daemon grows while it counts much faster than any camera; raises if it leaks files."""
    fast = {"inflight": 500, "replay_hz": 5000}
    process = Path("/proc", str(lab.start_daemon(f"rate={rate_hz}", mqtt=fast).pid))
    time.sleep(seconds / 2)  # caches fill first
    rss, files, frames = rss_bytes(process / "statm"), open_files(process), lab.lines()
    time.sleep(seconds)
    counted = lab.lines() - frames
    grown = (rss_bytes(process / "statm") - rss) / 1e6
    more_files = open_files(process) - files
    if more_files > 2:
        raise SystemExit(f"{more_files} more open files")
    return f"{counted} frames: RSS {rss / 1e6:.1f} MB, grew {grown:+.2f} MB ({grown / counted * 1e5:+.2f} per 100,000)"


def main() -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=315, help="of daemon, broker and aggregator")
    parser.add_argument("--seed", type=int, default=None, help="of the choice of victims and moments")
    parser.add_argument("--grow", type=float, default=120.0, help="seconds of the part without kills; 0: none")
    parser.add_argument("--rate", type=float, default=400.0, help="frames per second of the part without kills")
    arguments = parser.parse_args()
    seed = time.time_ns() if arguments.seed is None else arguments.seed
    print(f"{arguments.kills} kills, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), Mosquitto(Path(folder) / "broker").start())
        try:
            lab.start_aggregator()
            lab.start_daemon()
            kill_at_random(lab, arguments.kills, random.Random(seed), lambda text: print(text, flush=True))  # noqa: S311 - a drill
            lab.kill_daemon()  # the next one is started for the count
            if arguments.grow:
                print(growth(lab, arguments.grow, arguments.rate), flush=True)
            else:
                lab.start_daemon()
            lab.pause_daemon()
            print(lab.wait_until_stored(600), flush=True)
            if untold := lab.untold():
                raise SystemExit(f"{len(untold)} lost messages are not told, such as {untold[0]}")
        finally:
            lab.close()
            lab.broker.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
