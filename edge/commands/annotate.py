"""`classpulse-edge annotate`: boxes and labels on copies of pictures that the user names."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from contract.labels import EMOTIONS
from contract.pictures import ENDINGS
from edge.camera.file import read_picture
from edge.camera.source import CameraError, Frame
from edge.commands import load_or_default
from edge.commands.faces import Face, caption, draw, find_faces, top
from edge.vision.pipeline import Pipeline, open_pipeline

_WRITABLE = ENDINGS - {".pgm"}  # which has no colour for the boxes


class AnnotateError(RuntimeError):
    """A picture that cannot be written; the text names the file."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """What was seen in one picture."""

    image: Path
    width: int
    height: int
    faces: Sequence[Face]
    published: str
    """What a message would say of it."""
    written: Path | None
    """The copy."""

    def fields(self) -> dict[str, object]:
        """As JSON's object."""
        return {
            "image": str(self.image),
            "width": self.width,
            "height": self.height,
            "faces": [_fields(face) for face in self.faces],
            "published": self.published,
            "written": str(self.written) if self.written else None,
        }

    def line(self) -> str:
        """For people."""
        too_small = sum(face.too_small for face in self.faces)
        parts = [f"faces: {len(self.faces)}", *([f"too small: {too_small}"] if too_small else [])]
        parts += [f"{number} {text}" for number, text in enumerate(map(caption, self.faces), 1) if text]
        return f"{self.image}: {', '.join(parts)}\n  {self.published}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a picture; nothing else is read")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write an annotated copy of each picture into DIR")
    parser.add_argument("--json", action="store_true", help="faces and probabilities as JSON on standard output")


def run(arguments: argparse.Namespace) -> int:
    """0, or 1 if a picture could not be read or written; the others are done all the same."""
    config = load_or_default(arguments.config)
    pipeline = open_pipeline(config)
    done: list[Annotated] = []
    errors: list[str] = []
    try:
        targets = _targets(arguments.images, arguments.out)
    except AnnotateError as error:
        targets, errors = {}, [str(error)]
    for image in targets:
        try:
            done.append(_annotate(pipeline, image, targets[image], config.publish.min_faces))
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


def _annotate(pipeline: Pipeline, image: Path, target: Path | None, min_faces: int) -> Annotated:
    picture = read_picture(image)
    faces = find_faces(pipeline, Frame(picture, captured_s=0.0))
    if target:
        _write(target, draw(picture, faces))
    height, width = picture.shape[:2]
    return Annotated(
        image, width, height, faces, published(faces, min_faces, emotions=bool(pipeline.classifier)), target
    )


def published(faces: Sequence[Face], min_faces: int, *, emotions: bool) -> str:
    """For people: what a message would say of a frame with these faces."""
    found = f"{len(faces)} {'face' if len(faces) == 1 else 'faces'}"
    if not emotions:
        few = len(faces) < min_faces
        return f"would be withheld: {found}, min_faces = {min_faces}" if few else f"would be published: {found}"
    labels = Counter(top(face.probabilities)[0] for face in faces if face.probabilities is not None and face.sure)
    if labels.total() < min_faces:
        return f"would be withheld: faces with a sure label: {labels.total()}, min_faces = {min_faces}"
    counts = ", ".join(f"{labels[label]} {label}" for label in EMOTIONS if labels[label])
    return f"would be published: {found}, {len(faces) - labels.total()} unsure, {counts}"


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
