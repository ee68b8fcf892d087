"""The real daemon with eyes that follow a script: `[camera] source = "file:rate=50,after=100,then=stall"`.

    python -m tests.system.edge.scripted edge.toml ledger

`then` is one of end, raise, stall (the sensor gives nothing more), hang (nor does the camera ever say so), garbage.
"""

import argparse
import logging
import random
import select
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from contract.labels import EMOTIONS
from edge import daemon
from edge.camera.frame import Frame
from edge.camera.source import Camera, CameraError, NewestFrame
from edge.vision.counts import Reading
from edge.vision.pipeline import open_pipeline

IMAGE = np.zeros((8, 8, 3), np.uint8)
MODEL = "3f9c1a77"
DICE = random.Random()  # noqa: S311 - other faces in every run


class Script:
    """What the camera is to do."""

    def __init__(self, source: str) -> None:
        words = dict(word.split("=") for word in source.removeprefix("file:").split(","))
        self.rate_hz = float(words.get("rate", "50"))
        self.after = int(words.get("after", "1000000000"))
        self.then = words.get("then", "end")

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Frames at their time, and then what comes then."""
        due_s = time.monotonic()
        for _ in range(self.after):
            due_s += 1 / self.rate_hz
            select.select([], [], [], max(0.0, due_s - time.monotonic()))  # faketime breaks time.sleep
            yield Frame(IMAGE, time.monotonic())
        if self.then == "raise":
            raise CameraError("scripted: the cable is out")
        while self.then == "stall" and not stop.wait(0.1):
            pass
        while self.then == "hang":
            time.sleep(3600)
        while self.then == "garbage":
            shape = (DICE.randrange(1, 900), DICE.randrange(1, 900), 3)
            noise = np.frombuffer(DICE.randbytes(shape[0] * shape[1] * 3), np.uint8)
            yield Frame(noise.reshape(shape), time.monotonic())


class ScriptedCamera:
    """Every frame of the script, so that a test knows how many there are."""

    dropped = 0

    def __init__(self, script: Script) -> None:
        self._frames = script.frames(threading.Event())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        return

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def pause(self) -> None:
        """Nothing to stop."""

    def resume(self) -> None:
        """Nothing to start."""


class ScriptedSensor:
    """The script behind the product's own camera thread."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._frames: Iterator[Frame] | None = None

    def start(self) -> None:
        """Begin."""

    def read(self, stop: threading.Event) -> Frame | None:
        """The next frame."""
        if self._frames is None:
            self._frames = self._script.frames(stop)
        return next(self._frames, None)

    def stop(self) -> None:
        """End."""

    def close(self) -> None:
        """End."""


def camera(config, _detector) -> Camera:
    """The scripted camera; one that stalls behind the product's own thread, which is what notices."""
    script = Script(config.source)
    return NewestFrame(ScriptedSensor(script), "scripted", 1.0) if script.then == "stall" else ScriptedCamera(script)


def read(frame: Frame) -> Reading:
    """Random faces, so that every window has sums of its own."""
    counts = {label: DICE.randrange(5) for label in EMOTIONS}
    expected = {label: round(count * DICE.random(), 2) for label, count in counts.items()}
    unsure = DICE.randrange(3)
    return Reading(frame.captured_s, sum(counts.values()) + unsure, unsure, counts, expected)


def pipeline(config, record):
    """The scripted reading; the real detector where the frames are garbage."""
    if Script(config.camera.source).then == "garbage":
        return open_pipeline(config, record)[0].read, None
    return read, MODEL


if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    arguments = argparse.Namespace(config=Path(sys.argv[1]), ledger=Path(sys.argv[2]))
    sys.exit(daemon.run(arguments, daemon.Eyes(camera, pipeline)))
