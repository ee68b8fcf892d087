"""What the edge's tests share: a model whose answer is known, YuNet's file, a real face."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.scene import astronaut_photo
from edge.camera.source import Frame
from edge.config import DetectorConfig
from tests import yunet

ROOT = Path(__file__).parents[2]


@pytest.fixture
def brightness_model(tmp_path: Path) -> Path:
    """A copy of the model whose label follows a face's mean brightness, with its card."""
    for name in ("brightness_int8.tflite", "brightness_int8.json"):
        shutil.copy(ROOT / "tests" / "data" / name, tmp_path)
    return tmp_path / "brightness_int8.tflite"


@pytest.fixture(scope="session")
def yunet_file() -> Path:
    """YuNet's file, or the test is skipped."""
    path = yunet.find()
    if path is None:
        pytest.skip(yunet.MISSING)
    return path


@pytest.fixture(params=["yunet", "haar"])
def detector_config(request: pytest.FixtureRequest) -> DetectorConfig:
    """Each detector's configuration."""
    if request.param == "haar":
        return DetectorConfig(name="haar")
    return DetectorConfig(name="yunet", model=request.getfixturevalue("yunet_file"))


@pytest.fixture(scope="session")
def astronaut() -> Frame:
    """A picture of one real face, whose box is near (180, 65, 270, 175)."""
    return Frame(astronaut_photo(), captured_s=0.0)


@pytest.fixture
def grey_frame() -> Frame:
    """A picture of no face."""
    return Frame(np.full((480, 640, 3), 90, np.uint8), captured_s=0.0)


@pytest.fixture
def edge_toml(tmp_path: Path, brightness_model: Path) -> Callable[..., Path]:
    """`edge_toml(source, **tables)`: a configuration file; tables are added to those that every device needs.

    The commands are tested with Haar where YuNet's file is not there.
    """
    detector = yunet.find()

    def write(source: str, **tables: str) -> Path:
        path = tmp_path / "edge.toml"
        tables = {
            "device": 'site = "school"\nroom = "room"\ndevice = "pi"',
            "mqtt": 'host = "127.0.0.1"\nport = 1\ntls = false',
            "detector": f'model = "{detector}"' if detector else 'name = "haar"',
            "emotions": f'model = "{brightness_model}"',
            **tables,
            "camera": f'source = "{source}"\n{tables.get("camera", "")}',
        }
        text = "\n".join(f"[{name}]\n{keys}" for name, keys in tables.items())
        path.write_text(f'state = "{tmp_path / "state"}"\n{text}\n')
        return path

    return write


@pytest.fixture
def astronaut_file(tmp_path: Path, astronaut: Frame) -> Path:
    """The picture of one real face, as a file."""
    path = tmp_path / "astronaut.png"
    cv2.imwrite(str(path), astronaut.image)
    return path
