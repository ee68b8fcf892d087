"""One training step: what the network and its teachers see, and what it learns from."""

from importlib.util import find_spec

import numpy as np
import pytest

# ruff: noqa: PLC0415 - this file is collected where there is no TensorFlow, too
pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(300),
    pytest.mark.skipif(find_spec("keras") is None, reason="needs Keras: make test-train"),
]

SIZE = 8


def linear(*, probabilities: bool):
    """A network without normalisation, the same at every call: one number per label from the pixels."""
    import keras

    pixels = keras.Input((48, 48, 1))
    flat = keras.layers.Flatten()(pixels)
    dense = keras.layers.Dense(7, kernel_initializer=keras.initializers.RandomNormal(0, 1e-3, seed=3))
    return keras.Model(pixels, keras.layers.Softmax()(dense(flat)) if probabilities else {"emotion": dense(flat)})


def step_with(teachers, **settings):
    """A step of a linear network, with everything that spoils a face left out unless given."""
    from train.hyperparameters import hyperparameters
    from train.step import TrainingStep

    still = {"small": 0.0, "blur": 0.0, "noise": 0.0, "erase": 0.0} | settings.pop("augmentation", {})
    chosen = hyperparameters({"batch_size": SIZE, "augmentation": still, **settings})
    return TrainingStep(linear(probabilities=False), teachers, chosen)


@pytest.fixture
def batch():
    """Noise, every face by itself."""
    faces = np.random.default_rng(0).integers(0, 256, (SIZE, 48, 48)).astype(np.uint8)
    return {"faces": faces, "weight": np.ones(SIZE, np.float32)}


def softmax(logits):
    """Probabilities of logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("weight", [1.0, 0.6])
def test_teachers_see_the_view_that_the_network_sees(batch, weight):
    """Of single faces and of pairs: a teacher of the network's own weights answers as the network does."""
    batch["weight"][:] = weight
    step = step_with([linear(probabilities=True), linear(probabilities=True)])

    answers = step(batch, training=True)

    assert np.array(answers["soft"]) == pytest.approx(softmax(np.array(answers["emotion"])), abs=1e-4)


def test_teachers_see_the_face_before_it_is_spoiled(batch):
    """What is hidden from the network is not hidden from them."""
    step = step_with([linear(probabilities=True)], augmentation={"erase": 1.0})

    answers = step(batch, training=True)

    assert np.abs(np.array(answers["soft"]) - softmax(np.array(answers["emotion"]))).max() > 0.01


def test_the_loss_weighs_labels_against_teachers(batch):
    """With a label share of a quarter, the target is a quarter of the label; mixed pairs have mixed labels."""
    from train.batches import smoothed

    labels = smoothed(np.arange(SIZE) % 7, 0.0)
    soft = np.full((SIZE, 7), 1 / 7, np.float32)
    step = step_with([], label_share=0.25)
    logits = np.random.default_rng(1).normal(size=(SIZE, 7)).astype(np.float32)

    alone = float(step.compute_loss(batch, {"emotion": labels, "soft": soft}, {"emotion": logits}))
    batch["weight"][:] = 0.6
    mixed = float(step.compute_loss(batch, {"emotion": labels, "soft": soft}, {"emotion": logits}))

    surprise = -np.log(softmax(logits))
    pairs = 0.6 * labels + 0.4 * labels[::-1]
    assert alone == pytest.approx(((0.25 * labels + 0.75 / 7) * surprise).sum(axis=1).mean(), rel=1e-4)
    assert mixed == pytest.approx(((0.25 * pairs + 0.75 / 7) * surprise).sum(axis=1).mean(), rel=1e-4)


def test_an_epoch_that_is_begun_again_draws_the_same(batch):
    """A resumed run sees what an uninterrupted one would have; another epoch sees other views."""
    step = step_with([])
    answers = []
    for epoch in (4, 4, 5):
        step.begin_epoch(epoch)
        answers.append(np.array(step(batch, training=True)["emotion"]))

    assert (answers[0] == answers[1]).all()
    assert (answers[0] != answers[2]).any()


def test_every_fourth_batch_is_of_pairs():
    """At a mix of a quarter; the others hold single faces."""
    from train.batches import Batches, Targets, smoothed
    from train.data import Faces
    from train.hyperparameters import hyperparameters

    labels = np.arange(80) % 7
    faces = Faces(np.zeros((80, 48, 48), np.uint8), labels, ("",) * 80)
    batches = Batches(faces, Targets(smoothed(labels, 0.0)), hyperparameters({"batch_size": 10}), epoch=0)

    weights = [batches[number][0]["weight"][0] for number in range(8)]

    assert [weight < 1 for weight in weights] == [False, False, False, True] * 2


def test_rates_warm_up_and_fall_to_nothing():
    """A cosine over the run; a short one has no warm-up."""
    from train.checkpoint import rate

    long = [rate(epoch, (epoch + 0.5) / 100, 100) for epoch in range(100)]
    short = [rate(epoch, (epoch + 0.5) / 4, 4) for epoch in range(4)]

    assert long[0] == pytest.approx(0.25, abs=0.01)
    assert max(long) > 0.99
    assert long[-1] < 0.001
    assert short[0] > 0.95
    assert sorted(short, reverse=True) == short
