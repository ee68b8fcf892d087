"""The classifier on a real int8 model whose answer is known, and on everything that is no such model."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from contract.card import ModelCardError
from contract.labels import EMOTIONS
from edge.config import RuntimeConfig
from edge.vision.classifier import MAX_BATCH, EmotionClassifier, check_tensor, dequantize, normalized, quantize

RUNTIME = RuntimeConfig()


def faces(*labels: str) -> np.ndarray:
    """(n, 48, 48) uint8 whose brightness means `labels` to the brightness model."""
    values = [(EMOTIONS.index(label) + 0.5) * 255 / len(EMOTIONS) for label in labels]
    return np.stack([np.full((48, 48), round(value), np.uint8) for value in values])


def rewrite(model: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the model's bytes, and its card's hash with them."""
    data = change(model.read_bytes())
    model.write_bytes(data)
    set_card(model, sha256=hashlib.sha256(data).hexdigest())


def set_card(model: Path, **values: object) -> None:
    """Change keys of the model's card."""
    card = model.with_suffix(".json")
    card.write_text(json.dumps({**json.loads(card.read_text()), **values}))


def test_each_face_gets_its_own_answer(brightness_model):
    """Seven faces of seven labels in one call are read as what they are."""
    probabilities = EmotionClassifier(brightness_model, RUNTIME).probabilities(faces(*EMOTIONS))

    assert [EMOTIONS[row.argmax()] for row in probabilities] == list(EMOTIONS)
    assert probabilities.max(axis=1).min() > 0.9


@pytest.mark.parametrize("number", [0, 1, 2, MAX_BATCH - 1, MAX_BATCH, MAX_BATCH + 1, 3 * MAX_BATCH + 5])
def test_any_number_of_faces_gives_as_many_rows_in_their_order(brightness_model, number):
    """The batches that faces are classified in are not seen from outside."""
    labels = [EMOTIONS[index * 5 % 7] for index in range(number)]
    pixels = faces(*labels) if labels else np.empty((0, 48, 48), np.uint8)

    probabilities = EmotionClassifier(brightness_model, RUNTIME).probabilities(pixels)

    assert probabilities.shape == (number, 7)
    assert probabilities.dtype == np.float32
    assert [EMOTIONS[row.argmax()] for row in probabilities] == labels


@pytest.mark.parametrize(("number", "sizes"), [(16, [16]), (30, [15]), (300, [16, 15])])
def test_batches_are_bounded_and_of_one_size(brightness_model, number, sizes):
    """A crowd takes no more memory than a class, and thirty faces do not fit the input twice a frame."""
    classifier = EmotionClassifier(brightness_model, RUNTIME)
    fitted = []
    resize = classifier._interpreter.resize_tensor_input
    classifier._interpreter.resize_tensor_input = lambda index, shape: (fitted.append(shape[0]), resize(index, shape))

    classifier.probabilities(faces(*["happy"] * number))

    assert (fitted, MAX_BATCH) == (sizes, 16)


def test_frames_with_more_and_fewer_faces_follow_each_other(brightness_model):
    """The input is fitted to each frame's faces; nothing of the last frame stays."""
    classifier = EmotionClassifier(brightness_model, RUNTIME)

    for labels in (["sad"], ["happy"] * 30, ["fear"], ["angry", "neutral"], ["fear"]):
        rows = classifier.probabilities(faces(*labels))
        assert [EMOTIONS[row.argmax()] for row in rows] == labels


def test_rows_sum_to_one(brightness_model):
    """Seven values of 1/256 do not quite make 1; what leaves the classifier does."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 1, 1), np.uint8) + np.zeros((50, 48, 48), np.uint8)

    sums = EmotionClassifier(brightness_model, RUNTIME).probabilities(pixels).sum(axis=1)

    assert np.abs(sums - 1).max() < 1e-6


def test_a_row_of_zeros_says_nothing():
    """A model that gives no label any probability makes an unsure face, not a division by zero."""
    assert normalized(np.zeros((1, 7), np.float32)).tolist() == [pytest.approx([1 / 7] * 7)]


def test_quantize_rounds_and_clips_before_it_casts():
    """A value beyond int8 becomes its limit instead of wrapping round."""
    values = quantize(np.array([0, 0.26, 1.0, 1000.0, -1000.0]), scale=0.5, zero_point=10)

    assert values.tolist() == [10, 11, 12, 127, -128]
    assert values.dtype == np.int8


def test_raw_pixels_pass_unchanged_through_the_shipped_models_input():
    """Scale 1 and zero point -128 map 0-255 to int8 one to one."""
    pixels = np.arange(256, dtype=np.uint8)

    assert quantize(pixels, 1.0, -128).tolist() == list(range(-128, 128))


def test_dequantize_is_the_inverse_of_quantize():
    """Also at the ends of int8, where a subtraction in eight bits would overflow."""
    values = np.arange(-128, 128, dtype=np.int8)

    assert quantize(dequantize(values, 1 / 256, -128), 1 / 256, -128).tolist() == values.tolist()
    assert dequantize(values, 1 / 256, -128)[[0, 255]].tolist() == [0, 255 / 256]


def test_a_tensor_without_a_scale_is_refused():
    """Scale 0 is TFLite's way to say: not quantized."""
    details = {"shape": np.array([1, 7]), "dtype": np.int8, "quantization": (0.0, 0)}

    with pytest.raises(ModelCardError, match=r"m\.tflite: output has no scale"):
        check_tensor(Path("m.tflite"), "output", details, (1, 7))


def flipped(data: bytes) -> bytes:
    """One bit of the last byte is another."""
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    "change", [flipped, lambda data: data[:1000], lambda data: b""], ids=["flipped", "cut", "empty"]
)
def test_a_model_that_is_not_its_cards_is_refused_unread(brightness_model, change):
    """TFLite itself crashes on a truncated file, so the hash is compared first."""
    brightness_model.write_bytes(change(brightness_model.read_bytes()))

    with pytest.raises(ModelCardError, match=r"brightness_int8\.tflite: its SHA-256 is"):
        EmotionClassifier(brightness_model, RUNTIME)


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"no model at all"])
def test_bytes_that_are_no_model_are_an_error_that_names_the_file(brightness_model, data):
    """Even with a card that agrees."""
    rewrite(brightness_model, lambda _: data)

    with pytest.raises(ModelCardError, match=r"brightness_int8\.tflite: the TFLite runtime cannot load it"):
        EmotionClassifier(brightness_model, RUNTIME)


def test_a_missing_model_and_a_missing_card_are_told_apart(brightness_model):
    """The error names the file that is not there."""
    brightness_model.unlink()
    with pytest.raises(ModelCardError, match=r"\.tflite: No such file"):
        EmotionClassifier(brightness_model, RUNTIME)

    brightness_model.with_suffix(".json").unlink()
    with pytest.raises(ModelCardError, match=r"\.json: No such file"):
        EmotionClassifier(brightness_model, RUNTIME)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("float_input", "input is float32"),
        ("five_labels", r"output has shape \(1, 5\)"),
        ("wide_input", r"input has shape \(1, 64, 64, 1\)"),
    ],
)
def test_a_model_of_another_type_or_shape_is_refused(brightness_model, name, wrong):
    """int8 in and out, 48x48 in, one probability per label out: the error names what is wrong."""
    data = (Path(__file__).parents[1] / "data" / f"{name}.tflite").read_bytes()
    rewrite(brightness_model, lambda _: data)

    with pytest.raises(ModelCardError, match=wrong):
        EmotionClassifier(brightness_model, RUNTIME)
