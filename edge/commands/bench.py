"""`classpulse-edge bench`: what each stage takes on this machine, on one thread. It measures; it asserts nothing."""

import argparse
import dataclasses
import json
import math
import os
import platform
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

from contract.message import CountsMessage, utc
from edge.camera.file import pictures_in, read_picture
from edge.camera.source import CameraError, Frame
from edge.commands import load_or_default
from edge.config import EdgeConfig
from edge.vision.classifier import EmotionClassifier
from edge.vision.detector import Box, Detector, open_detector
from edge.vision.pipeline import Pipeline, frame_counts
from edge.vision.runtime import choose, fault, installed

SCENES = ((640, 480, 3), (1280, 720, 10), (1280, 720, 30))
"""Width, height, faces."""
STAGES = ("capture", "detect", "crop", "emotions", "publish")
"""What every frame passes, in order."""
_WARM_UP = 3
_MARGIN = 0.4
"""Of a face's height, around the face, on every side."""
_GROUND = 96
_SIDE = 256
"""Of a face with its margin, at most."""


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
    config = load_or_default(arguments.config)
    config = dataclasses.replace(config, runtime=dataclasses.replace(config.runtime, threads=1))
    detector = open_detector(config.detector, config.runtime)
    classifier = EmotionClassifier(config.emotions.model, config.runtime)
    faces = _faces(arguments.faces, detector)
    table = sys.stderr if arguments.json else sys.stdout
    print(_heading(config, drawn=arguments.faces is None), file=table)
    results = []
    for width, height, number in SCENES:
        boxes = [inner(cell) for cell in cells(width, height, number)]
        finder = detector if arguments.faces else FixedBoxes(detector, boxes)
        image = compose(faces, (width, height), number)
        results.append(measure(finder, classifier, config.detector.min_face_px, image, arguments.frames))
        print(results[-1].line(), file=table, flush=True)
    print(f"peak RSS {peak_rss_mb():.0f} MB", file=table)
    print(verdict(results, config.camera.rate_hz), file=table)
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
        detector, classifier, min_face_px, record=lambda stage, seconds, _faces: durations[stage].append(seconds)
    )
    jpeg = cv2.imencode(".jpg", image)[1]
    totals = [_frame(pipeline, jpeg, classifier.card.short, durations) for _ in range(_WARM_UP + frames)][_WARM_UP:]
    stage_ms = {stage: _median_p99(durations[stage][_WARM_UP:]) for stage in STAGES}
    networks = sum(sum(durations[stage][_WARM_UP:]) for stage in ("detect", "emotions"))
    return Measured(
        width=image.shape[1],
        height=image.shape[0],
        faces=len(detector.detect(Frame(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), 0.0))),
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
    counts = frame_counts(reading, utc(time.time()), min_faces=1)
    CountsMessage(boot="00000000", seq=0, model=model, clock="synced", frames=(counts,)).to_json()
    end = time.perf_counter()
    durations["publish"].append(end - read)
    return end - start


def verdict(results: Sequence[Measured], rate_hz: float) -> str:
    """For people: whether the machine keeps up with the rate that is configured, at the last scene's faces."""
    rates = " and ".join(
        f"{each.faces} face{'s' * (each.faces != 1)} at {each.rate_hz:.1f} frames/s" for each in results[1:]
    )
    last_hz = results[-1].rate_hz
    if rate_hz <= last_hz:
        fits = "fits"
    else:
        fits = f"is too fast: set rate_hz = {max(0.1, math.floor(last_hz * 10) / 10):g}, or a smaller detector"
    return f"this machine reads {rates}; your rate_hz = {rate_hz:g} {fits}"


def machine(config: EdgeConfig) -> dict[str, object]:
    """What the figures hold for."""
    return {
        "machine": _machine_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "opencv": cv2.__version__,
        "runtime": choose(config.runtime.package, installed(), fault),
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
    """As many faces as the largest scene shows, of pictures read one at a time."""
    if named is None:
        return [drawn_face()]
    paths = pictures_in(named) if named.is_dir() else [named]
    faces = list(islice(faces_of(map(read_picture, paths), detector), max(number for _, _, number in SCENES)))
    if not faces:
        raise CameraError(f"{named}: no face was found")
    return faces


def _heading(config: EdgeConfig, *, drawn: bool) -> str:
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


class FixedBoxes:
    """Runs a detector for its time, and gives the boxes that were placed: a drawn face is found by none."""

    def __init__(self, detector: Detector, boxes: Sequence[Box]) -> None:
        self._detector = detector
        self._boxes = list(boxes)

    def detect(self, frame: Frame) -> list[Box]:
        """The placed boxes."""
        self._detector.detect(frame)
        return self._boxes


def faces_of(pictures: Iterable[np.ndarray], detector: Detector) -> Iterator[np.ndarray]:
    """Every face that the detector finds in the pictures, (side, side, 3) uint8 bgr with some margin around it."""
    for picture in pictures:
        height, width = picture.shape[:2]
        for x0, y0, x1, y1 in detector.detect(Frame(picture, captured_s=0.0)):
            half = round((0.5 + _MARGIN) * (y1 - y0))
            left, top = (x0 + x1) // 2 - half, (y0 + y1) // 2 - half
            down, across = max(0, top + 2 * half - height), max(0, left + 2 * half - width)
            inner = picture[max(0, top) : top + 2 * half, max(0, left) : left + 2 * half]
            face = cv2.copyMakeBorder(inner, max(0, -top), down, max(0, -left), across, cv2.BORDER_REPLICATE)
            side = min(2 * half, _SIDE)  # no scene shows it larger, and a whole picture must not stay in memory
            yield cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)


def cells(width: int, height: int, number: int) -> Iterator[Box]:
    """`number` squares, xyxy, in rows and columns of a picture of width x height, as large as they can be."""
    columns = max(range(1, number + 1), key=lambda n: min(width // n, height // -(-number // n)))
    side = min(width // columns, height // -(-number // columns))
    for index in range(number):
        x, y = side * (index % columns), side * (index // columns)
        yield x, y, x + side, y + side


def compose(faces: Sequence[np.ndarray], size: tuple[int, int], number: int) -> np.ndarray:
    """A (height, width, 3) uint8 bgr picture of `number` faces, each in a cell of its own; `size` is width, height."""
    image = np.full((size[1], size[0], 3), _GROUND, np.uint8)
    for (x0, y0, x1, y1), face in zip(cells(*size, number), cycle(faces), strict=False):
        image[y0:y1, x0:x1] = cv2.resize(face, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    return image


def inner(cell: Box) -> Box:
    """The box of the face in a cell that `compose` filled, xyxy."""
    x0, y0, x1, y1 = cell
    margin = round((y1 - y0) * _MARGIN / (1 + 2 * _MARGIN))
    return x0 + margin, y0 + margin, x1 - margin, y1 - margin


def drawn_face(side: int = 200) -> np.ndarray:
    """A face of nobody, (side, side, 3) uint8 bgr."""
    face = np.full((side, side, 3), _GROUND, np.uint8)
    half = side // 2
    cv2.ellipse(face, (half, half), (round(0.22 * side), round(0.28 * side)), 0, 0, 360, (150, 180, 220), cv2.FILLED)
    for x in (0.42, 0.58):
        cv2.circle(face, (round(x * side), round(0.45 * side)), side // 40, (40, 40, 40), cv2.FILLED)
    cv2.ellipse(face, (half, round(0.58 * side)), (side // 12, side // 24), 0, 0, 180, (60, 60, 160), 2)
    return face
