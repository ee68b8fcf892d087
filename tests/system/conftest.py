"""What the system tests share: a real mosquitto of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.needs import need
from tests.system.broker import Mosquitto, until


@pytest.fixture
def make_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Make brokers that are not yet started: `make_mosquitto()`, or with `listener=` lines for TLS, passwords, ACL."""
    need("mosquitto", "mosquitto_sub")
    made: list[Mosquitto] = []

    def make(listener: tuple[str, ...] = ("allow_anonymous true",), port: int = 0) -> Mosquitto:
        made.append(Mosquitto(tmp_path / f"mosquitto-{len(made)}", listener, port))
        return made[-1]

    yield make
    for broker in made:
        broker.stop()


@pytest.fixture
def mosquitto(make_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    """A running broker without passwords; `.host`, `.port`, `.stop()`, `.kill9()`, `.start()`, `.sigstop()` …."""
    return make_mosquitto().start()


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """`wait_until(condition, what, within_s=30)`: polling with a deadline."""
    return until
