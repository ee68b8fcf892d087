"""Read frames from libcamera's virtual camera with the daemon's own adapter; one JSON object on standard output.

Runs inside the root that test_picamera2.py makes, on Trixie's Python, with the project's folder on the path.
"""

import json
import sys
import threading
import types
from pathlib import Path

import cv2
import numpy as np


class Anything:
    """Gives itself for every attribute."""

    def __getattr__(self, name: str) -> "Anything":
        return self


# What picamera2 imports for screens and raw pictures, and this daemon never uses.
sys.modules["kms"] = types.SimpleNamespace(PixelFormats=Anything())
sys.modules["pidng"] = types.ModuleType("pidng")
sys.modules["pidng.camdefs"] = types.SimpleNamespace(Picamera2Camera=object)
sys.modules["pidng.core"] = types.SimpleNamespace(PICAM2DNG=object)

from picamera2 import Picamera2  # noqa: E402
from picamera2.allocators import LibcameraAllocator  # noqa: E402

from edge.camera.pi import PiSensor  # noqa: E402
from edge.config import CameraConfig, DetectorConfig  # noqa: E402

SIZE = CameraConfig("pi").size


asked: list[tuple[int, int]] = []
"""The sizes of both streams."""


class Virtual(Picamera2):
    """picamera2 on a camera that has neither raw modes nor a format but NV12."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = LibcameraAllocator(self.camera)

    def _get_raw_modes(self) -> list[dict]:
        return [{"format": "SRGGB10", "size": SIZE}]

    def create_video_configuration(self, main: dict | None = None, lores: dict | None = None, **more: object) -> dict:
        """The adapter's configuration in the only format that there is."""
        only = {"format": "NV12"}
        asked.extend(stream["size"] for stream in (main, lores) if stream)
        return super().create_video_configuration(
            main={**(main or {}), **only}, lores=lores and {**lores, **only}, **more
        )


def main() -> None:
    """Three frames, a pause, another one."""
    stop = threading.Event()
    sensor = PiSensor(CameraConfig("pi", rate_hz=5), DetectorConfig(), Virtual)
    sensor.start()
    frames = [sensor.read(stop) for _ in range(3)]
    sensor.stop()
    sensor.start()
    frames.append(sensor.read(stop))
    sensor.close()
    pictures = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in Path(sys.argv[1]).iterdir()]
    fed = [cv2.resize(picture, SIZE).astype(int) for picture in pictures]  # as libcamera scales what it plays
    brightness = [frame.image[: SIZE[1]].astype(int) for frame in frames]
    told = {
        "asked": asked,
        "main": [list(frame.image.shape) for frame in frames],
        "lores": [list(frame.lores.shape) for frame in frames],
        "times": [frame.captured_s for frame in frames],
        "off": [min(float(np.abs(y - picture).mean()) for picture in fed) for y in brightness],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
