"""What a run was made of."""

import json

import pytest

from train.origin import TrainingError, claim


def test_the_same_run_may_go_on(tmp_path):
    """Hyper-parameters and data are written once and compared afterwards."""
    claim(tmp_path, {"epochs": 3, "pair": (1, 2)}, {"digest": "a"}, begun=False)
    written = (tmp_path / "origin.json").read_text()

    claim(tmp_path, {"epochs": 3, "pair": (1, 2)}, {"digest": "a"}, begun=True)

    assert (tmp_path / "origin.json").read_text() == written
    assert json.loads((tmp_path / "run.json").read_text())["epochs"] == 3


@pytest.mark.parametrize(
    ("hyperparameters", "data", "said"),
    [({"epochs": 4}, {"digest": "a"}, "run.json: a run with other epochs"),
     ({"epochs": 3}, {"digest": "b"}, "origin.json: a run with other digest")],
)  # fmt: skip
def test_another_run_is_refused(tmp_path, hyperparameters, data, said):
    """The key that differs is named, and nothing is overwritten."""
    claim(tmp_path, {"epochs": 3}, {"digest": "a"}, begun=False)

    with pytest.raises(TrainingError, match=said):
        claim(tmp_path, hyperparameters, data, begun=True)

    assert json.loads((tmp_path / "run.json").read_text()) == {"epochs": 3}


def test_a_damaged_record_is_named(tmp_path):
    """A half-written run.json is an error, not a crash."""
    (tmp_path / "run.json").write_text('{"epochs"')

    with pytest.raises(TrainingError, match=r"run\.json"):
        claim(tmp_path, {"epochs": 3}, {}, begun=True)


def test_a_run_without_an_epoch_is_replaced(tmp_path):
    """A start that failed does not claim its folder for the hyper-parameters that made it fail."""
    claim(tmp_path, {"epochs": 3}, {"digest": "a"}, begun=False)
    claim(tmp_path, {"epochs": 4}, {"digest": "b"}, begun=False)

    assert json.loads((tmp_path / "run.json").read_text()) == {"epochs": 4}
    assert json.loads((tmp_path / "origin.json").read_text())["digest"] == "b"
