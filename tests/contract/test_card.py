"""The model card: file, card and code belong together, or nothing starts."""

import hashlib
import json
from pathlib import Path

import pytest

from contract.card import ModelCardError, beside, read, read_with_model
from contract.labels import EMOTIONS

EYE = [[1.0 if row == column else 0.0 for column in range(7)] for row in range(7)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's bytes and a card that agrees."""
    path = tmp_path / "emotion_int8.tflite"
    path.write_bytes(b"weights")
    write(path, {})
    return path


def write(model: Path, changes: dict) -> None:
    """The card with some keys changed; None leaves one out."""
    document = {
        "sha256": hashlib.sha256(b"weights").hexdigest(),
        "labels": list(EMOTIONS),
        "input": {"shape": [1, 48, 48, 1]},
        "preprocessing": 1,
        "unsure_below": 0.5,
        "confusion": {"soft": EYE, "hard": EYE},
        "trained_on": "anything else is kept",
    }
    document = {key: value for key, value in {**document, **changes}.items() if value is not None}
    beside(model).write_text(json.dumps(document))


def test_a_card_that_agrees_is_read_with_its_model(model):
    """The first eight digits of the hash are what messages carry; the whole document is kept."""
    card, data = read_with_model(model)

    assert data == b"weights"
    assert card.short == hashlib.sha256(b"weights").hexdigest()[:8]
    assert card.unsure_below == 0.5
    assert card.soft_confusion[3][3] == 1.0
    assert card.document["trained_on"] == "anything else is kept"


@pytest.mark.parametrize("key", ["sha256", "labels", "input", "preprocessing", "unsure_below", "confusion"])
def test_a_missing_key_is_named(model, key):
    """With the file."""
    write(model, {key: None})

    with pytest.raises(ModelCardError, match=rf"emotion_int8\.json: missing key {key}"):
        read(beside(model))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"labels": [*EMOTIONS[1:], EMOTIONS[0]]}, "labels = "),
        ({"labels": list(EMOTIONS[:6])}, "labels = "),
        ({"input": {"shape": [1, 64, 64, 1]}}, r"input\.shape = \[1, 64, 64, 1\]"),
        ({"preprocessing": 2}, "preprocessing = 2"),
        ({"unsure_below": "often"}, "often"),
        ({"unsure_below": 48}, "unsure_below = 48.0"),
        ({"unsure_below": float("nan")}, "unsure_below = nan"),
        ({"confusion": {"soft": EYE[:6], "hard": EYE}}, "7 x 7"),
        ({"confusion": {"soft": EYE, "hard": [["x"] * 7] * 7}}, "x"),
        ({"confusion": 3}, "int"),
    ],
)
def test_a_card_of_another_model_is_refused(model, changes, named):
    """Other labels, another order, shape or preprocessing: the error names file, key and value."""
    write(model, changes)

    with pytest.raises(ModelCardError, match=rf"emotion_int8\.json: .*{named}"):
        read(beside(model))


@pytest.mark.parametrize("text", ["", "not JSON", "[]", "null", '{"sha256": NaN'])
def test_a_card_that_is_no_card_is_refused(model, text):
    """Whatever the file holds."""
    beside(model).write_text(text)

    with pytest.raises(ModelCardError, match=r"emotion_int8\.json: "):
        read(beside(model))


def test_a_model_with_another_hash_is_refused(model):
    """Both hashes are told."""
    model.write_bytes(b"other weights")

    found, stated = (hashlib.sha256(data).hexdigest() for data in (b"other weights", b"weights"))
    with pytest.raises(ModelCardError, match=rf"emotion_int8\.tflite: .*{found}.*{stated}"):
        read_with_model(model)


@pytest.mark.parametrize("ending", [".tflite", ".json"])
def test_a_missing_file_is_named(model, ending):
    """Model or card."""
    model.with_suffix(ending).unlink()

    with pytest.raises(ModelCardError, match=rf"emotion_int8\{ending}: No such file"):
        read_with_model(model)
