"""A picture file's bytes to pixels: the same on the device and in training. Upright, as its metadata says."""

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
"""Endings of files that are taken for pictures. OpenCV's wheels read no HEIC, AVIF or GIF."""
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda picture: picture[:, ::-1],
    3: lambda picture: picture[::-1, ::-1],
    4: lambda picture: picture[::-1],
    5: lambda picture: picture.transpose(1, 0, 2),
    6: lambda picture: np.rot90(picture, -1),
    7: lambda picture: picture[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}
"""What makes a picture upright, by its orientation in Exif. Source: CIPA DC-008 (Exif 2.32), tag 274."""
_ORIENTATION = 274


def decode(data: bytes) -> np.ndarray | None:
    """The picture, (height, width, 3) uint8 bgr, turned as its metadata says; None if OpenCV cannot read it."""
    # OpenCV turns JPEG, PNG and TIFF by itself; WebP only from version 4.12 on
    webp = data[8:12] == b"WEBP"
    how = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION if webp else cv2.IMREAD_COLOR
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), how) if data else None
    except cv2.error:  # more pixels than OpenCV reads
        return None
    turn = _TURNS.get(_webp_orientation(data)) if webp else None
    return picture if picture is None or turn is None else np.ascontiguousarray(turn(picture))


def _webp_orientation(data: bytes) -> int:
    """The orientation in a WebP file's Exif chunk; 1, upright, if it has none. Source: RFC 9649."""
    position = 12
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        if data[position : position + 4] == b"EXIF":
            return _exif_orientation(data[position + 8 : position + 8 + size].removeprefix(b"Exif\0\0"))
        position += 8 + size + size % 2
    return 1


def _exif_orientation(tiff: bytes) -> int:
    """The orientation in the first directory of Exif's TIFF structure; 1 if it is not there."""
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
    start = int.from_bytes(tiff[4:8], order)
    for entry in range(int.from_bytes(tiff[start : start + 2], order)):
        row = tiff[start + 2 + 12 * entry : start + 14 + 12 * entry]
        if int.from_bytes(row[:2], order) == _ORIENTATION:
            return int.from_bytes(row[8:10], order)
    return 1
