"""`classpulse-edge preview`: the live picture with face boxes on 127.0.0.1, to aim the camera. Nothing is kept."""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from edge.camera.source import open_camera
from edge.commands.draw import draw
from edge.commands.preview_page import Latest, serve
from edge.config import EdgeConfig
from edge.exits import told
from edge.lock import only_one
from edge.vision.pipeline import open_pipeline
from service import config as files

_QUALITY = 80
"""Of the page's JPEGs."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.description = (
        "Show the live picture with face boxes on 127.0.0.1 while the service is stopped. "
        "From another computer: ssh -L 8080:127.0.0.1:8080 the-device, then http://127.0.0.1:8080/ there."
    )
    parser.add_argument(
        "--minutes", type=_minutes, default=5.0, help="end by itself after so long (default: 5, at most 60)"
    )
    parser.add_argument("--port", type=_port, default=8080, help="on 127.0.0.1 (default: 8080)")
    parser.add_argument("--emotions", action="store_true", help="add labels and probabilities, to try them on yourself")


def run(arguments: argparse.Namespace) -> int:
    """0 when the time is over, 1 if the port is taken; it ends earlier if something cannot be used."""
    until = time.monotonic() + 60 * arguments.minutes
    ends = datetime.fromtimestamp(time.time() + 60 * arguments.minutes).astimezone()
    latest = Latest()
    try:
        with told("preview"):
            config = preview_config(arguments.config, emotions=arguments.emotions)
            with only_one(config.state), serve(latest, arguments.port, f"{ends:%H:%M}") as url:
                print(f"{url} shows the camera until {ends:%H:%M}; Ctrl-C ends it", flush=True)
                show(config, latest, lambda: time.monotonic() < until)
    except OSError as error:
        print(f"classpulse-edge preview: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def preview_config(path: Path, *, emotions: bool) -> EdgeConfig:
    """The file's settings, with the emotion model only if it is asked for."""
    config = files.load(path, EdgeConfig)
    return dataclasses.replace(config, emotions=dataclasses.replace(config.emotions, enabled=emotions))


def show(config: EdgeConfig, latest: Latest, goes_on: Callable[[], bool]) -> None:
    """Put annotated frames into `latest` until `goes_on` is false or the camera ends."""
    pipeline, _ = open_pipeline(config)
    with open_camera(config.camera, config.detector) as camera:
        for frame in camera:
            if not goes_on():
                return
            latest.put(jpeg(draw(frame.image, pipeline.faces(frame))))


def jpeg(image: np.ndarray) -> bytes:
    """A (height, width, 3) uint8 bgr picture as a JPEG's bytes."""
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])


def _minutes(text: str) -> float:
    value = float(text)
    if not 0 < value <= 60:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 60")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return value
