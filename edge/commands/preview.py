"""`classpulse-edge preview`: the live picture with face boxes on 127.0.0.1, to aim the camera. Nothing is kept."""

import argparse
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np

from edge.camera import open_camera
from edge.commands import load_or_default
from edge.commands.faces import advice, draw, find_faces
from edge.config import CameraConfig, EdgeConfig
from edge.lock import single_instance
from edge.vision.pipeline import open_pipeline

PORT = 8090
_QUALITY = 80
"""Of the page's JPEGs."""
_ADDRESS = "127.0.0.1"
_STYLE = """<!doctype html>
<meta charset="utf-8"><title>classpulse preview</title>
<style>
  body { margin: 0; background: #111; color: #ddd; font: 16px system-ui }
  img { display: block; width: 100% }
  p, form { margin: 8px }
</style>
"""
_PAGE = """<p>Seen on this computer only, kept nowhere, until {ends}. The service counts again when it is started.</p>
<img src="/stream.mjpg?token={token}" alt="the camera's live picture with a box around every face">
"""
_FORM = """<form>
<label>Token, which <code>classpulse-edge preview</code> printed: <input name="token" autofocus></label>
<button>Show</button>
</form>
"""
_SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Keeps the picture out of caches, and out of other sites' pages in the same browser."""


class PreviewError(RuntimeError):
    """The page cannot be served; the text says what to do."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.description = (
        "Show the live picture with face boxes on 127.0.0.1 while the service is stopped. From another computer: "
        f"ssh -L {PORT}:127.0.0.1:{PORT} the-device, then open there the address that this command prints."
    )
    parser.add_argument(
        "--minutes", type=_minutes, default=5.0, help="end by itself after so long (default: 5, at most 60)"
    )
    parser.add_argument("--port", type=_port, default=PORT, help=f"on 127.0.0.1 (default: {PORT})")
    parser.add_argument("--emotions", action="store_true", help="add labels and probabilities, to try them on yourself")
    parser.add_argument(
        "--camera", type=_source, metavar="SOURCE", help="such as usb:0, in place of the configuration's; needs no file"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when the time is over, 1 if the port is taken; it ends earlier if something cannot be used."""
    until = time.monotonic() + 60 * arguments.minutes
    ends = f"{datetime.fromtimestamp(time.time() + 60 * arguments.minutes).astimezone():%H:%M}"
    config = load_or_default(arguments.config, arguments.camera)
    config = replace(config, emotions=replace(config.emotions, enabled=arguments.emotions))
    latest = Latest()
    try:
        with single_instance(config.state), serve_page(latest, arguments.port, ends) as url:
            print(f"{url} shows the camera until {ends}; Ctrl-C ends it", flush=True)
            show(config, latest, lambda: time.monotonic() < until)
    except PreviewError as error:
        print(f"classpulse-edge preview: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def show(config: EdgeConfig, latest: "Latest", goes_on: Callable[[], bool]) -> None:
    """Put annotated frames into `latest` until `goes_on` is false or the camera ends."""
    pipeline = open_pipeline(config)
    times: deque[float] = deque(maxlen=10)
    with open_camera(config.camera, config.detector) as camera:
        for frame in camera:
            if not goes_on():
                return
            faces = find_faces(pipeline, frame)
            times.append(time.monotonic())
            rate_hz = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
            told = advice([face.height_px for face in faces], config.detector.min_face_px)
            text = f"{told}; {rate_hz:.1f} frames/s"
            latest.put(jpeg(with_line(draw(frame.image, faces), text)))


def with_line(image: np.ndarray, text: str) -> np.ndarray:
    """The picture with a line of text below, as large as fits into its width."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    scale = min(1.0, (image.shape[1] - 24) / cv2.getTextSize(text, font, 1.0, 1)[0][0])
    height = round(40 * scale) + 4
    strip = np.zeros((height, image.shape[1], 3), np.uint8)
    cv2.putText(strip, text, (8, round(29 * scale) + 2), font, scale, (230, 230, 230), 1, cv2.LINE_AA)
    return np.vstack([image, strip])


def jpeg(image: np.ndarray) -> bytes:
    """A (height, width, 3) uint8 bgr picture as a JPEG's bytes."""
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])


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
    """Serves one `Latest` to those who know the token: other users of this machine reach its port as well."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, latest: Latest, port: int, ends: str) -> None:
        super().__init__((_ADDRESS, port), PageHandler)
        self.latest = latest
        self.ends = ends
        self.token = secrets.token_urlsafe(12)


class PageHandler(BaseHTTPRequestHandler):
    """The page and its stream; nothing else."""

    server: PageServer

    def do_GET(self) -> None:
        """Answer the two paths."""
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        token = query.get("token", [""])[0]
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in (_ADDRESS, "localhost"):  # a site whose name was pointed here
            self.send_error(HTTPStatus.FORBIDDEN)
        elif path not in ("/", "/stream.mjpg"):
            self.send_error(HTTPStatus.NOT_FOUND)
        elif not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self._answer(HTTPStatus.FORBIDDEN, _STYLE + _FORM)
        elif path == "/":
            self._answer(HTTPStatus.OK, _STYLE + _PAGE.format(ends=self.server.ends, token=token))
        else:
            self._stream()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
        """No line per request."""

    def _begin(self, status: HTTPStatus, content_type: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, **_SECURITY}.items():
            self.send_header(name, value)
        self.end_headers()

    def _answer(self, status: HTTPStatus, page: str) -> None:
        self._begin(status, "text/html; charset=utf-8")
        self.wfile.write(page.encode())

    def _stream(self) -> None:
        self._begin(HTTPStatus.OK, "multipart/x-mixed-replace; boundary=frame")
        try:
            for picture in self.server.latest:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                self.wfile.write(head.encode() + picture + b"\r\n")
        except ConnectionError:
            self.close_connection = True


@contextmanager
def serve_page(latest: Latest, port: int, ends: str) -> Iterator[str]:
    """Serve `latest` on 127.0.0.1 within `with`; the page's URL, with the token that it asks for.

    Args:
        latest: What to show.
        port: 0 takes a free one.
        ends: For people: until when.

    Raises:
        PreviewError: If the port cannot be used.
    """
    try:
        server = PageServer(latest, port, ends)
    except OSError as error:
        raise PreviewError(f"port {port} cannot be used: {error.strerror}; choose another one by --port") from error
    with server:
        threading.Thread(target=server.serve_forever, args=[0.1], name="page", daemon=True).start()
        try:
            yield f"http://{_ADDRESS}:{server.server_port}/?token={server.token}"
        finally:
            latest.close()
            server.shutdown()


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


def _source(text: str) -> str:
    try:
        return CameraConfig(source=text).source
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
