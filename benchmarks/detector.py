"""What detectors find and cost, each picture given to all in turn: `python -m benchmarks.detector`.

    python -m benchmarks.detector                                       a frame of 30 faces: CPU against OpenCV's YuNet
    python -m benchmarks.detector --pictures FOLDER --boxes CSV         and labelled pictures: recall and precision, too
    python -m benchmarks.detector --video FILE                          how steady the counts are from frame to frame

The csv has the columns file, x1, y1, x2, y2: a face each, or with --heads a head, whether its face can be seen or not.
"""

import argparse
import csv
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from contract.card import YUNET
from demo.scene import astronaut_photo
from edge.camera.file import FileSensor, read_picture
from edge.camera.source import Frame
from edge.commands.bench import compose, faces_of
from edge.config import CameraConfig, DetectorConfig, EmotionsConfig, RuntimeConfig
from edge.vision.classifier import EmotionClassifier
from edge.vision.detector import Box, Detector, YuNet, boxes_in_frame, fitted
from edge.vision.pipeline import Pipeline
from edge.vision.runtime import installed

SIZES = ((960, 540), (1280, 720))
WIDTHS_PX = (0, 16, 24, 32, 64)
"""Recall is told for labelled boxes of these widths and more, up to the next."""
_LOWEST = 0.1
"""Score from which precision and recall are looked at."""
_PRECISION, _HEADS_PRECISION = 0.95, 0.93
"""Recall is also told at the score where so much of what is found is a face, or lies in a head."""
_MAIN = CameraConfig("pi").size
"""Of a Pi's main stream, from which faces are cropped. How high they would be in it follows from their boxes."""
_FACES = 30
_ROUNDS = 15


class OpenCvYuNet:
    """cv2.FaceDetectorYN, as the daemon used it until version 0.1."""

    def __init__(self, onnx: Path, config: DetectorConfig) -> None:
        data = np.frombuffer(onnx.read_bytes(), np.uint8)
        self._fit = (config.width, config.height)
        self._network = cv2.FaceDetectorYN.create("onnx", data, np.empty(0, np.uint8), self._fit, config.min_score)

    def find(self, picture: np.ndarray) -> np.ndarray:
        """As YuNet.find."""
        self._network.setInputSize(picture.shape[1::-1])
        found = self._network.detect(picture)[1]
        return np.empty((0, 5), np.float32) if found is None else found[:, [0, 1, 2, 3, 14]]

    def picture(self, frame: Frame) -> np.ndarray:
        """As YuNet.picture, never enlarged."""
        return fitted(frame, *self._fit)

    def detect(self, frame: Frame) -> list[Box]:
        """As YuNet.detect."""
        picture = self.picture(frame)
        return boxes_in_frame(self.find(picture)[:, :4], picture, frame)


@dataclass
class Candidate:
    """A detector in a runtime and size, and what was seen of it."""

    name: str
    size: tuple[int, int]
    package: str
    """Of the emotion model, and of YuNet if it is not OpenCV's."""
    open: Callable[[DetectorConfig], OpenCvYuNet | YuNet]
    hits: list[tuple[float, bool, float, float]] = field(default_factory=list)
    """Of every face found: score, whether a labelled box is met, height in pixels of the picture, and in _MAIN's."""
    widths_met: list[float] = field(default_factory=list)
    """Of the labelled boxes that a face scoring `min_score` meets."""
    cpu_s: list[float] = field(default_factory=list)

    def config(self, min_score: float) -> DetectorConfig:
        """Its settings."""
        return DetectorConfig(width=self.size[0], height=self.size[1], min_score=min_score)


def candidates(onnx: Path) -> list[Candidate]:
    """OpenCV's YuNet where its file is, then ours in every runtime that is installed; each in both sizes."""
    found = []
    if onnx.exists():
        found = [Candidate("OpenCV", size, installed()[-1], partial(OpenCvYuNet, onnx)) for size in SIZES]
    for package in installed():
        ours = partial(YuNet, runtime=_one_thread(package))
        found += [Candidate("YuNet", size, package, ours) for size in SIZES]
    return found


