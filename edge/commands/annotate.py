"""`classpulse-edge annotate`: boxes and labels on copies of pictures that the user names; `preview` draws them, too."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from contract.labels import EMOTIONS
from contract.pictures import ENDINGS
from edge.camera.file import read_picture
from edge.camera.source import CameraError, Frame
from edge.commands import load_vision
from edge.vision.detector import Box
from edge.vision.pipeline import Pipeline, open_pipeline

_WRITABLE = ENDINGS - {".pgm"}  # which has no colour for the boxes
_GREEN = (80, 220, 80)
_GREY = (170, 170, 170)
_BLACK = (0, 0, 0)


class AnnotateError(RuntimeError):
    """A picture that cannot be written; the text names the file."""


@dataclass(frozen=True, slots=True)
class Face:
    """One face of a picture."""

    box: Box
    probabilities: np.ndarray | None
    """(len(EMOTIONS),) float32; None if the face is too small or emotions are off."""
    sure: bool
    """Whether it counts for its top label; false if it was not classified."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """What was seen in one picture."""

    image: Path
    width: int
    height: int
    faces: Sequence[Face]
    written: Path | None
    """The copy."""

    def fields(self) -> dict[str, object]:
        """As JSON's object."""
        return {
            "image": str(self.image),
            "width": self.width,
            "height": self.height,
            "faces": [_fields(face) for face in self.faces],
            "written": str(self.written) if self.written else None,
        }

    def line(self) -> str:
        """For people."""
        captions = [caption(face) or "not classified" for face in self.faces]
        return f"{self.image}: faces: {len(self.faces)}{', ' if captions else ''}{', '.join(captions)}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a picture; nothing else is read")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write an annotated copy of each picture into DIR")
    parser.add_argument("--json", action="store_true", help="faces and probabilities as JSON on standard output")


def run(arguments: argparse.Namespace) -> int:
    """0, or 1 if a picture could not be read or written; the others are done all the same."""
    pipeline = open_pipeline(load_vision(arguments.config))
    done: list[Annotated] = []
    errors: list[str] = []
    try:
        targets = _targets(arguments.images, arguments.out)
    except AnnotateError as error:
        targets, errors = {}, [str(error)]
    for image in targets:
        try:
            done.append(_annotate(pipeline, image, targets[image]))
        except (CameraError, AnnotateError) as error:
            errors.append(str(error))
    if arguments.json:
        print(json.dumps([annotated.fields() for annotated in done], indent=1))
    else:
        print("\n".join(annotated.line() for annotated in done))
    for text in errors:
        print(f"classpulse-edge annotate: {text}", file=sys.stderr)
    return 1 if errors else 0


def _targets(images: Sequence[Path], out: Path | None) -> Mapping[Path, Path | None]:
    """Where each picture's copy goes: never over the picture, nor over another one's copy."""
    if out is None:
        return dict.fromkeys(images)
    targets: dict[Path, Path | None] = {}
    for image in images:
        target = out / (image.name if image.suffix.lower() in _WRITABLE else f"{image.name}.png")
        if target.resolve() == image.resolve():
            raise AnnotateError(f"{image} would be overwritten: give --out another folder")
        if image not in targets and target in targets.values():
            raise AnnotateError(f"{image}: another picture is written to {target} already; annotate them one by one")
        targets[image] = target
    return targets


def _annotate(pipeline: Pipeline, image: Path, target: Path | None) -> Annotated:
    picture = read_picture(image)
    faces = find_faces(pipeline, Frame(picture, captured_s=0.0))
    if target:
        _write(target, draw(picture, faces))
    height, width = picture.shape[:2]
    return Annotated(image, width, height, faces, target)


def _write(path: Path, picture: np.ndarray) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    except OSError as error:
        raise AnnotateError(f"{path}: {error.strerror}") from error


def _fields(face: Face) -> dict[str, object]:
    """One face as JSON's object; label and probabilities are null where it was not classified."""
    if face.probabilities is None:
        return {"box": face.box, "label": None, "probability": None, "sure": False, "probabilities": None}
    label, probability = top(face.probabilities)
    return {
        "box": face.box,
        "label": label,
        "probability": round(probability, 4),
        "sure": face.sure,
        "probabilities": {
            name: round(float(value), 4) for name, value in zip(EMOTIONS, face.probabilities, strict=True)
        },
    }


def find_faces(pipeline: Pipeline, frame: Frame) -> list[Face]:
    """Every face of a frame with its box: for pictures that the user named or sees, never for the daemon."""
    boxes = pipeline.detect(frame)
    faces = {box: Face(box, None, sure=False) for box in boxes}
    classifier = pipeline.classifier
    if classifier is not None:
        large = pipeline.large_enough(boxes)
        for box, probabilities in zip(large, pipeline.classify(classifier, frame, large), strict=True):
            faces[box] = Face(box, probabilities, sure=float(probabilities.max()) >= classifier.card.unsure_below)
    return [faces[box] for box in boxes]


def top(probabilities: np.ndarray) -> tuple[str, float]:
    """The most probable label and its probability."""
    index = int(probabilities.argmax())
    return EMOTIONS[index], float(probabilities[index])


def caption(face: Face) -> str:
    """What stands at a face's box: "happy 93%", "unsure (happy 31%)", or nothing if it was not classified."""
    if face.probabilities is None:
        return ""
    label, probability = top(face.probabilities)
    text = f"{label} {probability:.0%}"
    return text if face.sure else f"unsure ({text})"


def draw(image: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """A copy of a (height, width, 3) uint8 bgr picture with the faces' boxes: green if sure or not asked, else grey."""
    copy = image.copy()
    thickness = max(1, round(min(image.shape[:2]) / 400))
    for face in faces:
        text = caption(face)
        colour = _GREEN if face.sure or face.probabilities is None else _GREY
        x0, y0, x1, y1 = face.box
        cv2.rectangle(copy, (x0, y0), (x1, y1), colour, thickness)
        if text:
            _write_text(copy, text, (x0, y0), colour, thickness)
    return copy


def _write_text(image: np.ndarray, text: str, corner: tuple[int, int], colour: tuple[int, ...], thickness: int) -> None:
    """Text above `corner` (x, y), moved so that it lies within the picture."""
    scale = 0.45 * thickness
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    x = max(0, min(corner[0], image.shape[1] - width))
    y = max(height + below, corner[1] - below)
    cv2.rectangle(image, (x, y - height - below), (x + width, y + below), _BLACK, cv2.FILLED)
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA)
