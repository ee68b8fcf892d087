"""`preview`: for the eyes of whoever sits at this machine, for some minutes, while the service is stopped."""

import argparse
import http.client
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from edge.camera.source import CameraError
from edge.commands import preview
from edge.commands.faces import advice
from edge.commands.preview import Latest, serve_page
from edge.config import EdgeConfig
from edge.lock import LockError, single_instance
from service.config import load


@pytest.fixture
def page() -> Iterator[tuple[Latest, int, str]]:
    """A page that is being served, its port, and the token that it asks for."""
    latest = Latest()
    with serve_page(latest, 0, "09:45") as url:
        yield latest, urlsplit(url).port, urlsplit(url).query


def get(port: int, path: str, **headers: str) -> http.client.HTTPResponse:
    """An answer of the page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def part(stream: http.client.HTTPResponse) -> bytes:
    """The next picture of a stream."""
    assert stream.readline() == b"--frame\r\n"
    assert stream.readline() == b"Content-Type: image/jpeg\r\n"
    length = int(stream.readline().split(b":")[1])
    stream.readline()
    picture = stream.read(length)
    stream.readline()
    return picture


def parsed(*arguments: object) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser()
    preview.configure(parser)
    parser.add_argument("--config", type=Path)
    return parser.parse_args([*map(str, arguments)])


def test_the_page_says_until_when_and_shows_the_stream(page):
    """The picture is the page's own, and nothing may keep it."""
    answer = get(page[1], f"/?{page[2]}")

    text = answer.read().decode()
    assert "09:45" in text
    assert f'src="/stream.mjpg?{page[2]}"' in text
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_stream_goes_on_with_every_new_picture(page):
    """A reader sees the newest picture, then the next."""
    latest, port, token = page
    latest.put(b"one")
    stream = get(port, f"/stream.mjpg?{token}")

    first = part(stream)
    latest.put(b"two")

    assert [first, part(stream)] == [b"one", b"two"]


def test_the_stream_ends_with_the_preview():
    """No reader hangs after the end."""
    latest = Latest()
    with serve_page(latest, 0, "") as url:
        latest.put(b"one")
        stream = get(urlsplit(url).port, f"/stream.mjpg?{urlsplit(url).query}")
        part(stream)

    assert stream.read() == b""


@pytest.mark.parametrize("host", ["evil.example", "192.168.1.7:8080", ""])
def test_a_page_of_another_name_gets_nothing(page, host):
    """A site that points its own name at 127.0.0.1 must not see the picture through the user's browser."""
    page[0].put(b"face")

    assert get(page[1], f"/stream.mjpg?{page[2]}", Host=host).status == 403


@pytest.mark.parametrize("path", ["/", "/stream.mjpg"])
@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong", "?token=%C3%A4", "?other=1"])
def test_another_user_of_this_machine_is_asked_for_the_token(page, path, query):
    """The port is everybody's; what the command printed is only for whoever started it."""
    page[0].put(b"face")

    answer = get(page[1], f"{path}{query}")

    text = answer.read().decode()
    assert answer.status == 403
    assert 'name="token"' in text
    assert "face" not in text
    assert page[2].removeprefix("token=") not in text


def test_every_preview_has_a_token_of_its_own():
    """An old one opens nothing."""
    with serve_page(Latest(), 0, "") as one, serve_page(Latest(), 0, "") as two:
        assert urlsplit(one).query != urlsplit(two).query
        assert len(urlsplit(one).query) > 20


@pytest.mark.parametrize("path", ["/favicon.ico", "/../../etc/passwd", "/stream"])
def test_nothing_else_is_served(page, path):
    """Two paths, no files."""
    assert get(page[1], path).status == 404


def test_only_this_machine_can_connect(page):
    """The server listens on the loopback address alone."""
    listening = Path("/proc/net/tcp").read_text().splitlines()
    mine = [line.split()[1] for line in listening if line.split()[1].endswith(f":{page[1]:04X}")]

    assert mine
    assert {address.split(":")[0] for address in mine} == {"0100007F"}


