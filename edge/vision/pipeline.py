"""From a frame to what is counted in it: detect, crop, classify. Pictures go in, numbers come out."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from contract.card import INPUT_SIZE
from contract.preprocess import crop, grey
from edge.camera.frame import Box, Frame
from edge.config import EdgeConfig
from edge.vision.classifier import EmotionClassifier
from edge.vision.counts import Reading, read_faces
from edge.vision.detector import Detector, open_detector
from edge.vision.settings import Vision

STAGES = ("capture", "detect", "crop", "emotions", "publish")
"""In the order of a frame's way; `detect`, `crop` and `emotions` are recorded here."""
Record = Callable[[str, float], None]
"""Told a stage's name and its seconds."""


def ignore(stage: str, seconds: float) -> None:
    """The Record of a caller who measures nothing."""


@dataclass(frozen=True, slots=True)
class Face:
    """One face of a frame."""

    box: Box
    probabilities: np.ndarray | None
    """(len(EMOTIONS),) float32; None if the face is too small or emotions are off."""
    sure: bool
    """Whether it counts for its top label; false if it was not classified."""


class Pipeline:
    """A detector and, unless emotions are off, a classifier."""

    def __init__(
        self,
        detector: Detector,
        classifier: EmotionClassifier | None,
        min_face_px: int,
        *,
        record: Record = ignore,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Join the parts.

        Args:
            detector: Finds the faces.
            classifier: None counts faces only.
            min_face_px: A face whose box is less high is not classified.
            record: Told each stage's seconds, one call per stage and frame.
            clock: Seconds that only go forward.
        """
        self._detector = detector
        self._classifier = classifier
        self._min_face_px = min_face_px
        self._record = record
        self._clock = clock

    def read(self, frame: Frame) -> Reading:
        """The counts of one frame."""
        boxes = self._detect(frame)
        if self._classifier is None:
            return Reading(frame.captured_s, faces=len(boxes), unsure=0, counts=None, expected=None)
        probabilities = self._classify(self._classifier, frame, self._readable(boxes))
        return read_faces(frame.captured_s, len(boxes), probabilities, self._classifier.card.unsure_below)

    def faces(self, frame: Frame) -> list[Face]:
        """Every face of one frame with its box: for pictures that the user named or sees, never for the daemon."""
        boxes = self._detect(frame)
        if self._classifier is None:
            return [Face(box, None, sure=False) for box in boxes]
        readable = self._readable(boxes)
        least = self._classifier.card.unsure_below
        classified = {
            box: Face(box, probabilities, sure=float(probabilities.max()) >= least)
            for box, probabilities in zip(readable, self._classify(self._classifier, frame, readable), strict=True)
        }
        return [classified.get(box, Face(box, None, sure=False)) for box in boxes]

    def _readable(self, boxes: list[Box]) -> list[Box]:
        return [box for box in boxes if box[3] - box[1] >= self._min_face_px]

    def _detect(self, frame: Frame) -> list[Box]:
        start = self._clock()
        boxes = self._detector.detect(frame)
        self._record("detect", self._clock() - start)
        return boxes

    def _classify(self, classifier: EmotionClassifier, frame: Frame, boxes: list[Box]) -> np.ndarray:
        start = self._clock()
        crops = crop_faces(frame.image, boxes)
        cropped = self._clock()
        probabilities = classifier.probabilities(crops)
        self._record("crop", cropped - start)
        self._record("emotions", self._clock() - cropped)
        return probabilities


def crop_faces(image: np.ndarray, boxes: list[Box]) -> np.ndarray:
    """The model's input, (n, INPUT_SIZE, INPUT_SIZE) uint8, for n faces of a (height, width, 3) uint8 bgr picture."""
    crops = np.empty((len(boxes), INPUT_SIZE, INPUT_SIZE), np.uint8)
    if boxes:
        picture = grey(image)
        for index, box in enumerate(boxes):
            crops[index] = crop(picture, box)
    return crops


def open_pipeline(config: EdgeConfig | Vision, record: Record = ignore) -> tuple[Pipeline, EmotionClassifier | None]:
    """The pipeline that a configuration describes, and its classifier, if any, for its card.

    Raises:
        DetectorError: As `open_detector`.
        ModelCardError: As `EmotionClassifier`.
        RuntimeMissingError: As `EmotionClassifier`.
    """
    cv2.setNumThreads(config.runtime.threads)
    detector = open_detector(config.detector)
    classifier = EmotionClassifier(config.emotions.model, config.runtime) if config.emotions.enabled else None
    return Pipeline(detector, classifier, config.detector.min_face_px, record=record), classifier
