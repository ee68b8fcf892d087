"""What the daemon takes on this machine: each stage, memory, and the time to its first message. `make bench`.

It measures and prints; it asserts nothing. The faces are those of demo.scene.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks import machine
from contract.message import utc
from demo import scene, settings
from demo.options import Options
from demo.processes import Processes
from demo.settings import DEVICE
from edge.camera.source import Frame
from edge.config import EdgeConfig, RuntimeConfig
from edge.uplink.outbox import Outbox
from edge.vision.pipeline import frame_counts, open_pipeline
from service.config import load

T = TypeVar("T")
FACES = 30
FRAMES, WARM_UP = 60, 5
STARTS = 5
RUN_S = 20.0
"""How long the daemon runs before its memory is read."""
OTHERS_TARGET_PERCENT, FIRST_TARGET_S, RSS_TARGET_MB = 4, 2.0, 200
_TIMEOUT_S = 60.0


def main() -> int:
    """Measure and print everything."""
    with tempfile.TemporaryDirectory(prefix="classpulse-bench-") as name, Processes(Path(name)) as processes:
        broker = processes.start("broker", sys.executable, "-m", "demo.broker", output=subprocess.PIPE)
        address = broker.popen.stdout.readline().decode().strip() if broker.popen.stdout else ""
        options = Options(broker=address, min_faces=1)
        picture, config = Path(name, "class.png"), Path(name, "edge.toml")
        cv2.imwrite(str(picture), class_of(FACES))
        detector, line = settings.detector()
        config.write_text(settings.edge(options, detector, f"file:{picture}", Path(name)))
        print(f"{line}\n{machine.describe()}", flush=True)
        for faces in (10, FACES):
            measure_steps(load(config, EdgeConfig), class_of(faces))
        measure_daemon(config, options, processes)
    return 0


def class_of(faces: int) -> np.ndarray:
    """A picture of a class, (720, 1280, 3) uint8 bgr."""
    return scene.still(scene.portraits()[:faces], 1280, 720, 90)[0]


class Clocked:
    """The processor time that functions take, by name."""

    def __init__(self) -> None:
        self.spent_s: defaultdict[str, float] = defaultdict(float)

    def __call__(self, name: str, function: Callable[..., T]) -> Callable[..., T]:
        """The function, whose time is noted."""

        def clocked(*arguments: object, **named: object) -> T:
            start_s = time.process_time()
            result = function(*arguments, **named)
            self.spent_s[name] += time.process_time() - start_s
            return result

        return clocked


def measure_steps(config: EdgeConfig, picture: np.ndarray) -> None:
    """What each step from JPEG to outbox takes of a frame's processor time, on one thread."""
    cv2.setNumThreads(1)
    pipeline = open_pipeline(replace(config, runtime=RuntimeConfig(threads=1)))
    clocked, detector, classifier = Clocked(), pipeline.detector, pipeline.classifier
    for owner, method, name in (
        *((detector, "picture", "scale"), (detector, "detect", "detect"), (classifier, "probabilities", "emotions")),
        *((vars(detector)["_network"], "invoke", "network"), (vars(classifier)["_interpreter"], "invoke", "second")),
    ):
        setattr(owner, method, clocked(name, getattr(owner, method)))
    decode, read = clocked("decode", cv2.imdecode), clocked("read", pipeline.read)
    jpeg = cv2.imencode(".jpg", picture)[1]
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder, "outbox.sqlite"), config.outbox, "00000000", 0.0)

        def publish() -> None:
            counts = frame_counts(reading, utc(time.time()), min_faces=1)
            message = outbox.accept((counts,), pipeline.model, 0.0, synced=True)
            outbox.next_live(0.0)
            outbox.tick(0.1)
            outbox.confirm({message.boot: message.seq})

        for number in range(WARM_UP + FRAMES):
            if number == WARM_UP:
                clocked.spent_s.clear()
            reading = read(Frame(decode(jpeg, cv2.IMREAD_COLOR), time.monotonic()))
            clocked("publish", publish)()
        outbox.close(0.0)
    print(f"{picture.shape[1]}x{picture.shape[0]} with {reading.faces} faces; CPU of a frame on one thread:")
    tell_steps({name: seconds / FRAMES for name, seconds in clocked.spent_s.items()})


def tell_steps(spent_s: dict[str, float]) -> None:
    """Print the steps in a frame's order, and what all but the networks takes, with and without decoding a JPEG."""
    frame_s = spent_s["decode"] + spent_s["read"] + spent_s["publish"]
    for step, seconds in {
        "a JPEG decoded (file, USB camera)": spent_s["decode"],
        "picture scaled for the detector": spent_s["scale"],
        "the detector's network": spent_s["network"],
        "its input, decoding of boxes, overlaps": spent_s["detect"] - spent_s["scale"] - spent_s["network"],
        "crops, counts": spent_s["read"] - spent_s["detect"] - spent_s["emotions"],
        "the emotion network": spent_s["second"],
        "its input and output": spent_s["emotions"] - spent_s["second"],
        "message, outbox": spent_s["publish"],
    }.items():
        print(f"  {step:40} {1000 * seconds:6.2f} ms {100 * seconds / frame_s:5.1f} %")
    networks_s = spent_s["network"] + spent_s["second"]
    for what, whole_s in (("", frame_s), ("; without the JPEG, as on a Pi", frame_s - spent_s["decode"])):
        report(f"  all but the two networks{what}", 100 * (1 - networks_s / whole_s), OTHERS_TARGET_PERCENT, "%")


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
