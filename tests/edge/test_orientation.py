"""Phones lay their pictures and videos on the side and say so in the metadata: the file camera turns them back."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera.file import open_video, read_picture

TURNS = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
"""Degrees clockwise -> the first two columns of the track's matrix. Source: ISO/IEC 14496-12, 8.3.2."""
BRIGHT = {0: "TL", 90: "TR", 180: "BR", 270: "BL"}


def bright_corner(picture: np.ndarray) -> str:
    """TL, TR, BL or BR."""
    corners = {"TL": picture[4, 4], "TR": picture[4, -5], "BL": picture[-5, 4], "BR": picture[-5, -5]}
    return max(corners, key=lambda corner: int(corners[corner].sum()))


@pytest.fixture
def lying():
    """32 high, 64 wide, bright at the top left."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:16, :32] = 255
    return pixels


def write_video(path: Path, picture: np.ndarray, degrees: int) -> None:
    """Three frames in an MP4 whose track header asks for this turn."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, picture.shape[1::-1])
    for _ in range(3):
        writer.write(picture)
    writer.release()
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    a, b, c, d = (value * 65536 for value in TURNS[degrees])
    data[matrix : matrix + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize("degrees", TURNS)
def test_a_video_is_turned_as_its_metadata_says(tmp_path, lying, degrees):
    """What was filmed upright is read upright."""
    write_video(tmp_path / "a.mp4", lying, degrees)

    found, picture = open_video(tmp_path / "a.mp4").read()

    assert found
    assert picture.shape == ((64, 32, 3) if degrees in (90, 270) else (32, 64, 3))
    assert bright_corner(picture) == BRIGHT[degrees]


def test_a_picture_is_turned_as_its_metadata_says(tmp_path, lying):
    """By the function that training reads with."""
    jpeg = cv2.imencode(".jpg", lying)[1].tobytes()
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
    (tmp_path / "a.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])

    picture = read_picture(tmp_path / "a.jpg")

    assert picture.shape == (64, 32, 3)
    assert bright_corner(picture) == "TR"
