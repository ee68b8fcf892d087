"""What a restart in the sixth hour of every room's lesson costs: memory, and the time until rooms are summarised.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.restart [--rooms 1000] [--hours 6]

A store with one device in each room, a real mosquitto, the real daemon.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from aggregator.analysis.cards import read_cards
from aggregator.store.sqlite import SqliteStore
from aggregator.store.windows import KEY_COLUMNS, SUM_COLUMNS, WINDOW_S
from benchmarks import machine
from benchmarks.aggregator import _answers, _free_port, _until

SITE = "school"
LONGEST_S = 900.0


def fill(path: Path, rooms: int, hours: float, now: int) -> None:
    """A store in which every room has had a frame every second."""
    with SqliteStore(path):
        pass
    model = next(iter(read_cards(Path("models"))), "")
    columns, sums = (*KEY_COLUMNS, "day", *SUM_COLUMNS), (10, 0, 70, 0, *[10] * 7, *[1000] * 7)
    statement = f"INSERT INTO windows ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
    last, count = now // WINDOW_S * WINDOW_S, int(hours * 3600 / WINDOW_S)
    with closing(connect(path)) as db, db:
        for room in range(rooms):
            starts = (last - WINDOW_S * each for each in range(count))
            rows = ((SITE, f"room-{room}", start, "cam", model, 1, now // 86400, *sums) for start in starts)
            db.executemany(statement, rows)
            boot = (SITE, f"room-{room}", "cam", "00000001", 0, now)
            db.execute("INSERT INTO boots (site, room, device, boot, floor, seen) VALUES (?, ?, ?, ?, ?, ?)", boot)


def measure(folder: Path, rooms: int) -> dict[str, float]:
    """Seconds from the daemon's start to the first summary and to that of the last room; the most memory it took."""
    port = _free_port()
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    (folder / "aggregator.toml").write_text(
        f'site = "{SITE}"\nmodels_dir = "models"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\ntls = false\n'
        f'[store]\npath = "{folder}/store.sqlite"\n'
    )
    mosquitto = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin") or "mosquitto"
    broker = subprocess.Popen([mosquitto, "-c", folder / "mosquitto.conf"], stderr=subprocess.DEVNULL)
    _until(lambda: _answers(port))
    seen: dict[str, float] = {}
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: seen.update({message.topic: time.monotonic()} | seen)
    client.connect("127.0.0.1", port)
    client.subscribe("classpulse/1/+/+/summary")
    client.loop_start()
    command = [sys.executable, "-m", "aggregator", "--config", str(folder / "aggregator.toml"), "run"]
    started = time.monotonic()
    daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: len(seen) >= rooms or daemon.poll() is not None, LONGEST_S)
        return {
            "first summary, s": min(seen.values()) - started,
            "summary of the last room, s": max(seen.values()) - started,
            "CPU, s": machine.cpu_s(daemon.pid),
            "peak RSS MiB": machine.peak_rss_bytes(daemon.pid) / 2**20,
        }
    finally:
        client.loop_stop()
        for process in (daemon, broker):
            process.terminate()
            process.wait()


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=1000)
    parser.add_argument("--hours", type=float, default=6.0)
    arguments = parser.parse_args()
    print(machine.describe())
    print(f"{arguments.rooms} rooms with {arguments.hours:g} hours of windows each")
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "store.sqlite", arguments.rooms, arguments.hours, int(time.time()))
        for name, value in measure(Path(folder), arguments.rooms).items():
            print(f"  {name:40} {value:10.1f}")


if __name__ == "__main__":
    main()