def meets(box: Box, labelled: np.ndarray, *, heads: bool) -> int | None:
    """The index of the labelled box that a found one meets: IoU of 0.5, or its centre lies in the head."""
    if not len(labelled):
        return None
    x0, y0, x1, y1 = box
    if heads:
        centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
        off = np.abs(labelled[:, :2] + labelled[:, 2:] - 2 * centre) / (labelled[:, 2:] - labelled[:, :2])
        best = int(off.max(axis=1).argmin())
        return best if off[best].max() <= 1 else None
    both = (np.minimum(labelled[:, 2:], (x1, y1)) - np.maximum(labelled[:, :2], (x0, y0))).clip(0).prod(axis=1)
    union = (labelled[:, 2:] - labelled[:, :2]).prod(axis=1) + (x1 - x0) * (y1 - y0) - both
    best = int((both / union).argmax())
    return best if both[best] >= 0.5 * union[best] else None


def look(
    candidate: Candidate, detector: OpenCvYuNet | YuNet, image: np.ndarray, labelled: np.ndarray, *, heads: bool
) -> None:
    """Note which labelled boxes the faces found in a picture meet, each once, the best face first."""
    frame = Frame(image, 0.0)
    picture = detector.picture(frame)
    left = np.ones(len(labelled), bool)
    for row in detector.find(picture):
        boxes = boxes_in_frame(row[None, :4], picture, frame)
        if not boxes:
            continue
        index = meets(boxes[0], labelled, heads=heads)
        hit = index is not None and bool(left[index])
        height = boxes[0][3] - boxes[0][1]
        enlarged = min(_MAIN[0] / image.shape[1], _MAIN[1] / image.shape[0])
        candidate.hits.append((float(row[4]), hit, height, height * enlarged))
        if hit and index is not None:
            left[index] = False
            if row[4] >= DetectorConfig().min_score:
                candidate.widths_met.append(float(labelled[index, 2] - labelled[index, 0]))


def labelled(table: Path) -> dict[str, np.ndarray]:
    """Boxes, (n, 4) xyxy, by file."""
    rows = defaultdict(list)
    with table.open(newline="") as lines:
        for row in csv.DictReader(lines):
            rows[row["file"]].append([float(row[side]) for side in ("x1", "y1", "x2", "y2")])
    return {name: np.array(boxes) for name, boxes in rows.items()}


def accuracy(runs: list[Candidate], pictures: Path, table: Path, *, heads: bool) -> None:
    """Print what each finds in labelled pictures."""
    boxes = labelled(table)
    detectors = [run.open(run.config(_LOWEST)) for run in runs]
    for name, wanted in boxes.items():
        image = read_picture(pictures / name)
        for run, detector in zip(runs, detectors, strict=True):
            look(run, detector, image, wanted, heads=heads)
    widths = np.concatenate([wanted[:, 2] - wanted[:, 0] for wanted in boxes.values()])
    score, min_face_px = DetectorConfig().min_score, DetectorConfig().min_face_px
    what = "heads with a face found" if heads else "faces found"
    print(f"{len(boxes)} pictures, {len(widths)} labelled boxes; {what} at min_score {score}, by width of the label")
    ends = [*WIDTHS_PX[1:], np.inf]
    spans = [
        f"{low}-{high:g} px" if high < np.inf else f">= {low} px" for low, high in zip(WIDTHS_PX, ends, strict=True)
    ]
    precision = _HEADS_PRECISION if heads else _PRECISION
    large = f"{f'>={min_face_px} px':>8}{f'in {_MAIN[0]}x{_MAIN[1]}':>14}  "
    columns = f"{'found':>7}{'precision':>10}{f'at {precision:g}':>9}{large}"
    print(f"{'':34}{columns}{''.join(f'{span:>11}' for span in spans)}")
    for run in runs:
        hits = np.array(sorted(run.hits, reverse=True))
        kept = hits[hits[:, 0] >= score]
        faces = kept[kept[:, 1] > 0]
        good = hits[:, 1].cumsum()
        precise = np.flatnonzero(good / np.arange(1, len(hits) + 1) >= precision)
        met = np.array(run.widths_met)
        by_width = (
            f"{((met >= low) & (met < high)).sum() / max(1, ((widths >= low) & (widths < high)).sum()):11.3f}"
            for low, high in zip(WIDTHS_PX, ends, strict=True)
        )
        print(
            f"{_title(run):34}{kept[:, 1].sum() / len(widths):7.3f}{kept[:, 1].mean():10.3f}"
            f"{good[precise[-1]] / len(widths) if len(precise) else 0:9.3f}"
            f"{(faces[:, 2] >= min_face_px).mean():8.1%}{(faces[:, 3] >= min_face_px).mean():14.1%}  "
            f"{''.join(by_width)}"
        )


