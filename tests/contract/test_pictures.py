"""Pictures are read upright, whatever kind of file and whatever turn its metadata asks for."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from contract.pictures import decode

TURNED = {1: "TL", 2: "TR", 3: "BR", 4: "BL", 5: "TL", 6: "TR", 7: "BR", 8: "BL"}
"""Orientation in Exif -> where the bright corner, top left in the file, is to be seen."""


@pytest.fixture
def picture():
    """20 high, 40 wide, bright at the top left."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:10, :20] = 255
    return pixels


def directory(orientation: int, order: str = "<") -> bytes:
    """Exif's TIFF structure with this one entry; `order` is < or >."""
    return (
        (b"II*\0" if order == "<" else b"MM\0*")
        + struct.pack(order + "IH", 8, 1)
        + struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0)
        + bytes(4)
    )


def jpeg(picture: np.ndarray, orientation: int) -> bytes:
    """With Exif in the first application segment, as phones write it."""
    plain, exif = cv2.imencode(".jpg", picture)[1].tobytes(), b"Exif\0\0" + directory(orientation)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]


def png(picture: np.ndarray, orientation: int) -> bytes:
    """With an eXIf chunk behind the header."""
    plain, chunk = cv2.imencode(".png", picture)[1].tobytes(), b"eXIf" + directory(orientation)
    return plain[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + plain[33:]


def webp(picture: np.ndarray, orientation: int, prefix: bytes = b"", order: str = "<") -> bytes:
    """In the extended form, Exif behind the pixels."""
    pixels = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()[12:]
    height, width = picture.shape[:2]
    exif = prefix + directory(orientation, order)
    header = (
        struct.pack("<4sIB3x", b"VP8X", 10, 8) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )
    body = b"WEBP" + header + pixels + b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(picture: np.ndarray, orientation: int) -> bytes:
    """With the entry in its first directory, which is written anew at the end."""
    plain = cv2.imencode(".tif", picture, [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()
    (start,) = struct.unpack("<I", plain[4:8])
    (count,) = struct.unpack("<H", plain[start : start + 2])
    rows = [plain[start + 2 + 12 * row : start + 14 + 12 * row] for row in range(count)]
    rows = [row for row in rows if row[:2] != struct.pack("<H", 274)] + [
        struct.pack("<HHIHH", 274, 3, 1, orientation, 0)
    ]
    rows.sort(key=lambda row: struct.unpack("<H", row[:2]))
    written = struct.pack("<H", len(rows)) + b"".join(rows) + bytes(4)
    return plain[:4] + struct.pack("<I", len(plain)) + plain[8:] + written


def webp_of_a_camera(picture: np.ndarray, orientation: int) -> bytes:
    """Big-endian, and with the prefix that belongs to JPEG alone and that some programs write."""
    return webp(picture, orientation, b"Exif\0\0", ">")


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("write", [jpeg, png, tiff, webp, webp_of_a_camera])
def test_a_picture_is_turned_as_its_metadata_says(picture, write, orientation):
    """All eight orientations: mirrored, upside down, and lying on either side."""
    found = decode(write(picture, orientation))

    corners = {"TL": found[4, 4], "TR": found[4, -5], "BL": found[-5, 4], "BR": found[-5, -5]}
    assert found.shape == ((40, 20, 3) if orientation >= 5 else (20, 40, 3))
    assert max(corners, key=lambda corner: corners[corner].sum()) == TURNED[orientation]


def test_a_picture_without_metadata_is_as_it_is(picture):
    """A plain WebP and a PNG keep their pixels."""
    for ending in (".png", ".webp"):
        data = cv2.imencode(ending, picture, [cv2.IMWRITE_WEBP_QUALITY, 101] if ending == ".webp" else [])[1].tobytes()
        assert (decode(data) == picture).all()


def test_grey_deep_and_transparent_pictures_become_bgr(picture):
    """One channel, sixteen bits and an alpha channel are all (height, width, 3) uint8."""
    for pixels in (picture[..., 0], picture.astype(np.uint16) * 257, np.dstack([picture, picture[..., :1]])):
        assert (decode(cv2.imencode(".png", pixels)[1].tobytes()) == picture).all()


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_a_damaged_webp_is_no_crash(picture, cut):
    """Wherever its bytes end."""
    decode(webp(picture, 6)[:-cut] if cut else b"")
