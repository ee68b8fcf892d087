"""`benchmarks.detector --video`: how much the counts differ from one frame to the next."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.detector import Candidate, steadiness
from edge.camera.source import CameraError, Frame
from edge.config import DetectorConfig
from edge.vision.detector import Box

LARGE = DetectorConfig().min_face_px


class FacesByBrightness:
    """Finds a face for every 20 of the frame's brightness; only the first is large enough to be read."""

    def detect(self, frame: Frame) -> list[Box]:
        """The boxes."""
        number = round(frame.image.mean() / 20)
        return [(0, 0, LARGE, LARGE)][:number] + [(0, 0, LARGE, LARGE - 1)] * (number - 1)


def video(path: Path, *faces: int) -> Path:
    """Frames that are as bright as so many faces."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for number in faces:
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    return path


def told(path: Path, capsys: pytest.CaptureFixture) -> tuple[str, list[str]]:
    """The first line, and the figures of the one detector."""
    steadiness([Candidate("Fake", (1280, 720), "none", lambda config: FacesByBrightness())], path)
    heading, _, row = capsys.readouterr().out.splitlines()
    assert row.startswith("Fake   1280x720  none")
    return heading, row.split()[3:]


def test_changes_from_frame_to_frame_are_told_and_large_faces_apart(tmp_path, capsys):
    """Five frames of 4, 6, 5, 5 and 0 faces: changes of 2, 1, 0 and 5; the large one goes once."""
    path = video(tmp_path / "lesson.avi", 4, 6, 5, 5, 0)

    heading, figures = told(path, capsys)

    assert heading == f"{path}: 5 frames; faces found, and those of min_face_px and more"
    assert figures == ["4.0", "+-2.00", "0", "6", "0.8", "+-0.25"]


def test_a_video_of_one_frame_has_no_changes(tmp_path, capsys):
    """And is no error."""
    assert told(video(tmp_path / "moment.avi", 3), capsys)[1] == ["3.0", "+-0.00", "3", "3", "1.0", "+-0.00"]


def test_what_is_no_video_is_an_error_that_names_it(tmp_path, capsys):
    """Before anything is printed."""
    path = tmp_path / "lesson.avi"
    path.write_bytes(b"no video")

    with pytest.raises(CameraError, match=rf"{path}: not a video"):
        told(path, capsys)
