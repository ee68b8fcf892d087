"""Detectors: real faces are found where they are, and a wrong file is an error that says what to do."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from contract.card import beside
from edge.camera.source import Frame
from edge.config import DetectorConfig, RuntimeConfig
from edge.vision.detector import OVERLAP, DetectorError, YuNet, boxes_in_frame, fitted, open_detector
from edge.vision.runtime import installed
from tests import yunet

RUNTIME = RuntimeConfig()
FACE = (180, 65, 270, 175)
"""The astronaut's."""


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two xyxy boxes."""
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    both = max(across, 0) * max(down, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def test_a_real_face_is_found_where_it_is(detector_config, astronaut):
    """One face, one box, around the face."""
    boxes = open_detector(detector_config, RUNTIME).detect(astronaut)

    assert len(boxes) == 1
    assert overlap(boxes[0], FACE) > 0.6


def test_a_picture_without_faces_gives_no_boxes(detector_config, grey_frame):
    """No face is no box, not an error."""
    assert open_detector(detector_config, RUNTIME).detect(grey_frame) == []


def test_boxes_are_in_pixels_of_the_frame_however_small_it_is_searched(yunet_file, astronaut):
    """A picture shrunk for the search gives boxes in pixels of the full picture."""
    detector = open_detector(DetectorConfig(model=yunet_file, width=200, height=200), RUNTIME)

    boxes = detector.detect(astronaut)

    assert len(boxes) == 1
    assert overlap(boxes[0], FACE) > 0.6


def test_faces_are_looked_for_in_the_second_stream_where_there_is_one(yunet_file, astronaut):
    """With `lores`, boxes come from it, still in pixels of the full picture."""
    detector = open_detector(DetectorConfig(model=yunet_file), RUNTIME)
    padded = cv2.copyMakeBorder(astronaut.image, 0, 0, 0, 64, cv2.BORDER_CONSTANT)
    small = cv2.resize(padded, (288, 256), interpolation=cv2.INTER_AREA)[:, :256]  # as rows of a camera are padded

    found = detector.detect(Frame(np.zeros_like(astronaut.image), 0.0, lores=small))

    assert len(found) == 1
    assert overlap(found[0], FACE) > 0.6


def test_one_detector_serves_pictures_of_any_size(yunet_file, astronaut):
    """The size of one picture does not spoil the next one's boxes."""
    detector = open_detector(DetectorConfig(model=yunet_file), RUNTIME)
    wide = cv2.copyMakeBorder(astronaut.image, 0, 0, 300, 300, cv2.BORDER_REPLICATE)

    first, second, third = (detector.detect(frame) for frame in (astronaut, Frame(wide, 0.0), astronaut))

    assert first == third
    assert overlap(second[0], (FACE[0] + 300, FACE[1], FACE[2] + 300, FACE[3])) > 0.6


def test_a_face_cut_by_the_border_keeps_its_whole_box(yunet_file, astronaut):
    """The box reaches over the border, so that the crop's centre and side are the face's."""
    detector = open_detector(DetectorConfig(model=yunet_file), RUNTIME)

    box = detector.detect(Frame(astronaut.image[90:].copy(), 0.0))[0]

    assert box[1] < 0


@pytest.mark.parametrize("size", [(960, 540), (900, 490)])
def test_a_picture_that_nearly_fits_is_searched_as_it_is(size):
    """A copy that is little larger shows no more faces."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)

    assert fitted(Frame(picture, 0.0), 960, 540, enlarged=2.0) is picture


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        *(((1280, 720), (960, 540)), ((1920, 1440), (720, 540)), ((100, 4000), (14, 540))),
        *(((640, 480), (720, 540)), ((200, 100), (400, 200)), ((1, 1), (2, 2))),
    ],
)
def test_pictures_are_shrunk_or_enlarged_until_both_sides_fit(size, wanted):
    """Width and height keep their ratio; the smallest are enlarged to the double, for more shows nothing."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)

    assert fitted(Frame(picture, 0.0), 960, 540, enlarged=2.0).shape[1::-1] == wanted


