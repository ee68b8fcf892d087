"""A Keras classifier to a full-int8 .tflite, and what it needs for that. The only file here that imports TensorFlow."""

import io
import logging
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout

import keras
import numpy as np
import tensorflow as tf

from contract.labels import EMOTIONS
from train.data import Faces

PER_LABEL = 100
"""Calibration samples of every label, as far as there are as many."""


def calibration_samples(faces: Faces, seed: int = 0) -> np.ndarray:
    """Shuffled faces of every label, (n, 48, 48) uint8, with raw 0 and 255 among their pixels.

    With them the input's scale is 1 and its zero point -128, so the device only subtracts 128.
    """
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(faces.labels == index))[:PER_LABEL] for index in range(len(EMOTIONS))]
    samples = faces.images[rng.permutation(np.concatenate(rows))]
    if samples.min() > 0 or samples.max() < 255:
        first = samples[0].astype(np.float32) - samples[0].min()
        stretched = np.rint(first * 255 / max(first.max(), 1)).astype(np.uint8)
        stretched[0, 0], stretched[-1, -1] = 0, 255
        samples = np.concatenate([stretched[None], samples])
    return samples


def quantize_model(model: keras.Model, samples: np.ndarray) -> bytes:
    """Full int8 by post-training quantisation, input and output included; `samples` as `calibration_samples` gives."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([face[None, ..., None].astype(np.float32)] for face in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return _quietly(converter.convert)


def float_model(model: keras.Model) -> bytes:
    """The same network in float32 as .tflite, to compare speed with."""
    return _quietly(tf.lite.TFLiteConverter.from_keras_model(model).convert)


def _quietly(work: Callable[[], bytes]) -> bytes:
    """Without the pages that the converter prints on success; an error carries its own text."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return work()
