"""Accuracy of a .tflite file under a classroom camera's conditions, detection included, by the device's own code."""

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

from contract.preprocess import crop
from convert.verify import add_measured, predict, runtime_name
from edge.camera.source import Frame
from edge.config import DetectorConfig, RuntimeConfig
from edge.vision.classifier import EmotionClassifier
from edge.vision.detector import Box, Detector, open_detector
from train import conditions, figures
from train.data import Faces, digest, load

SIDES_PX = (96, 48, 32)
"""Width of the faces pasted into scenes, as the detector meets them."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `conditions`."""
    add_measured(parser)
    parser.add_argument("--detector", type=Path, default=Path("models/yunet.tflite"), help="YuNet, converted")
    parser.add_argument("--faces", type=int, help="so many, drawn by chance, instead of all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    runtime = RuntimeConfig(package=arguments.runtime)
    classifier = EmotionClassifier(arguments.model, runtime)
    detector = open_detector(DetectorConfig(model=arguments.detector), runtime)
    faces = _some(load(arguments.data, arguments.split), arguments.faces)

    def told(name: str, accuracy: float) -> None:
        if not arguments.json or sys.stderr.isatty():
            print(f"{name:45}{accuracy:7.1%}", file=sys.stderr if arguments.json else sys.stdout, flush=True)

    report: figures.Json = {
        "runtime": runtime_name(runtime),
        "split": arguments.split,
        "digest": digest(faces),
        "faces": len(faces),
        "accuracy": conditions.accuracies(lambda images: predict(classifier, images), faces.images, faces.labels, told),
        "detected": [],
    }
    for side_px in SIDES_PX:
        row = through_detector(detector, classifier, faces, side_px)
        report["detected"].append(row)
        told(f"detected at {side_px} px ({row['found']:.1%} found)", row["accuracy"])
        told("  the same faces, the dataset's crop", row["accuracy_own_crop"])
    if arguments.json:
        print(json.dumps(report, indent=1))
    return 0


def through_detector(
    detector: Detector, classifier: EmotionClassifier, faces: Faces, side_px: int
) -> dict[str, float | int]:
    """Share of faces found in a scene, and accuracy on these by the device's crop and by the dataset's own."""
    scenes = [scene(face, side_px) for face in faces.images]
    boxes = [_box(detector, picture, side_px) for picture in scenes]
    rows = np.array([index for index, box in enumerate(boxes) if box is not None], int)
    crops = [crop(scenes[index], boxes[index]) for index in rows]
    found = faces.take(rows)
    return {
        "side_px": side_px,
        "found": len(rows) / len(faces),
        "accuracy": _accuracy(classifier, np.stack(crops), found.labels) if crops else 0.0,
        "accuracy_own_crop": _accuracy(classifier, found.images, found.labels) if crops else 0.0,
    }


def scene(face: np.ndarray, side_px: int) -> np.ndarray:
    """(2 side, 2 side) uint8: the face, scaled to `side_px`, amid its border repeated; nothing is made up."""
    pasted = cv2.resize(face, (side_px, side_px), interpolation=cv2.INTER_AREA if side_px < 48 else cv2.INTER_CUBIC)
    margin = side_px // 2
    return cv2.copyMakeBorder(pasted, margin, margin, margin, margin, cv2.BORDER_REPLICATE)


def _box(detector: Detector, picture: np.ndarray, side_px: int) -> Box | None:
    """The box nearest the middle, if it is the pasted face's."""
    middle = picture.shape[0] / 2

    def distance(box: Box) -> float:
        return max(abs((box[0] + box[2]) / 2 - middle), abs((box[1] + box[3]) / 2 - middle))

    boxes = detector.detect(Frame(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), captured_s=0.0))
    nearest = min(boxes, key=distance, default=None)
    return nearest if nearest is not None and distance(nearest) < side_px / 3 else None


def _accuracy(classifier: EmotionClassifier, images: np.ndarray, labels: np.ndarray) -> float:
    return figures.accuracy(labels, classifier.probabilities(images))


def _some(faces: Faces, count: int | None) -> Faces:
    if count is None or count >= len(faces):
        return faces
    return faces.take(np.sort(np.random.default_rng(0).permutation(len(faces))[:count]))
