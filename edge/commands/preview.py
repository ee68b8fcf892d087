"""`classpulse-edge preview`: the live picture with face boxes on 127.0.0.1, to aim the camera. Nothing is kept."""

import argparse
import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from edge.camera import open_camera
from edge.commands.annotate import draw, find_faces
from edge.config import EdgeConfig
from edge.lock import single_instance
from edge.vision.pipeline import open_pipeline
from service import config as files

_QUALITY = 80
"""Of the page's JPEGs."""
_ADDRESS = "127.0.0.1"
_PAGE = """<!doctype html>
<meta charset="utf-8"><title>classpulse preview</title>
<style>
  body {{ margin: 0; background: #111; color: #ddd; font: 16px system-ui }}
  img {{ max-width: 100% }}
  p {{ margin: 8px }}
</style>
<p>Seen on this computer only, kept nowhere, until {ends}. The service counts again when it is started.</p>
<img src="/stream.mjpg" alt="the camera's live picture with a box around every face">
"""
_SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Keeps the picture out of caches, and out of other sites' pages in the same browser."""


class Latest:
    """The newest JPEG, for any number of readers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jpeg = b""
        self._number = 0
        self._closed = False

    def put(self, jpeg: bytes) -> None:
        """Replace it."""
        with self._changed:
            self._jpeg = jpeg
            self._number += 1
            self._changed.notify_all()

    def close(self) -> None:
        """No more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        """Every JPEG that a reader is fast enough for, until `close`."""
        seen = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._number != seen)  # noqa: B023  called here only
                if self._closed:
                    return
                seen, jpeg = self._number, self._jpeg
            yield jpeg


class PageServer(ThreadingHTTPServer):
    """Serves one `Latest`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, latest: Latest, port: int, ends: str) -> None:
        super().__init__((_ADDRESS, port), PageHandler)
        self.latest = latest
        self.page = _PAGE.format(ends=ends).encode()


class PageHandler(BaseHTTPRequestHandler):
    """The page and its stream; nothing else, and for nobody else."""

    server: PageServer

    def do_GET(self) -> None:
        """Answer the two paths."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in (_ADDRESS, "localhost"):  # a site whose name was pointed here
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path == "/":
            self._begin("text/html; charset=utf-8")
            self.wfile.write(self.server.page)
        elif self.path == "/stream.mjpg":
            self._stream()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
        """No line per request."""

    def _begin(self, content_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        for name, value in {"Content-Type": content_type, **_SECURITY}.items():
            self.send_header(name, value)
        self.end_headers()

    def _stream(self) -> None:
        self._begin("multipart/x-mixed-replace; boundary=frame")
        try:
            for jpeg in self.server.latest:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
        except ConnectionError:
            self.close_connection = True


@contextmanager
def serve_page(latest: Latest, port: int, ends: str) -> Iterator[str]:
    """Serve `latest` on 127.0.0.1 within `with`; the page's URL.

    Args:
        latest: What to show.
        port: 0 takes a free one.
        ends: For people: until when.

    Raises:
        OSError: If the port is taken.
    """
    with PageServer(latest, port, ends) as server:
        threading.Thread(target=server.serve_forever, args=[0.1], name="page", daemon=True).start()
        try:
            yield f"http://{_ADDRESS}:{server.server_port}/"
        finally:
            latest.close()
            server.shutdown()


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
        config = preview_config(arguments.config, emotions=arguments.emotions)
        with single_instance(config.state), serve_page(latest, arguments.port, f"{ends:%H:%M}") as url:
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
    pipeline = open_pipeline(config)
    with open_camera(config.camera, config.detector) as camera:
        for frame in camera:
            if not goes_on():
                return
            latest.put(jpeg(draw(frame.image, find_faces(pipeline, frame))))


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
