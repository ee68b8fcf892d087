"""Make the tests' models: `PYTHONPATH=. .venv-train/bin/python tests/data/make_models.py`, a few KB in all.

brightness_int8.tflite has the shipped model's interface (full int8, (n, 48, 48, 1) in, seven probabilities out) and an
answer that is known: the label follows the face's mean brightness. The others are the same with one thing wrong.
"""

import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from contract.card import INPUT_SIZE, PREPROCESSING_VERSION
from contract.labels import EMOTIONS

SHARPNESS = 300.0
HERE = Path(__file__).parent


def build(size: int = INPUT_SIZE, labels: int = len(EMOTIONS)) -> keras.Model:
    """The label whose share of 0-255 is nearest to the mean brightness: softmax of -SHARPNESS * (mean - centre)^2."""
    pixels = keras.Input((size, size, 1))
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(pixels))
    logits = keras.layers.Dense(labels)
    model = keras.Model(pixels, keras.layers.Softmax()(logits(mean)))
    centres = (np.arange(labels) + 0.5) / labels
    # the square of the mean is the same for every label and cancels in the softmax
    logits.set_weights([(2 * SHARPNESS * centres)[None], -SHARPNESS * centres**2])
    return model


def convert(model: keras.Model, kind: tf.DType = tf.int8) -> bytes:
    """Full int8, input and output of `kind`; the calibration holds every brightness."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    shape = (1, *model.input_shape[1:])
    converter.representative_dataset = lambda: ([np.full(shape, value, np.float32)] for value in range(256))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = kind
    return converter.convert()


def card(data: bytes) -> dict:
    """What contract.card.read wants to know."""
    identity = np.eye(len(EMOTIONS)).tolist()
    return {
        "sha256": hashlib.sha256(data).hexdigest(),
        "labels": list(EMOTIONS),
        "input": {"shape": [1, INPUT_SIZE, INPUT_SIZE, 1]},
        "preprocessing": PREPROCESSING_VERSION,
        "unsure_below": 0.4,
        "confusion": {"soft": identity, "hard": identity},
    }


if __name__ == "__main__":
    brightness = convert(build())
    (HERE / "brightness_int8.tflite").write_bytes(brightness)
    (HERE / "brightness_int8.json").write_text(json.dumps(card(brightness)) + "\n")
    (HERE / "float_input.tflite").write_bytes(convert(build(), tf.float32))
    (HERE / "five_labels.tflite").write_bytes(convert(build(labels=5)))
    (HERE / "wide_input.tflite").write_bytes(convert(build(size=64)))
