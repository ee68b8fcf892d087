"""From a frame to what is counted in it, and what is published of that. Pictures go in, numbers come out."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

import cv2
import numpy as np

from contract.card import INPUT_SIZE
from contract.labels import EMOTIONS
from contract.message import FaceKind, FrameCounts, instant
from contract.preprocess import crop
from edge.camera.source import Frame
from edge.config import MIN_FRAMES, EdgeConfig
from edge.vision.classifier import EmotionClassifier
from edge.vision.detector import Box, Detector, open_detector

_TIMED = ("detect", "crop", "emotions")
Record = Callable[[str, float, int], None]
"""Called with a stage's name, its seconds, and the number of faces that they were spent on."""
_random = random.SystemRandom()


def ignore(stage: str, seconds: float, faces: int) -> None:
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

    @property
    def sure(self) -> int:
        """Faces that are not unsure; a frame with fewer than `min_faces` of them is withheld."""
        return self.faces - self.unsure


class Pipeline:
    """A detector and, unless emotions are off, a classifier."""

    def __init__(
        self,
        detector: Detector,
        classifier: EmotionClassifier | None,
        min_face_px: int,
        min_faces: int = 0,
        record: Record = ignore,
    ) -> None:
        """Join the parts.

        Args:
            detector: Finds the faces.
            classifier: None counts faces only.
            min_face_px: A face whose box is less high is not classified.
            min_faces: Of a frame with fewer readable faces nothing is recorded: durations tell how many there were.
            record: Called once per stage and frame, by `read`.
        """
        self.detector = detector
        self.classifier = classifier
        self._min_face_px = min_face_px
        self.model = classifier.card.short if classifier else None
        """The short hash of the emotion model, if there is one."""
        self._min_faces = min_faces
        self._record = record

    def read(self, frame: Frame) -> Reading:
        """The counts of one frame."""
        times = [time.perf_counter()]
        boxes = self.detector.detect(frame)
        times.append(time.perf_counter())
        large = self.large_enough(boxes)
        if self.classifier is None:
            reading = Reading(frame.captured_s, len(boxes), unsure=0, counts=None, expected=None)
        else:
            cropped = crops(frame, large)
            times.append(time.perf_counter())
            probabilities = self.classifier.probabilities(cropped)
            times.append(time.perf_counter())
            reading = count_faces(frame.captured_s, len(boxes), probabilities, self.classifier.card.unsure_below)
        if reading.sure >= self._min_faces:
            for stage, (start, end), faces in zip(_TIMED, pairwise(times), (1, len(large), len(large)), strict=False):
                self._record(stage, end - start, faces)
        return reading

    def large_enough(self, boxes: list[Box]) -> list[Box]:
        """Those that are classified."""
        return [box for box in boxes if box[3] - box[1] >= self._min_face_px]


def crops(frame: Frame, boxes: list[Box]) -> np.ndarray:
    """The classifier's input, (len(boxes), INPUT_SIZE, INPUT_SIZE) uint8."""
    return np.array([crop(frame.image, box) for box in boxes], np.uint8).reshape(-1, INPUT_SIZE, INPUT_SIZE)


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
    return Pipeline(detector, classifier, config.detector.min_face_px, config.publish.min_faces, record)


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


def averaged(readings: Sequence[Reading], min_faces: int, epsilon: float) -> list[Reading]:
    """A span's readings as they may be told: all the same, their mean with noise; those with too few faces as they are.

    Args:
        readings: Of one span.
        min_faces: A frame with fewer readable faces is no part of the mean.
        epsilon: Privacy loss of the span for the expression of one person, who adds 1 to the sum of `expected`.
    """
    shown = [each for each in readings if each.sure >= min_faces]
    if len(shown) < MIN_FRAMES:
        return withheld(readings)
    sure, unsure = np.rint(np.mean([(each.sure, each.unsure) for each in shown], axis=0)).astype(int).tolist()
    mean = replace(shown[0], faces=sure + unsure, unsure=unsure)
    if mean.expected is not None:
        sums = np.mean([list(each.expected.values()) for each in shown if each.expected], axis=0)
        hundredths = _noisy(sums, epsilon)
        hundredths = np.floor(hundredths * min(100 * sums.sum(), 100 * mean.faces) / hundredths.sum())
        mean = replace(
            mean,
            counts=dict(zip(EMOTIONS, _whole(hundredths, sure), strict=True)),
            expected=dict(zip(EMOTIONS, (hundredths / 100).tolist(), strict=True)),
        )
    return [replace(mean, captured_s=r.captured_s) if r.sure >= min_faces else r for r in readings]


def withheld(readings: Sequence[Reading]) -> list[Reading]:
    """Readings of which nothing but the time is told."""
    return [replace(each, faces=0, unsure=0) for each in readings]


def _noisy(sums: np.ndarray, epsilon: float) -> np.ndarray:
    """(7,) sums in hundredths, with discrete Laplace noise; not negative, and not all 0.

    Another expression of one person moves the sums by 2 in all, so the scale is 2 / epsilon faces.

    Source: Ghosh, Roughgarden, Sundararajan 2009, arXiv:0811.2841, the geometric mechanism: the difference of two
        geometric numbers. Whole numbers, because floating point noise can be told from its last bits (Mironov 2012).
    """
    rate = epsilon / 200
    noise = [int(_random.expovariate(rate)) - int(_random.expovariate(rate)) for _ in EMOTIONS]
    noisy = np.clip(np.rint(100 * sums) + noise, 0, None)
    return noisy if noisy.any() else np.ones(len(EMOTIONS))


def _whole(parts: np.ndarray, total: int) -> list[int]:
    """Whole numbers in proportion to `parts` that sum to `total`: largest remainders."""
    exact = parts * total / parts.sum()
    whole = np.floor(exact).astype(int)
    whole[np.argsort(whole - exact)[: total - whole.sum()]] += 1
    return [int(number) for number in whole]


def frame_counts(reading: Reading, t: datetime, min_faces: int) -> FrameCounts:
    """A message's frame, captured at `t` (UTC): withheld if fewer than `min_faces` faces could be read."""
    if reading.sure < min_faces:
        return FrameCounts(t=instant(t), withheld=True)
    if reading.counts is None or reading.expected is None:
        return FrameCounts(t=instant(t), faces=reading.faces)
    return FrameCounts(
        t=instant(t), faces=reading.faces, unsure=reading.unsure, counts=reading.counts, expected=reading.expected
    )
