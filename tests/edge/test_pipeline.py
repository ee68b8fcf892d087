"""The pipeline: from a frame to a reading, with what each stage took, and from a reading to what a message may say."""

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from contract.labels import EMOTIONS
from contract.message import CountsMessage, FrameCounts, instant
from edge.camera.source import Frame
from edge.config import MIN_FRAMES, DetectorConfig, EdgeConfig, EmotionsConfig, RuntimeConfig
from edge.vision.classifier import EmotionClassifier
from edge.vision.detector import Box
from edge.vision.pipeline import Pipeline, Reading, averaged, count_faces, frame_counts, open_pipeline, readable
from tests.device import edge_config

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
    recorded: list[tuple[str, float, int]] = []
    pipeline = Pipeline(FixedBoxes(*boxes), classifier, 24, record=lambda *each: recorded.append(each))
    start = time.perf_counter()

    pipeline.read(frame)

    assert [stage for stage, _, _ in recorded] == ["detect", "crop", "emotions"]
    assert all(seconds > 0 for _, seconds, _ in recorded)
    assert sum(seconds for _, seconds, _ in recorded) <= time.perf_counter() - start


@pytest.mark.parametrize(("faces", "told"), [(2, []), (3, [("detect", 1), ("crop", 3), ("emotions", 3)])])
def test_durations_of_a_withheld_frame_are_not_recorded(classifier, faces, told):
    """They rise with the number of faces; of the others it is said for how many faces they are."""
    frame, boxes = scene(*["happy"] * faces)
    recorded: list[tuple[str, float, int]] = []
    pipeline = Pipeline(FixedBoxes(*boxes), classifier, 24, 3, lambda *each: recorded.append(each))

    pipeline.read(frame)

    assert [(stage, faces) for stage, _, faces in recorded] == told


@pytest.fixture
def config(brightness_model: Path, detector_config: DetectorConfig) -> EdgeConfig:
    """With each detector."""
    return edge_config(detector=detector_config, emotions=EmotionsConfig(model=brightness_model))


def test_a_configured_pipeline_records_nothing_of_a_frame_below_min_faces(config, astronaut):
    """One face, where five is the least."""
    recorded: list[tuple[str, float, int]] = []

    assert open_pipeline(config, lambda *each: recorded.append(each)).read(astronaut).faces == 1

    assert recorded == []


def test_a_configuration_opens_a_pipeline_that_reads_a_real_face(config, astronaut):
    """Detector and classifier as configured, on a real picture: one face, read."""
    pipeline = open_pipeline(config)
    reading = pipeline.read(astronaut)

    assert pipeline.classifier.card.unsure_below == 0.4
    assert (reading.faces, reading.unsure, sum(reading.counts.values())) == (1, 0, 1)


def test_with_emotions_off_no_model_is_needed(tmp_path):
    """A site that may only count faces need not have the model at all."""
    emotions = EmotionsConfig(enabled=False, model=tmp_path / "none.tflite")

    assert open_pipeline(edge_config(detector=DetectorConfig(name="haar"), emotions=emotions)).classifier is None


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


@pytest.mark.parametrize(("faces", "told"), [(4, {"withheld": True}), (5, {"faces": 5})])
def test_with_emotions_off_the_minimum_holds_too(faces, told):
    """One person alone in the room is a person who is there."""
    frame = frame_counts(Reading(0.0, faces=faces, unsure=0, counts=None, expected=None), T, min_faces=5)

    assert frame == FrameCounts(t=instant(T), **told)


def reading(captured_s: float, *labels: str) -> Reading:
    """A frame of faces that are certainly these labels."""
    return count_faces(captured_s, len(labels), one_hot(*labels), unsure_below=0.5)


def test_a_span_is_told_as_the_mean_of_the_frames_with_enough_faces():
    """The others stay withheld and are no part of it. With next to no noise the mean is what is told."""
    crowd, few = [*["happy"] * 6, *["sad"] * 3], ["angry"] * 2
    span = [reading(0.0, *crowd), reading(1.0, *few), *(reading(s, *crowd, "sad") for s in (2.0, 3.0, 4.0, 5.0))]

    told = averaged(span, min_faces=5, epsilon=1e9)

    assert [each.captured_s for each in told] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert told[1] == span[1]
    assert {(each.faces, each.unsure, each.expected["sad"], each.counts["sad"]) for each in told if each.faces > 5} == {
        (10, 0, 3.8, 4)
    }


def test_a_span_with_fewer_frames_than_five_that_have_enough_faces_is_withheld():
    """When 199 of 200 frames are withheld, their mean would be a single frame."""
    span = [reading(0.0, *["happy"] * 9)] * (MIN_FRAMES - 1) + [reading(1.0, "happy")] * 100

    assert all(frame_counts(each, T, 5).withheld is True for each in averaged(span, min_faces=5, epsilon=2.0))
    assert averaged([span[0], *span], min_faces=5, epsilon=2.0)[0].faces == 9


def test_the_noise_is_two_over_epsilon_faces():
    """The mean distance of Laplace noise is its scale; bringing seven labels back to the number of people takes 5 %."""
    span = [reading(0.0, *EMOTIONS * 100)] * MIN_FRAMES

    drawn = [averaged(span, min_faces=5, epsilon=0.5)[0].expected for _ in range(1000)]

    distances = np.abs(np.array([list(each.values()) for each in drawn]) - 100)
    assert distances.mean() == pytest.approx(0.95 * 4, rel=0.1)


def test_every_span_draws_anew_and_frames_of_one_share_it():
    """Noise of each frame would average out, noise that stays would cancel in the difference."""
    span = [reading(float(s), *["happy"] * 9, *["sad"] * 9) for s in range(5)]

    first, second = averaged(span, 5, epsilon=1.0), averaged(span, 5, epsilon=1.0)

    assert len({tuple(each.expected.values()) for each in first}) == 1
    assert first[0].expected != second[0].expected


@given(st.lists(st.sampled_from(EMOTIONS), min_size=5, max_size=40), st.floats(0.01, 100))
def test_whatever_the_noise_a_span_makes_a_legal_message(labels, epsilon):
    """Nothing negative, nothing above the number of faces, counts and unsure are the faces."""
    for each in averaged([reading(0.0, *labels)] * 5, min_faces=5, epsilon=epsilon):
        frame = frame_counts(each, T, min_faces=5)
        message = CountsMessage(boot="9f3a2c41", seq=0, model="3f9c1a77", clock="synced", frames=(frame,))
        assert CountsMessage.from_json(message.to_json()) == message


def test_a_span_without_emotions_is_told_as_its_mean():
    """Whole faces, and no noise: who is in the room can be seen by who is in the room."""
    span = [Reading(float(s), faces=9 + s, unsure=0, counts=None, expected=None) for s in range(6)]

    assert [each.faces for each in averaged(span, 5, 2.0)] == [12] * 6


def test_thirty_faces_whose_sums_are_rounded_make_a_legal_message():
    """Rounding `expected` to two decimals never exceeds what the contract allows."""
    rows = np.random.default_rng(0).dirichlet(np.ones(7), size=30).astype(np.float32)

    frame = frame_counts(count_faces(0.0, 30, rows, unsure_below=0.2), T, min_faces=5)
    message = CountsMessage(boot="9f3a2c41", seq=0, model="3f9c1a77", clock="synced", frames=(frame,))

    assert CountsMessage.from_json(message.to_json()) == message
