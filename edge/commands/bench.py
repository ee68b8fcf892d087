"""`classpulse-edge bench`: what each stage takes on this machine, on one thread. It measures; it asserts nothing."""

import argparse
import dataclasses
import json
import os
import platform
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from contract.message import CountsMessage, utc
from edge.camera.file import pictures_in, read_picture
from edge.camera.frame import Frame
from edge.camera.source import CameraError
from edge.commands.bench_scene import Placed, cells, compose, drawn_face, faces_of, inner
from edge.exits import told
from edge.vision.classifier import EmotionClassifier
from edge.vision.counts import frame_message
from edge.vision.detector import Detector, open_detector
from edge.vision.pipeline import STAGES, Pipeline
from edge.vision.runtime import choose, installed
from edge.vision.settings import Vision, load_vision

SCENES = ((640, 480, 3), (1280, 720, 10), (1280, 720, 30))
"""Width, height, faces."""
_WARM_UP = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """One scene's figures."""

    width: int
    height: int
    faces: int
    """Found in the last frame."""
    stage_ms: dict[str, tuple[float, float]]
    """Stage -> (median, p99) milliseconds."""
    rate_hz: float
    """Frames per second, one after the other."""
    other_percent: float
    """Of the frame's time: everything but the two networks."""

    def line(self) -> str:
        """For people."""
        stages = "  ".join(f"{self.stage_ms[stage][0]:7.2f} {self.stage_ms[stage][1]:7.2f}" for stage in STAGES)
        size = f"{self.width}x{self.height}"
        return f"{size:>9} {self.faces:>5}  {stages}  {self.rate_hz:8.1f}  {self.other_percent:5.1f}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "--faces", type=Path, metavar="DIR|IMAGE", help="pictures whose faces to use; else they are drawn"
    )
    parser.add_argument("--frames", type=_positive, default=100, help="per scene (default: 100)")
    parser.add_argument("--json", action="store_true", help="the figures as JSON; the table goes to standard error")


def run(arguments: argparse.Namespace) -> int:
    """0; it ends earlier if something cannot be used."""
    cv2.setNumThreads(1)
    with told("bench"):
        config = load_vision(arguments.config)
        config = dataclasses.replace(config, runtime=dataclasses.replace(config.runtime, threads=1))
        detector = open_detector(config.detector)
        classifier = EmotionClassifier(config.emotions.model, config.runtime)
        faces = _faces(arguments.faces, detector)
    table = sys.stderr if arguments.json else sys.stdout
    print(_heading(config, drawn=arguments.faces is None), file=table)
    results = []
    for width, height, number in SCENES:
        boxes = [inner(cell) for cell in cells(width, height, number)]
        finder = detector if arguments.faces else Placed(detector, boxes)
        image = compose(faces, (width, height), number)
        results.append(measure(finder, classifier, config.detector.min_face_px, image, arguments.frames))
        print(results[-1].line(), file=table, flush=True)
    print(f"peak RSS {peak_rss_mb():.0f} MB", file=table)
    if arguments.json:
        scenes = [dataclasses.asdict(result) for result in results]
        print(json.dumps({**machine(config), "peak_rss_mb": round(peak_rss_mb(), 1), "scenes": scenes}))
    return 0


def measure(
    detector: Detector, classifier: EmotionClassifier, min_face_px: int, image: np.ndarray, frames: int
) -> Measured:
    """Read `image` again and again; `capture` decodes it as a USB camera's JPEG, `publish` makes the payload."""
    durations: dict[str, list[float]] = defaultdict(list)
    pipeline = Pipeline(
        detector, classifier, min_face_px, record=lambda stage, seconds: durations[stage].append(seconds)
    )
    jpeg = cv2.imencode(".jpg", image)[1]
    totals = [_frame(pipeline, jpeg, classifier.card.short, durations) for _ in range(_WARM_UP + frames)][_WARM_UP:]
    stage_ms = {stage: _median_p99(durations[stage][_WARM_UP:]) for stage in STAGES}
    networks = sum(sum(durations[stage][_WARM_UP:]) for stage in ("detect", "emotions"))
    return Measured(
        width=image.shape[1],
        height=image.shape[0],
        faces=len(pipeline.faces(Frame(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), 0.0))),
        stage_ms=stage_ms,
        rate_hz=round(frames / sum(totals), 2),
        other_percent=round(100 * (1 - networks / sum(totals)), 2),
    )


def _frame(pipeline: Pipeline, jpeg: np.ndarray, model: str, durations: dict[str, list[float]]) -> float:
    start = time.perf_counter()
    frame = Frame(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), captured_s=start)
    durations["capture"].append(time.perf_counter() - start)
    reading = pipeline.read(frame)
    read = time.perf_counter()
    counts = frame_message(reading, utc(time.time()), min_faces=1)
    CountsMessage(boot="00000000", seq=0, model=model, clock="synced", frames=(counts,)).to_json()
    end = time.perf_counter()
    durations["publish"].append(end - read)
    return end - start


def machine(config: Vision) -> dict[str, object]:
    """What the figures hold for."""
    return {
        "machine": _machine_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "opencv": cv2.__version__,
        "runtime": choose(config.runtime.package, installed(), bits=64),
        "detector": f"{config.detector.name} {config.detector.width}x{config.detector.height}",
    }


def peak_rss_mb() -> float:
    """The most memory that this process ever had in RAM, in units of 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _faces(named: Path | None, detector: Detector) -> list[np.ndarray]:
    if named is None:
        return [drawn_face()]
    paths = pictures_in(named) if named.is_dir() else [named]
    faces = faces_of([read_picture(path) for path in paths], detector)
    if not faces:
        raise CameraError(f"{named}: no face was found")
    return faces


def _heading(config: Vision, *, drawn: bool) -> str:
    about = ", ".join(f"{key} {value}" for key, value in machine(config).items())
    columns = "  ".join(f"{stage:>15}" for stage in STAGES)
    return (
        f"{about}, one thread\n"
        f"{'faces are drawn and their boxes given' if drawn else 'faces are found'}; milliseconds: median and p99\n"
        f"{'scene':>9} {'faces':>5}  {columns}  frames/s  other %"
    )


def _median_p99(seconds: Sequence[float]) -> tuple[float, float]:
    median, p99 = np.percentile(seconds, [50, 99]) * 1000
    return round(float(median), 3), round(float(p99), 3)


def _machine_name() -> str:
    """A Pi's model, or the processor's name."""
    try:
        return Path("/proc/device-tree/model").read_text().rstrip("\0")
    except OSError:
        pass
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
