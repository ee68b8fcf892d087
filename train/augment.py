"""What a classroom camera does to a face, for a whole batch at once: turned, small, blurred, dark, noisy, half hidden.

Keras operations only, so that it runs where the network does: on a GPU, if there is one. All pictures are
(n, 48, 48, 1) float32, 0-255; the seed generator is passed in.
"""

from functools import cache

import cv2
import keras
import numpy as np
from keras import ops, random

from contract.card import INPUT_SIZE
from train.hyperparameters import Augmentation


def view(faces, settings: Augmentation, seed: keras.random.SeedGenerator):
    """Another picture of the same people: turned, zoomed, sheared, shifted, mirrored, in another light."""
    return _light(_warp(faces, settings, seed), settings, seed)


def spoil(faces, settings: Augmentation, seed: keras.random.SeedGenerator):
    """A worse picture of the same people: some small, out of focus, moving, noisy, partly hidden or compressed."""
    moving = round(faces.shape[0] * settings.blur / 2)
    if moving:  # the batch is shuffled, so its first faces are drawn by chance
        faces = ops.concatenate([_move(faces[:moving], seed), faces[moving:]])
    faces = ops.clip(_hide(_noise(_soften(faces, settings, seed), settings, seed), settings, seed), 0.0, 255.0)
    compressed = round(faces.shape[0] * settings.jpeg)
    if compressed:  # the last ones, which are not those that move
        faces = ops.concatenate([faces[:-compressed], _compress(faces[-compressed:], seed)])
    return faces


def _warp(faces, settings, seed):
    count = faces.shape[0]
    strong = _chance(count, settings.strong_rotation, seed)
    reach = ops.where(strong, 30.0, settings.rotation_deg)
    angle = _between(-1.0, 1.0, count, seed) * reach * (np.pi / 180)
    zoom_x, zoom_y = (ops.exp(_between(-settings.scale, settings.scale, count, seed)) for _ in "xy")
    zoom_x = ops.where(_chance(count, 0.5, seed), -zoom_x, zoom_x)
    shear = _between(-settings.shear, settings.shear, count, seed)
    cosine, sine = ops.cos(angle), ops.sin(angle)
    # rotation x shear x zoom, about the middle of the picture
    a, b = cosine * zoom_x, (cosine * shear - sine) * zoom_y
    c, d = sine * zoom_x, (sine * shear + cosine) * zoom_y
    middle = (INPUT_SIZE - 1) / 2
    shift_x, shift_y = (_between(-settings.shift_px, settings.shift_px, count, seed) for _ in "xy")
    zero = ops.zeros_like(a)
    rows = (a, b, middle - (a + b) * middle + shift_x, c, d, middle - (c + d) * middle + shift_y, zero, zero)
    return ops.image.affine_transform(faces, ops.stack(rows, axis=1), fill_mode="nearest", data_format="channels_last")


def _light(faces, settings, seed):
    shape = (faces.shape[0], 1, 1, 1)
    contrast, gamma = (ops.exp(_between(-settings.contrast, settings.contrast, shape, seed)) for _ in range(2))
    faces = ops.power(ops.clip(faces / 255.0, 1e-4, 1.0), gamma) * 255.0
    mean = ops.mean(faces, axis=(1, 2, 3), keepdims=True)
    brightness = _between(-settings.brightness, settings.brightness, shape, seed)
    return ops.clip((faces - mean) * contrast + mean + brightness, 0.0, 255.0)


def _soften(faces, settings, seed):
    """Small and defocused faces, both by one multiplication of rows and columns with a matrix drawn for each face."""
    small, defocused = _softening()
    count, drawn = faces.shape[0], random.uniform((faces.shape[0],), seed=seed)
    kinds = len(small) + len(defocused)
    any_small = 1 + random.randint((count,), 0, len(small), seed=seed)
    any_defocused = 1 + random.randint((count,), len(small), kinds, seed=seed)
    defocus = drawn < settings.small + settings.blur / 2
    kind = ops.where(drawn < settings.small, any_small, ops.where(defocus, any_defocused, 0))
    matrices = ops.take(np.stack([np.eye(INPUT_SIZE, dtype=np.float32), *small, *defocused]), kind, axis=0)
    return ops.matmul(ops.matmul(matrices, faces[..., 0]), ops.transpose(matrices, (0, 2, 1)))[..., None]


