"""The pipeline: from a frame to a reading, with what each stage took, and from a reading to what a message may say."""

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from msgspec import UNSET

from contract.labels import EMOTIONS
from contract.message import CountsMessage, FrameCounts, instant
from contract.topics import Device
from edge.camera.source import Frame
from edge.config import CameraConfig, DetectorConfig, EdgeConfig, EmotionsConfig, MqttConfig, RuntimeConfig
from edge.vision.classifier import EmotionClassifier
from edge.vision.detector import Box
from edge.vision.pipeline import Pipeline, Reading, count_faces, frame_counts, open_pipeline, readable

T = datetime(2026, 11, 22, 6, 31, 7, 412000, tzinfo=UTC)


class FixedBoxes:
    """A detector that finds the same boxes in every frame."""

    def __init__(self, *boxes: Box) -> None:
        self._boxes = list(boxes)

    def detect(self, frame: Frame) -> list[Box]:
        """The boxes."""
        return self._boxes


def scene(*labels: str) -> tuple[Frame, list[Box]]:
    """Faces side by side, 60 pixels each, whose brightness means `labels` to the brightness model."""
    image = np.zeros((100, 60 * len(labels), 3), np.uint8)
    for index, label in enumerate(labels):
        image[:, 60 * index : 60 * index + 60] = round((EMOTIONS.index(label) + 0.5) * 255 / len(EMOTIONS))
    return Frame(image, captured_s=7.0), [(60 * i, 20, 60 * i + 50, 70) for i in range(len(labels))]


@pytest.fixture
def classifier(brightness_model: Path) -> EmotionClassifier:
    """The model whose label follows brightness."""
    return EmotionClassifier(brightness_model, RuntimeConfig())


def test_every_face_is_counted_for_what_it_shows(classifier):
    """Boxes, crops and probabilities belong together: each face gives its own label."""
    frame, boxes = scene("happy", "sad", "happy", "neutral", "fear")

    reading = Pipeline(FixedBoxes(*boxes), classifier, min_face_px=24).read(frame)

    assert (reading.captured_s, reading.faces, reading.unsure) == (7.0, 5, 0)
    assert reading.counts == {**dict.fromkeys(EMOTIONS, 0), "happy": 2, "sad": 1, "neutral": 1, "fear": 1}


def test_a_face_below_min_face_px_is_counted_but_unsure(classifier):
    """24 pixels high is read, 23 is not; both are faces."""
    frame, _ = scene("happy", "sad")

    reading = Pipeline(FixedBoxes((10, 10, 30, 34), (70, 10, 90, 33)), classifier, min_face_px=24).read(frame)

    assert (reading.faces, reading.unsure) == (2, 1)
    assert reading.counts == {**dict.fromkeys(EMOTIONS, 0), "happy": 1}
    assert sum(reading.expected.values()) == pytest.approx(1, abs=0.04)


def test_without_a_classifier_faces_are_counted_and_nothing_else():
    """Emotions switched off: no counts, no unsure faces."""
    frame, boxes = scene("happy", "sad")

    reading = Pipeline(FixedBoxes(*boxes), None, min_face_px=24).read(frame)

    assert (reading.faces, reading.unsure, reading.counts, reading.expected) == (2, 0, None, None)


def test_each_stage_is_recorded_once_per_frame(classifier):
    """In the order of the stages, and within the time that the frame took."""
    frame, boxes = scene("happy")
    recorded: list[tuple[str, float]] = []
    pipeline = Pipeline(FixedBoxes(*boxes), classifier, 24, record=lambda *pair: recorded.append(pair))
    start = time.perf_counter()

    pipeline.read(frame)

    assert [stage for stage, _ in recorded] == ["detect", "crop", "emotions"]
    assert all(seconds > 0 for _, seconds in recorded)
    assert sum(seconds for _, seconds in recorded) <= time.perf_counter() - start


def test_a_configuration_opens_a_pipeline_that_reads_a_real_face(brightness_model, detector_config, astronaut):
    """Detector and classifier as configured, on a real picture: one face, read."""
    config = EdgeConfig(
        device=Device("school", "room", "pi"),
        camera=CameraConfig(source="pi"),
        mqtt=MqttConfig(host="localhost"),
        detector=detector_config,
        emotions=EmotionsConfig(model=brightness_model),
    )

    pipeline = open_pipeline(config)
    reading = pipeline.read(astronaut)

    assert pipeline.classifier.card.unsure_below == 0.4
    assert (reading.faces, reading.unsure, sum(reading.counts.values())) == (1, 0, 1)


