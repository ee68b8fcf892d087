"""Every architecture takes raw pixels and gives the seven labels' probabilities."""

import numpy as np
import pytest

pytestmark = [pytest.mark.train, pytest.mark.timeout(300)]


@pytest.mark.parametrize("architecture", ["compact", "deep", "teacher", "plain", "resnet50"])
def test_an_architecture_gives_probabilities(architecture):
    """Also without ImageNet's weights, and the temperature that is folded in makes them flatter."""
    model = pytest.importorskip("train.model")
    trained = model.with_heads(model.build(architecture), 10)
    faces = np.random.default_rng(0).uniform(0, 255, (2, 48, 48, 1)).astype(np.float32)

    sharp = model.classifier(trained).predict(faces, verbose=0)
    flat = model.classifier(trained, temperature=5).predict(faces, verbose=0)

    assert sharp.shape == (2, 7)
    assert sharp.sum(axis=1) == pytest.approx(np.ones(2), abs=1e-4)
    assert (flat.max(axis=1) < sharp.max(axis=1)).all()
