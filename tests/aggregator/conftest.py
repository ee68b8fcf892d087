"""Messages for the aggregator's tests, made as a device would make them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aggregator.ingest.batch import RawMessage, read
from aggregator.store.sqlite import SqliteStore
from contract.labels import EMOTIONS
from contract.message import CountsMessage, FrameCounts, instant, utc
from contract.topics import Device

NOW = 1_795_000_000.0
"""In 2026."""


def _counted(at: float, *counts: int, unsure: int = 0) -> FrameCounts:
    padded = [*counts, *([0] * (len(EMOTIONS) - len(counts)))]
    return FrameCounts(
        t=instant(utc(at)),
        faces=sum(padded) + unsure,
        unsure=unsure,
        counts=dict(zip(EMOTIONS, padded, strict=True)),
        expected={label: max(0.0, count - 0.1) for label, count in zip(EMOTIONS, padded, strict=True)},
    )


def _message(seq: int, *frames: FrameCounts, boot: str = "9f3a2c41", synced: bool = True) -> CountsMessage:
    frames = frames or (_counted(NOW, 0, 0, 0, 1),)
    return CountsMessage(boot=boot, seq=seq, model="3f9c1a77", clock="synced" if synced else "unsynced", frames=frames)


def _item(device: Device, sent: CountsMessage, received: float = NOW) -> RawMessage:
    return RawMessage(device.topic("counts"), sent.to_json(), received)


@pytest.fixture
def now() -> float:
    """The time of these tests, seconds since 1970."""
    return NOW


@pytest.fixture
def counted() -> Callable[..., FrameCounts]:
    """`counted(at, angry, disgust, …)`: a frame with these counts, and `expected` a tenth below each."""
    return _counted


@pytest.fixture
def message() -> Callable[..., CountsMessage]:
    """`message(seq, *frames)`; without frames, of one with one happy face at `now`."""
    return _message


@pytest.fixture
def item() -> Callable[..., RawMessage]:
    """`item(device, message)`: as the broker gives it, received at `now`."""
    return _item


@pytest.fixture
def device() -> Device:
    """A device of the room that most tests are about."""
    return Device("school", "r1", "cam")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A new store."""
    with SqliteStore(tmp_path / "store.sqlite") as opened:
        yield opened


@pytest.fixture
def keep(store: SqliteStore, device: Device) -> Callable[..., object]:
    """`keep(message, …)`: commit these messages of `device` as one batch."""
    return lambda *sent, received=NOW: store.commit(read([_item(device, each, received) for each in sent]))
