"""`bench`: scenes with as many faces as they say, and every stage measured. No figure is asserted."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from edge.camera.source import CameraError
from edge.commands import bench
from edge.commands.bench import STAGES, cells, compose, faces_of, inner
from edge.config import DetectorConfig, RuntimeConfig
from edge.vision.detector import open_detector


def run(*arguments: object) -> int:
    """The command."""
    parser = argparse.ArgumentParser()
    bench.configure(parser)
    parser.add_argument("--config", type=Path)
    return bench.run(parser.parse_args([*map(str, arguments)]))


def test_every_scene_and_stage_is_measured(edge_toml, capsys):
    """As JSON on standard output, the table on standard error."""
    assert run("--config", edge_toml("pi"), "--frames", "2", "--json") == 0

    said = capsys.readouterr()
    figures = json.loads(said.out)
    assert [(scene["width"], scene["height"], scene["faces"]) for scene in figures["scenes"]] == list(bench.SCENES)
    assert all(list(scene["stage_ms"]) == list(STAGES) for scene in figures["scenes"])
    assert all(0 < median <= p99 for scene in figures["scenes"] for median, p99 in scene["stage_ms"].values())
    assert figures["machine"]
    assert figures["peak_rss_mb"] > 10
    assert "peak RSS" in said.err


def test_pictures_without_a_face_are_an_error(edge_toml, tmp_path, grey_frame):
    """It names the file."""
    path = tmp_path / "empty.png"
    path.write_bytes(bench.cv2.imencode(".png", grey_frame.image)[1].tobytes())

    with pytest.raises(CameraError, match=rf"{path}: no face was found"):
        run("--config", edge_toml("pi"), "--faces", path)


@pytest.mark.parametrize(("width", "height", "number"), bench.SCENES)
def test_a_scene_of_real_faces_has_as_many_as_it_says(yunet_file, astronaut, width, height, number):
    """The detector finds every face that was put there, where it was put."""
    detector = open_detector(DetectorConfig(model=yunet_file), RuntimeConfig())
    faces = list(faces_of([astronaut.image], detector))

    scene = compose(faces, (width, height), number)
    found = detector.detect(bench.Frame(scene, captured_s=0.0))

    placed = [inner(cell) for cell in cells(width, height, number)]
    centres = np.array([[(x0 + x1) / 2, (y0 + y1) / 2] for x0, y0, x1, y1 in placed])
    assert scene.shape == (height, width, 3)
    assert len(found) == number
    for x0, y0, x1, y1 in found:
        distance = np.linalg.norm(centres - [(x0 + x1) / 2, (y0 + y1) / 2], axis=1).min()
        assert distance < 0.2 * (y1 - y0)


def measured(faces: int, rate_hz: float) -> bench.Measured:
    """A scene's figures."""
    return bench.Measured(1280, 720, faces, {}, rate_hz, 4.0)


@pytest.mark.parametrize(
    ("rate_hz", "told"),
    [
        (2.0, "this machine reads 10 faces at 8.0 frames/s and 30 faces at 4.1 frames/s; your rate_hz = 2 fits"),
        (
            5.0,
            (
                "this machine reads 10 faces at 8.0 frames/s and 30 faces at 4.1 frames/s; "
                "your rate_hz = 5 is too fast: set rate_hz = 4.1, or a smaller detector"
            ),
        ),
    ],
)
def test_the_last_line_is_a_verdict(rate_hz, told):
    """Whether the rate that is configured fits a full room."""
    assert bench.verdict([measured(3, 30.0), measured(10, 8.0), measured(30, 4.12)], rate_hz) == told


def test_no_more_pictures_are_read_than_faces_are_needed(tmp_path, astronaut):
    """A folder of thousands must not fill the memory; faces are kept no larger than they are shown."""
    big = bench.cv2.resize(astronaut.image, (2048, 2048))
    for number in range(40):
        bench.cv2.imwrite(str(tmp_path / f"{number:02}.png"), big)
    read: list[bench.Path] = []

    class Everywhere:
        def detect(self, frame):
            read.append(frame)
            return [(100, 100, 900, 900), (1500, 1500, 2040, 2040)]

    faces = bench._faces(tmp_path, Everywhere())

    assert (len(faces), len(read)) == (30, 15)
    assert max(face.nbytes for face in faces) <= 256 * 256 * 3