def test_with_emotions_off_no_model_is_needed(tmp_path):
    """A site that may only count faces need not have the model at all."""
    config = EdgeConfig(
        device=Device("school", "room", "pi"),
        camera=CameraConfig(source="pi"),
        mqtt=MqttConfig(host="localhost"),
        detector=DetectorConfig(name="haar"),
        emotions=EmotionsConfig(enabled=False, model=tmp_path / "none.tflite"),
    )

    assert open_pipeline(config).classifier is None


def one_hot(*labels: str) -> np.ndarray:
    """Certain probabilities, one row per label."""
    return np.eye(len(EMOTIONS), dtype=np.float32)[[EMOTIONS.index(label) for label in labels]]


def test_every_label_is_counted_by_its_name():
    """Each face counts for its most probable label; labels without a face are there with zero."""
    counts = count_faces(0.0, 3, one_hot("happy", "happy", "fear"), unsure_below=0.5).counts

    assert counts == {**dict.fromkeys(EMOTIONS, 0), "happy": 2, "fear": 1}


def test_a_probability_at_the_threshold_counts_and_one_below_does_not():
    """`unsure_below` is exclusive: a face at the threshold is sure."""
    rows = np.array([[0.5, 0.5, 0, 0, 0, 0, 0], [0.49, 0.3, 0.21, 0, 0, 0, 0]])

    assert count_faces(0.0, 2, rows, unsure_below=0.5).counts["angry"] == 1


def test_unsure_faces_and_counts_make_the_faces():
    """A face too small to classify and a face too uncertain are both unsure; the sum is every face found."""
    rows = np.vstack([one_hot("sad"), np.full((1, 7), 1 / 7, np.float32)])

    reading = count_faces(3.5, faces=5, probabilities=rows, unsure_below=0.5)

    assert (reading.captured_s, reading.faces, reading.unsure) == (3.5, 5, 4)
    assert reading.counts == {**dict.fromkeys(EMOTIONS, 0), "sad": 1}


def test_expected_sums_the_probabilities_of_unsure_faces_too():
    """`expected` covers every classified face, sure or not, in two decimals."""
    rows = np.vstack([one_hot("sad"), np.full((1, 7), 1 / 7, np.float32)])

    assert count_faces(0.0, 2, rows, unsure_below=0.5).expected == {**dict.fromkeys(EMOTIONS, 0.14), "sad": 1.14}


def test_a_frame_without_faces_is_a_frame_of_zeros():
    """No face is an observation like any other."""
    reading = count_faces(0.0, faces=0, probabilities=np.empty((0, 7), np.float32), unsure_below=0.5)

    assert reading.counts == dict.fromkeys(EMOTIONS, 0)
    assert reading.expected == dict.fromkeys(EMOTIONS, 0.0)


def test_faces_that_were_not_read_are_told_with_the_reason():
    """Six found, three large enough, one of those unsure; nothing where fewer than `min_faces` are in view."""
    rows = np.vstack([one_hot("happy", "sad"), np.full((1, 7), 1 / 7, np.float32)])
    reading = count_faces(0.0, faces=6, probabilities=rows, unsure_below=0.5)

    assert readable(reading, 6) == {"found": 6, "small": 3, "unsure": 1, "read": 2}
    assert readable(reading, 7) is None
    assert readable(Reading(0.0, faces=9, unsure=0, counts=None, expected=None), 6) is None


@pytest.mark.parametrize(("min_faces", "withheld"), [(2, UNSET), (3, True)])
def test_only_faces_that_were_read_count_for_min_faces(min_faces, withheld):
    """Three faces of which one is unsure are two: enough for 2, withheld at 3."""
    reading = count_faces(0.0, faces=3, probabilities=one_hot("happy", "sad"), unsure_below=0.5)

    frame = frame_counts(reading, T, min_faces)

    assert frame.withheld is withheld
    assert frame.time == T


def test_with_emotions_off_only_faces_are_told():
    """Without counts there is nothing to withhold: a face is counted, whoever it is."""
    frame = frame_counts(Reading(0.0, faces=1, unsure=0, counts=None, expected=None), T, min_faces=5)

    assert frame == FrameCounts(t=instant(T), faces=1)


def test_thirty_faces_whose_sums_are_rounded_make_a_legal_message():
    """Rounding `expected` to two decimals never exceeds what the contract allows."""
    rows = np.random.default_rng(0).dirichlet(np.ones(7), size=30).astype(np.float32)

    frame = frame_counts(count_faces(0.0, 30, rows, unsure_below=0.2), T, min_faces=5)
    message = CountsMessage(boot="9f3a2c41", seq=0, model="3f9c1a77", clock="synced", frames=(frame,))

    assert CountsMessage.from_json(message.to_json()) == message
