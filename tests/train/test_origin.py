"""What a run was made of."""

import json

import pytest

from train.origin import TrainingError, claim


def test_the_same_run_may_go_on(tmp_path):
    """Hyper-parameters and data are written once and compared afterwards."""
    claim(tmp_path, {"epochs": 3, "pair": (1, 2)}, {"digest": "a"})
    written = (tmp_path / "origin.json").read_text()

    claim(tmp_path, {"epochs": 3, "pair": (1, 2)}, {"digest": "a"})

    assert (tmp_path / "origin.json").read_text() == written
    assert json.loads((tmp_path / "run.json").read_text())["epochs"] == 3


@pytest.mark.parametrize(
    ("hyperparameters", "data", "said"),
    [({"epochs": 4}, {"digest": "a"}, "run.json: a run with other epochs"),
     ({"epochs": 3}, {"digest": "b"}, "origin.json: a run with other digest")],
)  # fmt: skip
def test_another_run_is_refused(tmp_path, hyperparameters, data, said):
    """The key that differs is named, and nothing is overwritten."""
    claim(tmp_path, {"epochs": 3}, {"digest": "a"})

    with pytest.raises(TrainingError, match=said):
        claim(tmp_path, hyperparameters, data)

    assert json.loads((tmp_path / "run.json").read_text()) == {"epochs": 3}


def test_a_damaged_record_is_named(tmp_path):
    """A half-written run.json is an error, not a crash."""
    (tmp_path / "run.json").write_text('{"epochs"')

    with pytest.raises(TrainingError, match=r"run\.json"):
        claim(tmp_path, {"epochs": 3}, {})
