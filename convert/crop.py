"""Faces cut out of photographs, as the device would cut them: from pictures with one person each to a data set."""

import argparse
from pathlib import Path

import cv2
import numpy as np

from contract.preprocess import crop, grey
from edge.camera.source import Frame
from edge.config import DetectorConfig, RuntimeConfig
from edge.vision.detector import Detector, open_detector
from train import layouts

_CLEAR = 2.0
"""One face is the picture's if it is so many times as wide as the next."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `crop`."""
    parser.add_argument("pictures", type=Path, help="folder or zip of <label>/<picture>, as `fit --data` takes it")
    parser.add_argument("--out", type=Path, required=True, help="folder to write train/<label>/<picture>.png into")
    parser.add_argument("--detector", type=Path, default=Path("models/yunet.tflite"), help="YuNet, converted")


def run(arguments: argparse.Namespace) -> int:
    """Cut, write, and list the pictures that were left out, with the reason; 1 if none is left."""
    detector = open_detector(DetectorConfig(model=arguments.detector), RuntimeConfig())
    written, left_out = 0, []
    for split, pictures in layouts.read(arguments.pictures).splits.items():
        for picture in pictures:
            face = only_face(detector, picture)
            if isinstance(face, str):
                left_out.append(f"  {picture.where}: {face}")
                continue
            file = arguments.out / split / picture.label / f"{picture.name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), face)
            written += 1
    print("\n".join([f"{arguments.out}: {written} faces; {len(left_out)} pictures left out", *left_out]))
    return 0 if written else 1


def only_face(detector: Detector, picture: layouts.Picture) -> np.ndarray | str:
    """(48, 48) uint8, what the device would give its network; or why there is none."""
    try:
        image = picture.pixels()
    except layouts.UnreadableError as error:
        return str(error)
    boxes = sorted(detector.detect(Frame(image, captured_s=0.0)), key=lambda box: box[0] - box[2])
    if not boxes:
        return "no face found"
    widths = [x1 - x0 for x0, _, x1, _ in boxes]
    if len(boxes) > 1 and widths[0] < _CLEAR * widths[1]:
        return f"{len(boxes)} faces found, and none of them much larger than the others"
    return crop(grey(image), boxes[0])
