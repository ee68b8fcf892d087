"""Faces on a copy of a picture, for people who look at their own: boxes by group, labels that cover no face."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from contract.labels import EMOTIONS, GROUPS
from edge.camera.source import Frame
from edge.vision.detector import Box
from edge.vision.pipeline import Pipeline, crops

_FOUND = (80, 220, 80)
_UNSURE = (255, 255, 255)
_TOO_SMALL = (40, 40, 230)
_GROUP = {"pleasant": (0, 159, 230), "neutral": (154, 154, 154), "unpleasant": (178, 114, 0)}
"""bgr; of the page's palette, which people with any kind of colour blindness tell apart."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL_PX = 21
"""Height of the font's capitals at scale 1."""
_ROW_PX = 20
"""Of the legend."""


@dataclass(frozen=True, slots=True)
class Face:
    """One face of a picture."""

    box: Box
    probabilities: np.ndarray | None
    """(len(EMOTIONS),) float32; None if the face is too small or emotions are off."""
    sure: bool
    """Whether it counts for its top label; false if it was not classified."""
    too_small: bool = False

    @property
    def height_px(self) -> int:
        """Of its box."""
        return self.box[3] - self.box[1]


def find_faces(pipeline: Pipeline, frame: Frame) -> list[Face]:
    """Every face of a frame with its box: for pictures that the user named or sees, never for the daemon."""
    boxes = pipeline.detector.detect(frame)
    large = pipeline.large_enough(boxes)
    faces = {box: Face(box, None, sure=False, too_small=box not in large) for box in boxes}
    classifier = pipeline.classifier
    if classifier is not None:
        for box, probabilities in zip(large, classifier.probabilities(crops(frame, large)), strict=True):
            faces[box] = Face(box, probabilities, sure=float(probabilities.max()) >= classifier.card.unsure_below)
    return [faces[box] for box in boxes]


def top(probabilities: np.ndarray) -> tuple[str, float]:
    """The most probable label and its probability."""
    index = int(probabilities.argmax())
    return EMOTIONS[index], float(probabilities[index])


def caption(face: Face) -> str:
    """What a face's label says: "happy 93%", "unsure (happy 31%)", or nothing if it was not classified."""
    if face.probabilities is None:
        return ""
    label, probability = top(face.probabilities)
    text = f"{label} {probability:.0%}"
    return text if face.sure else f"unsure ({text})"


def advice(heights_px: Sequence[int], min_face_px: int) -> str:
    """For people who aim the camera: how many faces there are, and what to do if some are too small."""
    if not heights_px:
        return "no face found"
    found = f"{len(heights_px)} {'face' if len(heights_px) == 1 else 'faces'}"
    smallest = f"the smallest is {min(heights_px)} px high, {min_face_px} are needed"
    small = sum(height < min_face_px for height in heights_px)
    if small:
        return f"{found}, {small} too small: come closer or raise the resolution ({smallest})"
    return f"{found}, all large enough ({smallest})"


def draw(image: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """A copy of a (height, width, 3) uint8 bgr picture with the faces' boxes.

    A box is red and thin if the face is too small to be read, white if its emotion is unsure, and else of its group's
    colour, or green where emotions are off. Labels cover no face; where one finds no place, all are numbers with
    a legend at the right, which makes the copy wider.
    """
    copy = image.copy()
    line = max(1, round(min(image.shape[:2]) / 400))
    for face in faces:
        cv2.rectangle(copy, face.box[:2], face.box[2:], _colour(face), line if face.sure else 1)
    texts = [caption(face) for face in faces]
    places = _lay_out(texts, faces, image)
    if all(place or not text for place, text in zip(places, texts, strict=True)):
        _write_all(copy, texts, faces, places)
        return copy
    numbers = [str(number) if text else "" for number, text in enumerate(texts, 1)]
    _write_all(copy, numbers, faces, _lay_out(numbers, faces, image))
    rows = [
        (f"{number} {text}", _colour(face)) for number, text, face in zip(numbers, texts, faces, strict=True) if text
    ]
    return _with_legend(copy, rows)


def _colour(face: Face) -> tuple[int, int, int]:
    if face.too_small:
        return _TOO_SMALL
    if face.probabilities is None:
        return _FOUND
    label, _ = top(face.probabilities)
    return next(_GROUP[group] for group, labels in GROUPS.items() if label in labels) if face.sure else _UNSURE


def _scale(face: Face) -> float:
    return min(max(0.2 * face.height_px, 9), 28) / _CAPITAL_PX


def _size_at(text: str, scale: float, x: int, y: int) -> Box:
    """What `text` takes if its top left corner is at x, y: xyxy."""
    (width, height), below = cv2.getTextSize(text, _FONT, scale, 1)
    return x, y, x + width + 4, y + height + below + 2


def _lay_out(texts: Sequence[str], faces: Sequence[Face], image: np.ndarray) -> list[Box | None]:
    """For each text a place above, below or beside its face, where neither a face nor a text is; None without one."""
    height, width = image.shape[:2]
    taken = [face.box for face in faces]
    places: list[Box | None] = []
    for text, face in zip(texts, faces, strict=True):
        place = None
        if text:
            free = (
                place
                for place in _places(_size_at(text, _scale(face), 0, 0), face.box)
                if min(place) >= 0 and place[2] <= width and place[3] <= height
                if not any(_overlap(place, other) for other in taken)
            )
            place = next(free, None)
        places.append(place)
        taken += [place] if place else []
    return places


def _places(size: Box, box: Box) -> Iterator[Box]:
    (_, _, width, height), (x0, y0, x1, y1) = size, box
    corners = (
        *((x0, y0 - height), (x1 - width, y0 - height), (x0, y1 + 1), (x1 - width, y1 + 1)),
        *((x1 + 1, y0), (x0 - width, y0), (x1 + 1, y1 - height), (x0 - width, y1 - height)),
    )
    return ((x, y, x + width, y + height) for x, y in corners)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _write_all(image: np.ndarray, texts: Sequence[str], faces: Sequence[Face], places: Sequence[Box | None]) -> None:
    """Write texts to their places; one without a place stands in its face's corner."""
    for text, face, place in zip(texts, faces, places, strict=True):
        if text:
            scale = _scale(face)
            corner = (max(0, face.box[0]), max(0, face.box[1]))
            _write(image, text, scale, place or _size_at(text, scale, *corner), _colour(face))


def _write(image: np.ndarray, text: str, scale: float, place: Box, colour: tuple[int, int, int]) -> None:
    _, below = cv2.getTextSize(text, _FONT, scale, 1)
    cv2.rectangle(image, place[:2], (place[2] - 1, place[3] - 1), (0, 0, 0), cv2.FILLED)
    cv2.putText(image, text, (place[0] + 2, place[3] - below - 1), _FONT, scale, colour, 1, cv2.LINE_AA)


def _with_legend(image: np.ndarray, rows: Sequence[tuple[str, tuple[int, int, int]]]) -> np.ndarray:
    """The picture with rows of text at its right, in as many columns as its height needs."""
    scale = 10 / _CAPITAL_PX
    height = image.shape[0]
    per_column = max(1, height // _ROW_PX)
    columns = []
    for start in range(0, len(rows), per_column):
        part = rows[start : start + per_column]
        column = np.zeros((height, max(_size_at(text, scale, 0, 0)[2] for text, _ in part) + 8, 3), np.uint8)
        for index, (text, colour) in enumerate(part):
            _write(column, text, scale, _size_at(text, scale, 4, index * _ROW_PX + 2), colour)
        columns.append(column)
    return np.hstack([image, *columns])
