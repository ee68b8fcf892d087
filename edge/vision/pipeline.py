"""From a frame to what is counted in it: detect, crop, classify, count. Pictures go in, numbers come out."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np

from contract.card import INPUT_SIZE
from contract.labels import EMOTIONS
from contract.message import FaceKind, FrameCounts, instant
from contract.preprocess import crop
from edge.camera.source import Frame
from edge.config import EdgeConfig
from edge.vision.classifier import EmotionClassifier
from edge.vision.detector import Box, Detector, open_detector

STAGES = ("capture", "detect", "crop", "emotions", "publish")
"""What every frame passes, in order; `detect`, `crop` and `emotions` are timed here."""
Record = Callable[[str, float], None]
"""Called with a stage's name and its seconds."""


def ignore(stage: str, seconds: float) -> None:
    """The Record of a caller who measures nothing."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was counted in one frame."""

    captured_s: float
    """Of time.monotonic()."""
    faces: int
    unsure: int
    """Faces too small to classify, or classified with too low a probability; 0 with emotions switched off."""
    counts: dict[str, int] | None
    """Faces per label, every label present; None with emotions switched off."""
    expected: dict[str, float] | None
    """Sum of the probabilities per label over every classified face; None with emotions switched off."""
    small: int = 0
    """Of `unsure`, those too small to classify."""


class Pipeline:
    """A detector and, unless emotions are off, a classifier."""

    def __init__(
        self, detector: Detector, classifier: EmotionClassifier | None, min_face_px: int, record: Record = ignore
    ) -> None:
        """Join the parts.

        Args:
            detector: Finds the faces.
            classifier: None counts faces only.
            min_face_px: A face whose box is less high is not classified.
            record: Called once per stage and frame.
        """
        self._detector = detector
        self.classifier = classifier
        self._min_face_px = min_face_px
        self.model = classifier.card.short if classifier else None
        """The short hash of the emotion model, if there is one."""
        self._record = record

    def read(self, frame: Frame) -> Reading:
        """The counts of one frame."""
        boxes = self.detect(frame)
        if self.classifier is None:
            return Reading(frame.captured_s, faces=len(boxes), unsure=0, counts=None, expected=None)
        probabilities = self.classify(self.classifier, frame, self.large_enough(boxes))
        return count_faces(frame.captured_s, len(boxes), probabilities, self.classifier.card.unsure_below)

    def detect(self, frame: Frame) -> list[Box]:
        """Boxes of all faces."""
        start = time.perf_counter()
        boxes = self._detector.detect(frame)
        self._record("detect", time.perf_counter() - start)
        return boxes

    def large_enough(self, boxes: list[Box]) -> list[Box]:
        """Those that are classified."""
        return [box for box in boxes if box[3] - box[1] >= self._min_face_px]

    def classify(self, classifier: EmotionClassifier, frame: Frame, boxes: list[Box]) -> np.ndarray:
        """Probabilities, (len(boxes), len(EMOTIONS)) float32."""
        start = time.perf_counter()
        crops = np.empty((len(boxes), INPUT_SIZE, INPUT_SIZE), np.uint8)
        for index, box in enumerate(boxes):
            crops[index] = crop(frame.image, box)
        cropped = time.perf_counter()
        probabilities = classifier.probabilities(crops)
        self._record("crop", cropped - start)
        self._record("emotions", time.perf_counter() - cropped)
        return probabilities


def open_pipeline(config: EdgeConfig, record: Record = ignore) -> Pipeline:
    """The pipeline that a configuration describes.

    Raises:
        DetectorError: As `open_detector`.
        ModelCardError: As `EmotionClassifier`.
        RuntimeMissingError: As `EmotionClassifier`.
    """
    cv2.setNumThreads(config.runtime.thread_count)
    detector = open_detector(config.detector, config.runtime)
    classifier = EmotionClassifier(config.emotions.model, config.runtime) if config.emotions.enabled else None
    return Pipeline(detector, classifier, config.detector.min_face_px, record=record)


def count_faces(captured_s: float, faces: int, probabilities: np.ndarray, unsure_below: float) -> Reading:
    """The reading of a frame.

    Args:
        captured_s: Of time.monotonic().
        faces: How many were found.
        probabilities: (n, len(EMOTIONS)), a row for each of the n faces that were large enough to classify.
        unsure_below: A face counts for its most probable label if that has at least this probability.
    """
    sure = probabilities[probabilities.max(axis=1, initial=0) >= unsure_below]
    counted = np.bincount(sure.argmax(axis=1), minlength=len(EMOTIONS)).tolist()
    summed = probabilities.sum(axis=0, dtype=np.float64).round(2).tolist()  # two decimals, as a message carries them
    counts, expected = (dict(zip(EMOTIONS, each, strict=True)) for each in (counted, summed))
    return Reading(captured_s, faces, faces - len(sure), counts, expected, small=faces - len(probabilities))


def readable(reading: Reading, min_faces: int) -> dict[FaceKind, int] | None:
    """For `health`: how many faces were read and why others not; None of a frame that shows fewer than `min_faces`."""
    if reading.counts is None or reading.faces < min_faces:
        return None
    unsure = reading.unsure - reading.small
    return {"found": reading.faces, "small": reading.small, "unsure": unsure, "read": sum(reading.counts.values())}


def frame_counts(reading: Reading, t: datetime, min_faces: int) -> FrameCounts:
    """A message's frame, captured at `t` (UTC): withheld if fewer than `min_faces` faces count for a label."""
    if reading.counts is None or reading.expected is None:
        return FrameCounts(t=instant(t), faces=reading.faces)
    if reading.faces - reading.unsure < min_faces:
        return FrameCounts(t=instant(t), withheld=True)
    return FrameCounts(
        t=instant(t), faces=reading.faces, unsure=reading.unsure, counts=reading.counts, expected=reading.expected
    )
