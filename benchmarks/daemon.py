"""What the daemon takes on this machine: each stage, memory, and the time to its first message. `make bench`.

It measures and prints; it asserts nothing. The faces are those of demo.scene.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from demo import scene, settings
from demo.options import Options
from demo.processes import Processes
from demo.settings import DEVICE, ROOT

FACES = 30
STARTS = 5
RUN_S = 20.0
"""How long the daemon runs before its memory is read."""
OTHERS_AIM_PERCENT, FIRST_AIM_S, RSS_AIM_MB = 10, 2.0, 150
_PATIENCE_S = 60.0


def main() -> int:
    """Measure and print everything."""
    with tempfile.TemporaryDirectory(prefix="classpulse-bench-") as name, Processes(Path(name)) as processes:
        broker = processes.start("broker", sys.executable, "-m", "demo.broker", output=subprocess.PIPE)
        address = broker.popen.stdout.readline().decode().strip() if broker.popen.stdout else ""
        options = Options(broker=address, min_faces=1)
        picture, config = Path(name, "class.png"), Path(name, "edge.toml")
        cv2.imwrite(str(picture), scene.still(scene.portraits()[:FACES], 1280, 720, 90)[0])
        detector, line = settings.detector()
        config.write_text(settings.edge(options, detector, f"file:{picture}", Path(name)))
        print(line, flush=True)
        measure_stages(config, picture)
        measure_daemon(config, options, processes)
    return 0


def measure_stages(config: Path, faces: Path) -> None:
    """`classpulse-edge bench` with real faces, and what is aimed at."""
    command = (sys.executable, "-m", "edge", "bench", "--config", config, "--faces", faces, "--json")
    measured = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT).stdout)
    for each in measured["scenes"]:
        what = f"{each['width']}x{each['height']} with {each['faces']} faces: all but the two networks"
        say(what, each["other_percent"], OTHERS_AIM_PERCENT, "% of the frame's time")


def measure_daemon(config: Path, options: Options, processes: Processes) -> None:
    """The real daemon on a picture of FACES faces: the time to its first message, then its memory."""
    came: list[float] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda *_: came.append(time.monotonic())
    client.connect(options.host, options.port)
    client.subscribe(DEVICE.topic("counts"), qos=1)
    client.loop_start()
    starts_s, busy_s, peak_mb = [], [], 0.0
    for run in range(STARTS):
        # without its outbox: what an earlier daemon had left to send would count as the first message
        shutil.rmtree(config.parent / "edge", ignore_errors=True)
        came.clear()
        began = time.monotonic()
        daemon = processes.start(f"daemon-{run}", sys.executable, "-m", "edge", "--config", config, "run")
        while not came and time.monotonic() < began + _PATIENCE_S:
            processes.check()
            time.sleep(0.005)
        starts_s.append(came[0] - began)
        busy_s.append(processor_s(daemon.popen.pid))
        if run == STARTS - 1:
            time.sleep(RUN_S)
            peak_mb = peak_rss_mb(daemon.popen.pid)
        processes.end(daemon)
        time.sleep(1.0)  # for its last messages to pass the broker
    client.loop_stop()
    say(f"start to first message, median of {STARTS}", sorted(starts_s)[STARTS // 2], FIRST_AIM_S, "s")
    print(f"  of which processor time: {sorted(busy_s)[STARTS // 2]:.1f} s")
    say(f"peak RSS of the daemon after {RUN_S:.0f} s with {FACES} faces", peak_mb, RSS_AIM_MB, "MB")


def peak_rss_mb(pid: int) -> float:
    """The most memory that a process ever had in RAM, in units of 10^6 bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def processor_s(pid: int) -> float:
    """Seconds that a process has computed, on all cores together."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def say(what: str, value: float, aim: float, unit: str) -> None:
    """One line: the figure and whether it is what is aimed at."""
    print(f"{what}: {value:.1f} {unit} (aim: below {aim:g}, {'met' if value < aim else 'missed'})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
