"""Network architectures: (48, 48, 1) raw grey pixels in, logits out. Normalisation is the first layer."""

import logging
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import keras
import numpy as np
from keras import layers

from contract.card import INPUT_SIZE
from contract.labels import EMOTIONS
from train.origin import ModelError

log = logging.getLogger(__name__)


def build(architecture: str, dropout: float = 0.1) -> keras.Model:
    """A network from (48, 48, 1) float32 raw pixels, 0-255, to the features that the heads read, (n,) float32."""
    pixels = keras.Input((INPUT_SIZE, INPUT_SIZE, 1), name="pixels")
    bodies = {"compact": _compact, "deep": _deep, "teacher": _teacher, "plain": _plain, "resnet50": _resnet50}
    return keras.Model(pixels, layers.Dropout(dropout, name="drop")(bodies[architecture](pixels)), name=architecture)


def with_heads(features: keras.Model, auxiliary_classes: int = 0) -> keras.Model:
    """For training: logits of the seven labels as `emotion`, and of an auxiliary task as `votes` if it has classes."""
    # logits in float32, whatever the precision of the layers before
    heads = {"emotion": layers.Dense(len(EMOTIONS), name="logits", dtype="float32")(features.output)}
    if auxiliary_classes:
        heads["votes"] = layers.Dense(auxiliary_classes, name="vote_logits", dtype="float32")(features.output)
    return keras.Model(features.input, heads, name=features.name)


def classifier(
    trained: keras.Model, temperature: float = 1.0, bias: Mapping[str, float] = MappingProxyType({})
) -> keras.Model:
    """What ships: seven probabilities in float32, calibrated by what is folded into the last layer.

    Args:
        trained: With a layer of `logits`.
        temperature: Divides the logits. Source: Guo et al. 2017, "On calibration of modern neural networks",
            arXiv:1706.04599.
        bias: By label, added to its logit after that. Source: Menon et al. 2020, arXiv:2007.07314.
    """
    trained = in_precision(trained, "float32")
    logits = trained.get_layer("logits")
    scaled = layers.Dense(len(EMOTIONS), name="logits")
    output = layers.Softmax(name="emotion")(scaled(logits.input))
    model = keras.Model(trained.input, output, name=trained.name)
    kernel, offset = (weights / temperature for weights in logits.get_weights())
    scaled.set_weights([kernel, offset + np.array([bias.get(label, 0.0) for label in EMOTIONS], np.float32)])
    return model


def in_precision(model: keras.Model, policy: str) -> keras.Model:
    """A copy that computes in "float32" or, all but its last layers, in "mixed_bfloat16"."""

    def copied(layer):
        last = layer.name in ("logits", "vote_logits", "emotion")
        return layer.from_config({**layer.get_config(), "dtype": "float32" if last else policy})

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy


