"""What the daemon takes on this machine: each stage, memory, and the time to its first message. `make bench`.

It measures and prints; it asserts nothing. The faces are those of demo.scene.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks import machine
from demo import scene, settings
from demo.options import Options
from demo.processes import Processes
from demo.settings import DEVICE, ROOT

FACES = 30
STARTS = 5
RUN_S = 20.0
"""How long the daemon runs before its memory is read."""
OTHERS_TARGET_PERCENT, FIRST_TARGET_S, RSS_TARGET_MB = 10, 2.0, 200
_TIMEOUT_S = 60.0


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
    """`classpulse-edge bench` with real faces, and the targets."""
    command = (sys.executable, "-m", "edge", "bench", "--config", config, "--faces", faces, "--json")
    measured = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT).stdout)
    for each in measured["scenes"]:
        what = f"{each['width']}x{each['height']} with {each['faces']} faces: all but the two networks"
        report(what, each["other_percent"], OTHERS_TARGET_PERCENT, "% of the frame's time")


def measure_daemon(config: Path, options: Options, processes: Processes) -> None:
    """The real daemon on a picture of FACES faces: the time to its first message, then its memory."""
    arrivals: list[float] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda *_: arrivals.append(time.monotonic())
    client.connect(options.host, options.port)
    client.subscribe(DEVICE.topic("counts"), qos=1)
    client.loop_start()
    starts_s, busy_s, peak_mb = [], [], 0.0
    for run in range(STARTS):
        # without its outbox: what an earlier daemon had left to send would count as the first message
        shutil.rmtree(config.parent / "edge", ignore_errors=True)
        arrivals.clear()
        began = time.monotonic()
        daemon = processes.start(f"daemon-{run}", sys.executable, "-m", "edge", "--config", config, "run")
        while not arrivals and time.monotonic() < began + _TIMEOUT_S:
            processes.check()
            time.sleep(0.005)
        starts_s.append(arrivals[0] - began)
        busy_s.append(machine.cpu_s(daemon.popen.pid))
        if run == STARTS - 1:
            time.sleep(RUN_S)
            peak_mb = machine.peak_rss_bytes(daemon.popen.pid) / 1e6
        processes.end(daemon)
        time.sleep(1.0)  # for its last messages to pass the broker
    client.loop_stop()
    report(f"start to first message, median of {STARTS}", sorted(starts_s)[STARTS // 2], FIRST_TARGET_S, "s")
    print(f"  of which processor time: {sorted(busy_s)[STARTS // 2]:.1f} s")
    report(f"peak RSS of the daemon after {RUN_S:.0f} s with {FACES} faces", peak_mb, RSS_TARGET_MB, "MB")


def report(what: str, value: float, target: float, unit: str) -> None:
    """Print one line: the figure and whether the target is met."""
    print(f"{what}: {value:.1f} {unit} (target: below {target:g}, {'met' if value < target else 'missed'})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