def test_small_pictures_are_enlarged_for_yunet_and_not_for_haar(yunet_file):
    """Haar takes what is enlarged for more faces than there are."""
    frame = Frame(np.zeros((270, 480, 3), np.uint8), 0.0)
    config = DetectorConfig(model=yunet_file)

    assert YuNet(config, RUNTIME).picture(frame).shape == (540, 960, 3)
    assert fitted(frame, config.width, config.height) is frame.image


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "row",
    [
        pytest.param((-60, 10, 40, 40), id="centre left of the picture"),
        pytest.param((300, 10, 50, 40), id="centre right of the picture"),
        pytest.param((10, 230, 40, 40), id="centre below the picture"),
        pytest.param((10, 10, 0.2, 40), id="no width"),
        pytest.param((10, 10, 40, 0), id="no height"),
        pytest.param((10, -300, 400, 700), id="far higher than the picture"),
        pytest.param((np.nan, 10, 40, 40), id="no number"),
        pytest.param((-np.inf, 10, np.inf, 40), id="infinite"),
    ],
)
def test_what_cannot_be_a_face_is_left_out(row):
    """A box that no crop can be made of is no face."""
    frame = Frame(np.zeros((240, 320, 3), np.uint8), 0.0)

    assert boxes_in_frame(np.array([row], np.float32), frame.image, frame) == []


def test_a_missing_yunet_file_is_an_error_that_says_what_to_do(tmp_path):
    """The file is named, and so are both ways out."""
    path = tmp_path / "none.tflite"

    with pytest.raises(DetectorError, match=rf"{tmp_path}/none.json.*make models.*haar"):
        open_detector(DetectorConfig(model=path), RUNTIME)


def test_a_configuration_of_version_0_1_is_told_the_new_file():
    """It named the file that was downloaded; what runs now is never chosen in silence."""
    with pytest.raises(DetectorError, match=r"yunet_n_640_640\.onnx: this version reads yunet\.tflite .*make models"):
        open_detector(DetectorConfig(model=Path("models/yunet_n_640_640.onnx")), RUNTIME)


def damaged(yunet_file: Path, folder: Path, **changed: object) -> Path:
    """A copy whose card says something else."""
    path = Path(shutil.copy(yunet_file, folder))
    document = json.loads(beside(yunet_file).read_text())
    beside(path).write_text(json.dumps(document | changed))
    return path


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        pytest.param({"version": 1}, "version = 1, but this code has 2", id="another version"),
        pytest.param({"source": {"sha256": "0" * 64}}, "source.sha256 = 0000", id="other weights"),
        pytest.param({"sha256": "0" * 64}, "yunet.tflite: its SHA-256 is .*, but its card says 0000", id="other file"),
        pytest.param({"source": {}}, "missing key sha256", id="no source"),
        pytest.param({"source": None}, "yunet.json: ", id="no table"),
    ],
)
def test_a_file_and_a_card_that_do_not_belong_together_are_refused(yunet_file, tmp_path, changed, told):
    """Card, file and this code must agree before the runtime parses the file."""
    path = damaged(yunet_file, tmp_path, **changed)

    with pytest.raises(DetectorError, match=f"{told}.*make models"):
        open_detector(DetectorConfig(model=path), RUNTIME)


def test_a_truncated_file_is_refused(yunet_file, tmp_path):
    """A half-written file never becomes a detector."""
    path = damaged(yunet_file, tmp_path)
    path.write_bytes(yunet_file.read_bytes()[:-1])

    with pytest.raises(DetectorError, match=r"its SHA-256 is .*make models"):
        open_detector(DetectorConfig(model=path), RUNTIME)


@pytest.mark.parametrize("package", installed())
def test_300_faces_are_found(yunet_file, astronaut, package):
    """A lecture hall's worst case: one box each."""
    face = cv2.resize(astronaut.image[20:220, 120:320], (48, 48), interpolation=cv2.INTER_AREA)
    detector = YuNet(DetectorConfig(model=yunet_file, width=1280, height=720), RuntimeConfig(package=package))

    assert len(detector.detect(Frame(np.tile(face, (12, 25, 1)), 0.0))) == 300