@pytest.mark.parametrize("emotions", [False, True])
def test_the_live_picture_has_a_box_around_the_face_and_a_line_below(edge_toml, astronaut_file, page, emotions):
    """From a camera to a browser's bytes."""
    config = load(edge_toml(f"file:{astronaut_file}", camera="loop = true\nrate_hz = 20.0"), EdgeConfig)
    config = replace(config, emotions=replace(config.emotions, enabled=emotions))
    seen = threading.Event()
    camera = threading.Thread(target=preview.show, args=[config, page[0], lambda: not seen.is_set()])

    camera.start()
    stream = get(page[1], f"/stream.mjpg?{page[2]}")
    picture = cv2.imdecode(np.frombuffer(part(stream), np.uint8), cv2.IMREAD_COLOR)
    seen.set()
    camera.join(10)

    changed = np.abs(picture[:512].astype(int) - cv2.imread(str(astronaut_file))).max(axis=2) > 90
    assert changed[65:176, 170:185].sum() > 50
    assert not changed[300:].any()
    assert picture[512:].max() > 150
    assert not camera.is_alive()


@pytest.mark.parametrize("width", [160, 640, 1920])
def test_the_line_fits_below_any_picture(width):
    """The picture stays as it is; the text ends before its right edge."""
    picture = np.full((90, width, 3), 90, np.uint8)

    both = preview.with_line(picture, advice([18] * 20, 24) + "; 4.1 frames/s")

    assert (both[:90] == 90).all()
    assert both[90:].max() > 100
    assert not both[90:, -4:].any()


def test_it_ends_by_itself_when_the_time_is_over(edge_toml, astronaut_file, capsys):
    """With exit status 0, and it has said where to look."""
    config = edge_toml(f"file:{astronaut_file}", camera="loop = true\nrate_hz = 20.0")

    assert preview.run(parsed("--config", config, "--port", "0", "--minutes", "0.001")) == 0
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")


def test_no_emotion_model_is_needed_without_emotions(edge_toml, astronaut_file, tmp_path):
    """Aiming the camera is about faces only."""
    path = edge_toml(f"file:{astronaut_file}", emotions=f'model = "{tmp_path / "none.tflite"}"')

    assert preview.run(parsed("--config", path, "--port", "0", "--minutes", "0.001")) == 0


def test_a_camera_that_is_named_takes_the_place_of_the_configured_one(edge_toml):
    """To try one after the other."""
    with pytest.raises(CameraError, match="usb:97: /dev/video97 does not exist"):
        preview.run(parsed("--config", edge_toml("pi"), "--port", "0", "--camera", "usb:97"))


def test_it_refuses_while_the_service_runs(edge_toml, tmp_path):
    """Two programs cannot have one camera, and a lesson is not to be watched."""
    with single_instance(tmp_path / "state"), pytest.raises(LockError, match="stop the service first"):
        preview.run(parsed("--config", edge_toml("pi")))


def test_a_port_that_is_taken_is_an_error_that_names_it(edge_toml, page, capsys):
    """Not a traceback."""
    assert preview.run(parsed("--config", edge_toml("pi"), "--port", page[1])) == 1
    assert (
        f"port {page[1]} cannot be used: Address already in use; choose another one by --port"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "arguments",
    [["--minutes", "0"], ["--minutes", "61"], ["--minutes", "nan"], ["--port", "70000"], ["--camera", "web"]],
)
def test_it_cannot_be_left_running_for_ever(arguments):
    """At most an hour; a port is a port, and a camera a camera."""
    with pytest.raises(SystemExit):
        parsed(*arguments)


def test_frames_stop_when_the_time_is_over(edge_toml, astronaut_file):
    """`show` asks before every frame."""
    config = load(edge_toml(f"file:{astronaut_file}", camera="realtime = false"), EdgeConfig)
    latest: list[bytes] = []
    put: Callable[[bytes], None] = latest.append
    collector = Latest()
    collector.put = put

    preview.show(config, collector, goes_on=lambda: False)

    assert latest == []
