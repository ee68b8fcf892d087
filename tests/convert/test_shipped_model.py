"""The shipped .tflite file and its card, on every runtime at hand."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from contract import card
from contract.labels import EMOTIONS
from convert import golden, report, verify
from edge.config import RuntimeConfig
from edge.vision.classifier import EmotionClassifier
from edge.vision.runtime import installed
from train.data import digest, load

pytestmark = pytest.mark.tflite

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "emotion_int8.tflite"
RUNTIMES = [RuntimeConfig(package=package) for package in installed()]
LITERT = os.environ.get("CLASSPULSE_LITERT_PYTHON")


@pytest.fixture(params=RUNTIMES, ids=lambda runtime: runtime.package)
def runtime(request):
    """Each runtime of this environment."""
    return request.param


def test_file_and_card_belong_together():
    """The card has the file's hash and size, and the design's limits hold."""
    stated, data = card.read_with_model(MODEL)

    assert stated.document["bytes"] == len(data) <= 1_500_000
    assert stated.document["macs"] <= 40_000_000
    assert 0 < stated.unsure_below < 1


def test_the_file_takes_raw_pixels(runtime):
    """int8 in and out, scale 1 and zero point -128."""
    verify.check_input(MODEL, runtime)


def test_answers_are_those_of_the_card(runtime):
    """Drawn pictures get the probabilities that were stored at conversion, within the tolerance of the runtimes."""
    classifier = EmotionClassifier(MODEL, runtime)

    found = np.array(golden.answers(classifier))

    stored = np.array(classifier.card.document["golden"])
    assert found.shape == stored.shape == (16, len(EMOTIONS))
    assert np.abs(found - stored).max() <= golden.AGREES_WITHIN
    # a model that answers the same to everything would pass the line above with a card of its own
    assert np.ptp(stored, axis=0).max() > 0.3


def test_the_soft_labels_are_probabilities_by_picture():
    """One for every picture of FER2013's train/, each row a distribution over the labels."""
    with np.load(ROOT / "models" / "soft_labels.npz") as stored:
        named, rows = stored["pictures"], stored["probabilities"].astype(float)
    facts = card.read(MODEL.with_suffix(".json")).document["data"]
    pictures = sum(facts["train"].values()) + sum(facts["validation"].values())
    assert rows.shape == (pictures, len(EMOTIONS)) == (len(named), len(EMOTIONS))
    assert rows.min() >= 0
    assert np.abs(rows.sum(axis=1) - 1).max() < 0.01


@pytest.mark.skipif(not LITERT, reason="CLASSPULSE_LITERT_PYTHON names no environment with ai-edge-litert")
def test_answers_on_the_other_runtime_are_those_of_the_card():
    """ai-edge-litert, in an environment of its own, agrees too."""
    child = subprocess.run(
        [LITERT, "-m", "convert", "golden", str(MODEL)], cwd=ROOT, capture_output=True, text=True, check=True
    )

    stored = np.array(card.read(card.beside(MODEL)).document["golden"])
    assert np.abs(np.array(json.loads(child.stdout)) - stored).max() <= golden.AGREES_WITHIN


def test_card_adds_up():
    """Figures that tell the same thing in two ways agree."""
    stated = card.read(card.beside(MODEL))
    document = stated.document
    hard, soft = np.array(stated.hard_confusion), np.array(stated.soft_confusion)
    device = next(iter(document["int8"].values()))

    assert hard.sum() == device["faces"] == sum(document["data"][document["data"]["measured_on"]].values())
    assert np.trace(hard) / hard.sum() == pytest.approx(device["accuracy"])
    assert soft.sum(axis=1) == pytest.approx(np.ones(7), abs=1e-3)
    for index, label in enumerate(EMOTIONS):
        assert hard[index, index] / hard[index].sum() == pytest.approx(device["per_class"][label]["recall"])


def test_card_states_what_is_asked_of_it():
    """Accuracy per runtime near float's, calibration, threshold with its rule, training and data."""
    document = card.read(card.beside(MODEL)).document

    assert document["int8"]["tflite_runtime"]["version"] == "2.14.0"
    assert document["int8"]["ai_edge_litert"]["version"] == "2.1.6"
    for row in document["int8"].values():
        assert row["accuracy"] >= document["float"]["accuracy"] - 0.005
        assert row["ece"] <= 0.035
    assert next(iter(document["int8"].values()))["ece"] <= 0.03  # of the runtime that devices choose
    assert document["training"]["hyperparameters"]["architecture"] == "deep"
    assert {"date", "temperature", "parameters", "unsure_rule", "coverage", "conditions", "fer_plus"} <= document.keys()


def test_accuracy_is_the_cards_on_its_own_faces(runtime):
    """On the faces that the card measured, this runtime reaches the accuracy that it states."""
    data = os.environ.get("CLASSPULSE_TEST_DATA")
    if not data:
        pytest.skip("CLASSPULSE_TEST_DATA names no data set")
    classifier = EmotionClassifier(MODEL, runtime)
    stated = classifier.card.document
    faces = load(Path(data), "test")
    if digest(faces) != stated["data"]["measured_digest"]:
        pytest.skip(f"{data}: its test split is not the one that the card measured")

    found = (verify.predict(classifier, faces.images).argmax(axis=1) == faces.labels).mean()

    assert found == pytest.approx(stated["int8"][runtime.package]["accuracy"], abs=verify.AGREES_WITHIN)


def test_the_readme_quotes_the_card():
    """What models/README.md says of the model is what `convert report` makes of its card."""
    page = (ROOT / "models" / "README.md").read_text()

    quoted = page.partition(report.BEGIN)[2].partition(report.END)[0].strip()

    assert quoted == report.markdown(card.read(card.beside(MODEL)).document)
