"""The pipeline: faces of a frame to a reading, with what each stage took."""

from pathlib import Path

import numpy as np
import pytest

from contract.labels import EMOTIONS
from contract.topics import Device
from edge.camera.frame import Box, Frame
from edge.config import CameraConfig, DetectorConfig, EdgeConfig, EmotionsConfig, MqttConfig, RuntimeConfig
from edge.vision.classifier import EmotionClassifier
from edge.vision.pipeline import Pipeline, crop_faces, open_pipeline


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


def test_faces_keep_their_boxes(classifier):
    """For a picture that is shown, each box has its own probabilities, and a small face has none."""
    frame, boxes = scene("happy", "sad")
    small = (0, 0, 10, 10)

    faces = Pipeline(FixedBoxes(boxes[1], small, boxes[0]), classifier, min_face_px=24).faces(frame)

    assert [face.box for face in faces] == [boxes[1], small, boxes[0]]
    assert faces[1].probabilities is None
    assert [EMOTIONS[face.probabilities.argmax()] for face in (faces[0], faces[2])] == ["sad", "happy"]
    assert [face.sure for face in faces] == [True, False, True]


def test_each_stage_is_recorded_once_per_frame(classifier):
    """Durations come from the clock passed in, in the order of the stages."""
    frame, boxes = scene("happy")
    ticks = iter([0.0, 1.0, 10.0, 12.0, 15.0])
    recorded: list[tuple[str, float]] = []
    pipeline = Pipeline(
        FixedBoxes(*boxes), classifier, 24, record=lambda *pair: recorded.append(pair), clock=lambda: next(ticks)
    )

    pipeline.read(frame)

    assert recorded == [("detect", 1.0), ("crop", 2.0), ("emotions", 3.0)]


def test_a_box_over_the_border_is_cropped_with_the_border_repeated():
    """Where there is no picture, its border goes on."""
    image = np.full((100, 100, 3), 80, np.uint8)

    crops = crop_faces(image, [(-30, -30, 40, 40), (70, 70, 130, 130)])

    assert crops.shape == (2, 48, 48)
    assert np.unique(crops).tolist() == [80]


def test_a_configuration_opens_a_pipeline_that_reads_a_real_face(brightness_model, detector_config, astronaut):
    """Detector and classifier as configured, on a real picture: one face, read."""
    config = EdgeConfig(
        device=Device("school", "room", "pi"),
        camera=CameraConfig(source="pi"),
        mqtt=MqttConfig(host="localhost"),
        detector=detector_config,
        emotions=EmotionsConfig(model=brightness_model),
    )

    pipeline, classifier = open_pipeline(config)
    reading = pipeline.read(astronaut)

    assert classifier.card.unsure_below == 0.4
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

    assert open_pipeline(config)[1] is None
