"""What the outbox costs: messages per second, share of a core, bytes written to the SD card. Prints, asserts nothing.

`.venv/bin/python -m benchmarks.outbox`
"""

import tempfile
import time
from datetime import timedelta
from pathlib import Path

from benchmarks import machine
from contract.labels import EMOTIONS
from contract.message import FrameCounts, instant, utc
from edge.config import OutboxConfig
from edge.uplink.outbox import Outbox
from edge.uplink.uplink import TICK_S

BOOT = "9f3a2c41"
DAY_S = 86400
COUNTS = dict.fromkeys(EMOTIONS, 3)
EXPECTED = dict.fromkeys(EMOTIONS, 2.97)


def frame(number: int) -> tuple[FrameCounts]:
    """A frame of 21 faces; its message has about 330 bytes."""
    t = utc(1_795_000_000) + timedelta(milliseconds=200 * number)
    return (FrameCounts(t=instant(t), faces=22, unsure=1, counts=COUNTS, expected=EXPECTED),)


def written() -> int:
    """Bytes that this process has caused to be written to disks."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))


def day(folder: Path, rate_hz: float, *, away: bool, ticks: int) -> tuple[float, float]:
    """Share of a core, and bytes per day: a simulated stretch at `rate_hz`, confirmed twice a second unless away."""
    outbox = Outbox(folder / f"{rate_hz}-{away}.sqlite", OutboxConfig(), BOOT, 0.0)
    outbox.connected()
    frames = 0
    before, cpu = written(), time.process_time()
    for tick in range(ticks):
        now = tick * TICK_S
        while frames < now * rate_hz:
            message = outbox.accept(frame(frames), "3f9c1a77", now, synced=True)
            frames += 1
            if not away:
                outbox.next_live(now)
                outbox.acked(message)
        if not away and tick % 2 == 0:
            outbox.confirm({BOOT: frames - 1})
        outbox.tick(now)
    simulated_s = ticks * TICK_S
    result = (time.process_time() - cpu) / simulated_s, (written() - before) * DAY_S / simulated_s
    outbox.close(simulated_s)
    return result


def enqueue(folder: Path, count: int) -> tuple[float, float]:
    """Messages per second: accepted, and accepted and saved."""
    outbox = Outbox(folder / "enqueue.sqlite", OutboxConfig(), BOOT, 0.0)
    begin = time.perf_counter()
    for number in range(count):
        outbox.accept(frame(number), "3f9c1a77", 0.0, synced=True)
    accepted = time.perf_counter()
    outbox.tick(1.0)
    saved = time.perf_counter()
    outbox.close(2.0)
    return count / (accepted - begin), count / (saved - begin)


def main() -> None:
    """Measure and print."""
    print(f"{machine.describe()}; files in {Path.cwd()}")
    with tempfile.TemporaryDirectory(dir=".") as name:  # /tmp may be no disk
        folder = Path(name)
        accepted, saved = enqueue(folder, 20_000)
        print(f"enqueue            {accepted:8,.0f} messages/s accepted, {saved:,.0f} accepted and saved")
        for rate_hz, away, ticks in ((10.0, False, 15_000), (5.0, False, 15_000), (5.0, True, 1_500)):
            share, per_day = day(folder, rate_hz, away=away, ticks=ticks)
            where = "away" if away else "reachable"
            print(f"{rate_hz:4g} frames/s, {where:9} {share:7.3%} of a core, {per_day / 1e6:10,.1f} MB written a day")


if __name__ == "__main__":
    main()