def steadiness(runs: list[Candidate], video: Path) -> None:
    """Print how much the counts of a video differ from one frame to the next, of all faces and of those large enough.

    In a room where nobody comes or goes every difference is the detector's.
    """
    detectors = [run.open(run.config(DetectorConfig().min_score)) for run in runs]
    sensor = FileSensor(CameraConfig(source=f"file:{video}", realtime=False))
    sensor.start()
    counts: list[list[tuple[int, int]]] = [[] for _ in runs]
    while (frame := sensor.read(threading.Event())) is not None:
        for seen, detector in zip(counts, detectors, strict=True):
            heights = [box[3] - box[1] for box in detector.detect(frame)]
            seen.append((len(heights), sum(height >= DetectorConfig().min_face_px for height in heights)))
    print(f"{video}: {len(counts[0])} frames; faces found, and those of min_face_px and more")
    print(f"{'':34}{'mean':>7}{'from frame to frame':>22}{'least':>7}{'most':>6}{'large: mean':>13}{'to frame':>10}")
    for run, seen in zip(runs, np.array(counts), strict=True):
        mean, change = seen.mean(axis=0), np.abs(np.diff(seen, axis=0)).mean(axis=0) if len(seen) > 1 else np.zeros(2)
        print(
            f"{_title(run):34}{mean[0]:7.1f}{f'+-{change[0]:.2f}':>22}{seen[:, 0].min():7d}{seen[:, 0].max():6d}"
            f"{mean[1]:13.1f}{f'+-{change[1]:.2f}':>10}"
        )


def cost(runs: list[Candidate], model: Path) -> None:
    """Print the CPU of a whole frame, 1280x720 with 30 faces, detected, cropped and classified on one thread."""
    picture = astronaut_photo()
    pipelines = [_pipeline(run, model) for run in runs]
    frame = Frame(compose(list(faces_of([picture], pipelines[-1].detector)), (1280, 720), _FACES), 0.0)
    found = {len(pipeline.detector.detect(frame)) for pipeline in pipelines}
    for turn in range(_ROUNDS + 1):  # the first is not counted
        for run, pipeline in zip(runs, pipelines, strict=True):
            start = time.process_time()
            pipeline.read(frame)
            if turn:
                run.cpu_s.append(time.process_time() - start)
    first = float(np.median(runs[0].cpu_s))
    print(f"\n1280x720 with {_FACES} faces, {sorted(found)} found; detected, cropped, classified; CPU of one thread")
    for run in runs:
        median = float(np.median(run.cpu_s))
        print(f"{_title(run):34}{1000 * median:8.1f} ms{median / first:8.2f} times the first")


def _pipeline(run: Candidate, model: Path) -> Pipeline:
    config = run.config(DetectorConfig().min_score)
    detector: Detector = run.open(config)
    return Pipeline(detector, EmotionClassifier(model, _one_thread(run.package)), config.min_face_px)


def _one_thread(package: Any) -> RuntimeConfig:
    return RuntimeConfig(package=package, threads=1)


def _title(run: Candidate) -> str:
    return f"{run.name:7}{run.size[0]}x{run.size[1]}  {run.package}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="with --boxes: labelled pictures")
    parser.add_argument("--boxes", type=Path, metavar="CSV", help="file, x1, y1, x2, y2")
    parser.add_argument("--heads", action="store_true", help="the boxes are of heads")
    parser.add_argument(
        "--onnx", type=Path, default=Path("models", YUNET), help="YuNet for OpenCV (default: %(default)s)"
    )
    parser.add_argument("--video", type=Path, metavar="FILE", help="only: how steady the counts are in it")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    runs = candidates(arguments.onnx)
    if arguments.video:
        steadiness([run for run in runs if run.package == installed()[0]], arguments.video)
        return
    if arguments.pictures and arguments.boxes:
        accuracy(runs, arguments.pictures, arguments.boxes, heads=arguments.heads)
    cost(runs, EmotionsConfig().model)


if __name__ == "__main__":
    main()