@cache
def _softening() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(48, 48) matrices that shrink a face to 14-40 px and enlarge it again, and that blur it with 0.4-2 px."""
    whole = np.eye(INPUT_SIZE, dtype=np.float32)
    shrunk = (cv2.resize(whole, (INPUT_SIZE, side), interpolation=cv2.INTER_AREA) for side in range(14, 41, 2))
    small = [cv2.resize(rows, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_LINEAR) for rows in shrunk]
    kernels = (cv2.getGaussianKernel(17, sigma, cv2.CV_32F) for sigma in np.arange(0.4, 2.1, 0.2))
    return small, [cv2.filter2D(whole, -1, kernel, borderType=cv2.BORDER_REPLICATE) for kernel in kernels]


def _move(faces, seed):
    """Blurred along a line of 2-7 px: each face is the mean of nine, shifted."""
    count, steps = faces.shape[0], 9
    angle, length = _between(0.0, np.pi, (count, 1), seed), _between(2.0, 7.0, (count, 1), seed)
    along = length * np.linspace(-0.5, 0.5, steps, dtype=np.float32)
    one, zero = ops.ones_like(along), ops.zeros_like(along)
    rows = ops.stack([one, zero, along * ops.cos(angle), zero, one, along * ops.sin(angle), zero, zero], axis=2)
    moved = ops.image.affine_transform(
        ops.repeat(faces, steps, axis=0), ops.reshape(rows, (count * steps, 8)), fill_mode="nearest",
        data_format="channels_last",
    )  # fmt: skip
    return ops.mean(ops.reshape(moved, (count, steps, INPUT_SIZE, INPUT_SIZE, 1)), axis=1)


def _noise(faces, settings, seed):
    noisy = _chance((faces.shape[0], 1, 1, 1), settings.noise, seed)
    strength = ops.where(noisy, _between(2.0, 12.0, noisy.shape, seed), 0.0)
    return faces + strength * random.normal(faces.shape, seed=seed)


def _hide(faces, settings, seed):
    count = faces.shape[0]
    area, ratio = _between(0.03, 0.25, count, seed) * INPUT_SIZE**2, ops.exp(_between(-1.0, 1.0, count, seed))
    rows = _span(ops.sqrt(area * ratio), seed)
    columns = _span(ops.sqrt(area / ratio), seed)
    hidden = rows[:, :, None, None] & columns[:, None, :, None] & _chance((count, 1, 1, 1), settings.erase, seed)
    return ops.where(hidden, _between(0.0, 255.0, (count, 1, 1, 1), seed), faces)


def _compress(faces, seed):
    """What JPEG of quality 10-60 leaves of grey pictures: blocks of 8x8, their cosine transform rounded by its table.

    Source: ITU-T T.81, annexes A.3.3 and K.1; the table's scale by quality as in libjpeg.
    """
    count, blocks = faces.shape[0], INPUT_SIZE // 8
    quality = _between(10.0, 60.0, (count, 1, 1, 1, 1), seed)
    scale = ops.where(quality < 50.0, 50.0 / quality, 2.0 - quality / 50.0)
    table = ops.clip(ops.round(_LUMINANCE * scale), 1.0, 255.0)
    cosines = _cosines()
    # each block by itself
    pixels = ops.transpose(ops.reshape(faces, (count, blocks, 8, blocks, 8)), (0, 1, 3, 2, 4))
    waves = ops.matmul(ops.matmul(cosines, pixels - 128.0), cosines.T)
    rounded = ops.round(waves / table) * table
    pixels = ops.clip(ops.round(ops.matmul(ops.matmul(cosines.T, rounded), cosines) + 128.0), 0.0, 255.0)
    return ops.reshape(ops.transpose(pixels, (0, 1, 3, 2, 4)), faces.shape)


_LUMINANCE = np.array(
    [[16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
     [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
     [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99]], np.float32,
)  # fmt: skip


@cache
def _cosines() -> np.ndarray:
    """(8, 8), the orthonormal cosine transform of a row of eight pixels."""
    return cv2.dct(np.eye(8, dtype=np.float32), flags=cv2.DCT_ROWS).T


def _span(length, seed):
    """(n, 48): True where a piece of `length` lies, anywhere within the picture."""
    length = ops.clip(length, 2.0, INPUT_SIZE - 1.0)[:, None]
    start = random.uniform(length.shape, seed=seed) * (INPUT_SIZE - length)
    position = np.arange(INPUT_SIZE, dtype=np.float32)[None]
    return (position >= start) & (position < start + length)


def _between(low: float, high: float, shape, seed):
    return random.uniform((shape,) if isinstance(shape, int) else shape, low, high, seed=seed)


def _chance(shape, share: float, seed):
    return _between(0.0, 1.0, shape, seed) < share
