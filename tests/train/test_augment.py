"""Changes to a batch of faces in training."""

from importlib.util import find_spec

import numpy as np
import pytest

# ruff: noqa: PLC0415 - this file is collected where there is no TensorFlow, too
pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(300),
    pytest.mark.skipif(find_spec("keras") is None, reason="needs Keras: make test-train"),
]

STILL = {"rotation_deg": 0.0, "scale": 0.0, "shear": 0.0, "shift_px": 0.0, "strong_rotation": 0.0, "contrast": 0.0,
         "brightness": 0.0, "small": 0.0, "blur": 0.0, "noise": 0.0, "jpeg": 0.0, "erase": 0.0}  # fmt: skip
"""No change but mirroring."""


def changed(faces, seed=1, **settings):
    """View and spoiled view of faces under these settings; all others change nothing."""
    import keras

    from train.augment import spoil, view
    from train.hyperparameters import Augmentation

    chosen, generator = Augmentation(**(STILL | settings)), keras.random.SeedGenerator(seed)
    seen = view(faces, chosen, generator)
    return np.array(seen), np.array(spoil(seen, chosen, generator))


@pytest.fixture
def faces():
    """Sixty-four of noise with a bright square at the top left, (64, 48, 48, 1) float32."""
    pictures = np.random.default_rng(0).integers(60, 120, (64, 48, 48, 1)).astype(np.float32)
    pictures[:, 8:18, 8:18] = 230
    return pictures


def test_augmented_faces_keep_shape_and_range(faces):
    """Whatever chance chooses, and the original is untouched."""
    before = faces.copy()
    seen, spoiled = changed(faces, rotation_deg=30.0, scale=0.3, shear=0.3, shift_px=9.0, contrast=0.6, brightness=90.0,
                            small=0.3, blur=0.4, noise=0.5, jpeg=0.5, erase=0.5)  # fmt: skip

    for pictures in (seen, spoiled):
        assert pictures.shape == faces.shape
        assert pictures.min() >= 0
        assert pictures.max() <= 255
    assert (faces == before).all()


def test_the_same_seed_gives_the_same_views(faces):
    """And another seed other ones."""
    settings = {"rotation_deg": 10.0, "noise": 0.5, "erase": 0.5}
    first, again, other = (changed(faces, seed, **settings)[1] for seed in (5, 5, 6))

    assert (first == again).all()
    assert (first != other).any()


def test_half_of_the_faces_are_mirrored(faces):
    """And nothing else happens to them where nothing else is asked for."""
    seen, spoiled = changed(faces)

    mirrored = np.abs(seen - faces[:, :, ::-1]).max(axis=(1, 2, 3)) < 0.1
    as_they_were = np.abs(seen - faces).max(axis=(1, 2, 3)) < 0.1
    assert (mirrored ^ as_they_were).all()
    assert 10 < mirrored.sum() < 54
    assert np.abs(spoiled - seen).max() < 0.1


def test_a_turned_face_keeps_its_middle(faces):
    """The square is where it was or mirrored, turned by at most the degrees asked for about the middle."""
    seen, _ = changed(faces, rotation_deg=20.0)

    square = seen[..., 0] > 180
    y, x = np.mgrid[:48, :48]
    centres = np.array([[(x * part).sum(), (y * part).sum()] / part.sum() for part in square]) - 23.5
    angles = np.degrees(np.arctan2(centres[:, 1], -np.abs(centres[:, 0])))
    before = np.degrees(np.arctan2(-11.0, -11.0))
    assert np.linalg.norm(centres, axis=1) == pytest.approx(np.hypot(11, 11), abs=1)
    assert np.abs((angles - before + 180) % 360 - 180).max() == pytest.approx(20, abs=3)


@pytest.mark.parametrize("spoiling", ["small", "blur"])
def test_small_and_blurred_faces_lose_detail_as_often_as_asked(faces, spoiling):
    """A share of the batch, drawn by chance; the others stay as they are."""
    share = 0.5
    seen, spoiled = changed(faces, **{spoiling: share})

    lost = np.abs(spoiled - seen).max(axis=(1, 2, 3)) > 1
    rougher = spoiled.std(axis=(1, 2, 3)) > seen.std(axis=(1, 2, 3)) + 0.1
    assert lost.mean() == pytest.approx(share, abs=0.2)
    assert not rougher.any()
    assert spoiled.mean() == pytest.approx(seen.mean(), abs=2)


def test_a_small_face_is_what_the_device_would_make_of_it(faces):
    """The matrix for 16 px does what contract.preprocess.resize does to a face of that size."""
    from train.augment import _softening
    from train.conditions import shrink

    matrix = _softening()[0][1]
    face = faces[0, ..., 0]

    assert np.abs(matrix @ face @ matrix.T - shrink(face.astype(np.uint8), 16)).max() < 2


def test_a_hidden_part_is_one_rectangle_of_one_grey(faces):
    """Where anything changed, it has one value."""
    seen, spoiled = changed(faces, erase=1.0)

    for before, after in zip(seen[..., 0], spoiled[..., 0], strict=True):
        hidden = np.abs(after - before) > 1e-3
        rows, columns = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
        inside = after[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert np.ptp(inside) == 0
        assert 0.02 < inside.size / before.size < 0.3


def test_compressed_faces_are_those_of_a_jpeg_encoder(monkeypatch):
    """OpenCV's own at the same quality, but for its rounding; the other faces are as they were."""
    import cv2

    from train import augment

    drawn = np.random.default_rng(3).normal(0, 40, (8, 12, 12)).astype(np.float32)
    faces = np.stack([cv2.resize(one, (48, 48), interpolation=cv2.INTER_CUBIC) for one in drawn])
    faces = np.clip(faces + 128, 0, 255).round()[..., None]
    monkeypatch.setattr(augment, "_between", lambda _low, _high, shape, _seed: np.full(shape, 20.0, np.float32))
    found = np.array(augment._compress(faces, None))

    for face, compressed in zip(faces, found, strict=True):
        _, encoded = cv2.imencode(".jpg", face.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 20])
        wanted = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE).astype(float)
        assert np.abs(face[..., 0] - wanted).mean() > 4
        assert np.abs(compressed[..., 0] - wanted).mean() < 1


def test_a_share_of_the_faces_is_compressed(faces):
    """The last of the batch, whose blocks no longer hold every value."""
    seen, spoiled = changed(faces, jpeg=0.25)

    assert (spoiled[:48] == seen[:48]).all()
    assert all((spoiled[48:] != seen[48:]).any(axis=(1, 2, 3)))