def load_classifier(path: Path) -> keras.Model:
    """The model of a .keras file: (n, 48, 48, 1) raw pixels in, seven probabilities out.

    Raises:
        ModelError: If it cannot be read or has another shape.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    try:
        model = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: Keras cannot load it: {str(error).splitlines()[0]}") from error
    wanted = ((None, INPUT_SIZE, INPUT_SIZE, 1), (None, len(EMOTIONS)))
    found = (model.input_shape, getattr(model, "output_shape", None))
    names = [layer.name for layer in model.layers[-2:]]
    if found != wanted or names != ["logits", "emotion"]:
        raise ModelError(
            f"{path}: {found[0]} -> {found[1]} by {' and '.join(names)}; wanted is what `train fit` writes as "
            f"model.keras: {wanted[0]} -> {wanted[1]} by logits and emotion"
        )
    return model


def logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """(n, 7) float32 before the softmax, of (n, 48, 48) uint8 faces."""
    headless = keras.Model(model.input, model.get_layer("logits").output)
    found: np.ndarray = headless.predict(images[..., None].astype(np.float32), batch_size=128, verbose=0)
    return found


def cost(model: keras.Model) -> dict[str, int]:
    """`macs`, multiply-accumulates per face, and `parameters` of a network."""
    return {"macs": sum(_macs(layer) for layer in model.layers), "parameters": model.count_params()}


def _macs(layer) -> int:
    if hasattr(layer, "layers"):
        return sum(_macs(inner) for inner in layer.layers)
    # every kernel of a convolution or dense layer is applied once per output position
    kernels = sum(int(np.prod(weight.shape)) for weight in layer.weights if len(weight.shape) >= 2)
    return kernels * int(np.prod(layer.output.shape[1:-1])) if kernels else 0


def _compact(pixels):
    """36.6 M multiply-accumulates, 0.5 M weights."""
    return _residual_network(pixels, ((32, 1), (64, 2), (112, 2), (112, 1)))


def _deep(pixels):
    """38.4 M multiply-accumulates, 1.24 M weights, most of them where the face is 3x3 positions small."""
    return _residual_network(pixels, ((32, 1), (64, 2), (128, 2), (256, 2)))


def _teacher(pixels):
    """1.09 G multiply-accumulates, 11 M weights: for a GPU, never for a device.

    Source: Hu et al. 2017, arXiv:1709.01507 (squeeze and excitation).
    """
    x = _convolution(layers.Rescaling(1 / 127.5, offset=-1.0)(pixels), 64)
    for filters, strides in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        x = _residual(x, filters, strides, weigh_channels=True)
    return layers.GlobalAveragePooling2D()(x)


def _residual_network(pixels, blocks):
    """A ResNet of basic blocks, each (filters, stride), behind two convolutions.

    Dense 3x3 convolutions, since depthwise ones are slow in tflite-runtime's int8.
    Source: He et al. 2015, arXiv:1512.03385.
    """
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    x = _convolution(x, 16)
    x = _convolution(x, 32, strides=2)
    for filters, strides in blocks:
        x = _residual(x, filters, strides)
    return layers.GlobalAveragePooling2D()(x)


def _convolution(x, filters, kernel=3, strides=1, *, relu=True):
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=0.95)(x)
    return layers.ReLU()(x) if relu else x


def _residual(x, filters, strides=1, *, weigh_channels=False):
    shortcut = x
    if strides > 1:
        shortcut = _convolution(layers.AveragePooling2D(strides)(x), filters, kernel=1, relu=False)
    x = _convolution(x, filters, strides=strides)
    x = _convolution(x, filters, relu=False)
    if weigh_channels:
        weights = layers.Dense(filters // 8, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
        x = layers.Multiply()([x, layers.Dense(filters, activation="sigmoid")(weights)])
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _plain(pixels):
    """The classic FER2013 student network: convolution pairs, pooling, dropout, one dense layer."""
    x = layers.Rescaling(1 / 255)(pixels)
    for filters in (32, 64, 128):
        x = _convolution(x, filters)
        x = _convolution(x, filters)
        x = layers.MaxPooling2D()(x)
        x = layers.Dropout(0.25)(x)
    return layers.Dense(256, activation="relu")(layers.Flatten()(x))


def _resnet50(pixels):
    """Transfer baseline: ResNet50 on the face in three equal channels, from ImageNet's weights where they can be had.

    Source: He et al. 2015, arXiv:1512.03385; weights: keras.applications.
    """
    shape = (2 * INPUT_SIZE, 2 * INPUT_SIZE, 3)
    resnet50 = partial(keras.applications.ResNet50, include_top=False, pooling="avg", input_shape=shape)
    x = layers.Concatenate()([pixels] * 3)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    # caffe-style preprocessing of the ImageNet weights: subtract the mean, keep 0-255
    x = layers.Rescaling(1.0, offset=-114.8)(x)
    try:
        backbone = resnet50(weights="imagenet")
    except Exception as error:  # noqa: BLE001 - what keras raises when a download fails
        log.warning("ResNet50 begins with random weights, for ImageNet's cannot be had: %s", error)
        backbone = resnet50(weights=None)
    return backbone(x)
