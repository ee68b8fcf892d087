"""The real daemon with a camera that follows a script: `[camera] source = "file:rate=50,after=100,then=stall"`.

    python -m tests.system.edge.scripted edge.toml ledger

`then` is one of end, raise, stall (the sensor gives nothing more), hang (nor does the camera ever say so), garbage.
"""

import argparse
import os
import random
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np

from contract.labels import EMOTIONS
from edge import daemon
from edge.__main__ import PROGRAM
from edge.camera.source import Camera, CameraError, Frame
from edge.vision.pipeline import Reading, open_pipeline
from service import cli

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
    return Camera(ScriptedSensor(script), "scripted", 1.0) if script.then == "stall" else ScriptedCamera(script)


def read(frame: Frame) -> Reading:
    """Random faces, so that every window has sums of its own."""
    counts = {label: DICE.randrange(5) for label in EMOTIONS}
    expected = {label: round(count * DICE.random(), 2) for label, count in counts.items()}
    unsure = DICE.randrange(3)
    return Reading(frame.captured_s, sum(counts.values()) + unsure, unsure, counts, expected)


class ScriptedPipeline:
    """Reads random faces, by a model of this name."""

    model = MODEL
    read = staticmethod(read)


def pipeline(config, record):
    """The scripted reading; the real detector where the frames are garbage."""
    if Script(config.camera.source).then == "garbage":
        return open_pipeline(config, record)
    return ScriptedPipeline()


def ledger(path: Path) -> Callable[[bytes], None]:
    """Append a line for each accepted message, at once and whole: the time (seconds since 1970) and the payload."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return lambda payload: os.write(descriptor, b"%.3f %s\n" % (time.time(), payload))


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("ledger", type=Path)


def run(arguments: argparse.Namespace) -> int:
    """The daemon's exit status."""
    return daemon.run(arguments, camera, pipeline, ledger(arguments.ledger))


if __name__ == "__main__":
    program = replace(
        PROGRAM,
        commands={"run": ("tests.system.edge.scripted", "count by a script")},
        log_format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    sys.exit(cli.main(program, ["run", "--config", sys.argv[1], sys.argv[2]]))