@pytest.mark.parametrize("package", installed())
@pytest.mark.parametrize("size", [(960, 540), (333, 251)])
def test_the_boxes_are_those_of_opencvs_yunet(yunet_file, astronaut, package, size):
    """Drawn and real faces, small and large, upright and leaning."""
    compare(YuNet(DetectorConfig(model=yunet_file), RuntimeConfig(package=package)), scenes(astronaut.image, size))


@pytest.mark.parametrize("package", installed())
def test_the_boxes_in_lecture_halls_are_those_of_opencvs_yunet(yunet_file, package):
    """On frames of real lecture halls, where CLASSPULSE_CLASSROOM names a zip of them."""
    path = os.environ.get("CLASSPULSE_CLASSROOM", "")
    if not path:
        pytest.skip("CLASSPULSE_CLASSROOM names no zip of pictures")
    with zipfile.ZipFile(path) as pictures:
        names = [name for name in pictures.namelist() if name.endswith(".jpg")][::11]
        frames = [cv2.imdecode(np.frombuffer(pictures.read(name), np.uint8), cv2.IMREAD_COLOR) for name in names]

    config = DetectorConfig(model=yunet_file, width=1280, height=720)
    compare(YuNet(config, RuntimeConfig(package=package)), [fitted(Frame(frame, 0.0), 1280, 720) for frame in frames])


@pytest.mark.parametrize("package", installed())
def test_memory_at_1280x720_is_bounded(yunet_file, package):
    """A hundred megabytes over the process before, 80 as measured: a Pi with 1 GB must hold the daemon."""
    code = (
        "import re, sys, numpy as np; from pathlib import Path; from edge.vision.detector import YuNet; "
        "from edge.config import DetectorConfig, RuntimeConfig; "
        "peak_kb = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]); "
        "detector = YuNet(DetectorConfig(model=Path(sys.argv[1])), RuntimeConfig(package=sys.argv[2], threads=1)); "
        "before = peak_kb(); detector.find(np.zeros((720, 1280, 3), np.uint8)); print(peak_kb() - before)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, yunet_file, package], capture_output=True, text=True, check=True
    )

    assert 20_000 < int(child.stdout) < 100_000  # kB; the input alone is 11,000


def scenes(picture: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    """Pictures of `size`, width and height, of a face at many scales and angles, amid noise."""
    rng = np.random.default_rng(0)
    made = []
    for scale, angle in itertools.product((0.1, 0.2, 0.35, 0.6, 1), (-40, -15, 0, 20)):
        scene = rng.integers(0, 255, (size[1], size[0], 3), np.uint8)
        for x, y in rng.uniform(0, size, (4, 2)):
            place = cv2.getRotationMatrix2D((225, 120), angle, scale)
            place[:, 2] += x - 225, y - 120
            cv2.warpAffine(picture, place, size, dst=scene, borderMode=cv2.BORDER_TRANSPARENT)
        made.append(scene)
    return made


def compare(detector: YuNet, pictures: list[np.ndarray]) -> None:
    """At least 99.5 % of OpenCV's boxes, and of the detector's, have a partner; scores agree within 0.001."""
    onnx = yunet.find_onnx()
    if onnx is None:
        pytest.skip(yunet.MISSING)
    buffer = np.frombuffer(onnx.read_bytes(), np.uint8)
    score = DetectorConfig().min_score
    reference = cv2.FaceDetectorYN.create("onnx", buffer, np.empty(0, np.uint8), (32, 32), score, OVERLAP)
    total = partners = 0
    for picture in pictures:
        reference.setInputSize(picture.shape[1::-1])
        wanted = reference.detect(picture)[1]
        wanted = np.empty((0, 15), np.float32) if wanted is None else wanted
        found = detector.find(picture)
        total += max(len(wanted), len(found))
        for face in wanted:
            ious = [overlap(corners(face), corners(other)) for other in found]
            if ious and max(ious) >= 0.9:
                partners += 1
                assert abs(face[14] - found[int(np.argmax(ious))][4]) < 0.001
    assert total >= 30
    assert partners >= 0.995 * total


def corners(face: np.ndarray) -> tuple[float, ...]:
    """Xyxy of a row that begins with x, y, width, height."""
    x, y, across, down = face[:4]
    return x, y, x + across, y + down
