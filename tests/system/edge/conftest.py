"""A laboratory for faults on the device's side."""

from collections.abc import Callable, Iterator

import pytest

from tests.system.edge.lab import Lab


@pytest.fixture
def make_lab(tmp_path, mosquitto) -> Iterator[Callable[..., Lab]]:
    """`make_lab()`, or with `edge_port=` of a proxy: a laboratory around a running broker."""
    made: list[Lab] = []

    def make(edge_port: int | None = None) -> Lab:
        made.append(Lab(tmp_path, mosquitto, edge_port))
        return made[-1]

    yield make
    for lab in made:
        lab.close()
        print(lab.log("edge")[-5000:])


@pytest.fixture
def lab(make_lab) -> Lab:
    """One with a running aggregator."""
    laboratory = make_lab()
    laboratory.start_aggregator()
    return laboratory
