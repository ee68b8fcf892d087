"""Pictures of classes whose faces are known: moving ones for `make run`, still ones for tests and benchmarks.

The faces are real ones that scikit-image carries (a subset of Labeled Faces in the Wild, and NASA's portrait of the
astronaut Eileen Collins); the room around them is drawn. Nothing is downloaded.
"""

import importlib.util
import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

Box = tuple[int, int, int, int]
"""xyxy in pixels, origin top left."""
WIDTH, HEIGHT = 1280, 720
CHANGE_S = 90.0
"""When the class of `lesson` changes."""
_SWAY_S = 6.0
"""Everybody sways, and is back after this time."""
RATE_HZ = 5.0
_UNSEEN = frozenset({4, 9, 13, 21, 22, 28, 30, 58, 59, 68, 76, 82, 83, 86, 96})
"""Faces of lfw_subset that YuNet or Haar misses at one of 70, 90, 110 and 140 px on a plain wall."""
_SKIN_BGR = np.array([0.80, 0.92, 1.08], np.float32)
"""Grey portraits get a warm tint, so that they do not look pasted into a coloured room."""
_FEATHER = 0.12
"""Share of a portrait's half side over which it fades into the room."""
_ROUNDNESS = 3.5
"""Exponent of the portrait's outline: 2 is a circle, which costs detections; a large one a square."""


@dataclass(frozen=True, slots=True)
class Portrait:
    """A square picture of one face, not yet in a room."""

    pixels: np.ndarray
    """(n, n) grey or (n, n, 3) bgr, uint8."""
    face: float
    """Height of the detector's box in sides of the picture."""
    label: str = ""
    """The emotion, one of EMOTIONS, where a dataset tells it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A portrait in a picture."""

    portrait: Portrait
    x: float
    """Centre, pixels of the picture."""
    y: float
    face_px: float
    """Height of the face's box."""
    tilt_deg: float = 0.0

    @property
    def box(self) -> Box:
        """Where a detector should find the face, about: faces are 0.8 times as wide as high."""
        half = self.face_px / 2
        return (
            round(self.x - 0.8 * half),
            round(self.y - half),
            round(self.x + 0.8 * half),
            round(self.y + half),
        )


def portraits() -> list[Portrait]:
    """The faces of scikit-image's lfw_subset that both detectors find, in its order."""
    faces = (np.load(_scikit_image("lfw_subset.npy"))[:100] * 255).astype(np.uint8)
    return [Portrait(face, 0.9) for number, face in enumerate(faces) if number not in _UNSEEN]


def astronaut() -> Portrait:
    """Eileen Collins' face, in colour."""
    return Portrait(astronaut_photo()[34:204, 138:308], 0.65)


def astronaut_photo() -> np.ndarray:
    """NASA's whole portrait of her, (512, 512, 3) uint8 bgr."""
    png = _scikit_image("astronaut.png").read_bytes()
    # libpng tells on the terminal that the colour profile is damaged, so it is cut out: length, name, data, checksum
    start = png.index(b"iCCP") - 4
    end = start + 12 + int.from_bytes(png[start : start + 4])
    return cv2.imdecode(np.frombuffer(png[:start] + png[end:], np.uint8), cv2.IMREAD_COLOR)


def _scikit_image(name: str) -> Path:
    """A file of the installed package, whose code is not loaded: it would need 200 MB of other packages."""
    package = importlib.util.find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("the faces come with the package scikit-image, which is not installed")
    return Path(package.submodule_search_locations[0], "data", name)


def dataset(folder: Path | zipfile.Path, label: str, count: int, face: float = 0.95) -> list[Portrait]:
    """The first `count` faces of one label in a folder of FER2013's Kaggle layout, `<folder>/<label>/*.png`.

    Raises:
        FileNotFoundError: If there are fewer.
    """
    inside = (folder / label).iterdir() if (folder / label).is_dir() else ()
    files = sorted((file for file in inside if file.name.endswith(".png")), key=lambda file: file.name)[:count]
    if len(files) < count:
        raise FileNotFoundError(f"{folder / label} has {len(files)} pictures, not {count}")
    pixels = (np.frombuffer(file.read_bytes(), np.uint8) for file in files)
    return [Portrait(cv2.imdecode(each, cv2.IMREAD_GRAYSCALE), face, label) for each in pixels]


def draw(picture: np.ndarray, placed: Placed) -> None:
    """Blend a portrait into `picture`, (h, w, 3) uint8 bgr, in place; what lies outside the picture is cut off."""
    side = placed.face_px / placed.portrait.face
    size = math.ceil(side * 1.2) + 2
    left, top = math.floor(placed.x - size / 2), math.floor(placed.y - size / 2)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + size, picture.shape[1]), min(top + size, picture.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    pixels = _bgr(placed.portrait.pixels)
    turn = cv2.getRotationMatrix2D((pixels.shape[1] / 2, pixels.shape[0] / 2), placed.tilt_deg, side / pixels.shape[0])
    shift = (placed.x - left - pixels.shape[1] / 2, placed.y - top - pixels.shape[0] / 2)
    turn[:, 2] = np.add(turn[:, 2], shift)
    inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    face = cv2.warpAffine(pixels, turn, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)[inside]
    alpha = cv2.warpAffine(_mask(pixels.shape[0]), turn, (size, size))[inside][..., None]
    room = picture[y0:y1, x0:x1]
    room[:] = np.clip(room * (1 - alpha) + face * alpha, 0, 255)


def still(faces: Sequence[Portrait], width: int, height: int, face_px: float) -> tuple[np.ndarray, list[Box]]:
    """A picture of the faces in a grid on a plain wall, (height, width, 3) uint8 bgr, and their boxes in order.

    Raises:
        ValueError: If they do not fit.
    """
    picture = _wall(width, height)
    step = face_px * 1.6
    columns = int(width // step)
    rows = math.ceil(len(faces) / max(columns, 1))
    if not columns or rows * step > height:
        raise ValueError(f"{len(faces)} faces of {face_px} px do not fit into {width}x{height}")
    columns = math.ceil(len(faces) / rows) if rows else columns
    boxes = []
    for number, portrait in enumerate(faces):
        row, column = divmod(number, columns)
        x, y = (column + 0.5) * width / columns, (row + 0.5) * height / rows
        placed = Placed(portrait, x, y, face_px)
        draw(picture, placed)
        boxes.append(placed.box)
    return picture, boxes


def video(path: Path) -> Path:
    """`path` with the moving scene as an MPEG-4 video; rendered once, in a few seconds, and then kept.

    Raises:
        OSError: If OpenCV cannot write it.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished-{path.name}")
    writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter.fourcc(*"mp4v"), RATE_HZ, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise OSError(f"OpenCV cannot write {unfinished}")
    for picture in lesson():
        writer.write(picture)
    writer.release()
    unfinished.replace(path)
    return path


def lesson(rate_hz: float = RATE_HZ) -> Iterator[np.ndarray]:
    """A short lesson in pictures, (HEIGHT, WIDTH, 3) uint8 bgr, `rate_hz` a second.

    Calm until CHANGE_S; then other expressions, which last, and for a while three heads are down.
    """
    for students, down, seconds in _LESSON:
        seats = [seat for number, seat in enumerate(_seats(students)) if number not in down]
        sway = [_picture(seats, number / rate_hz) for number in range(round(_SWAY_S * rate_hz))]
        yield from islice(cycle(sway), round(seconds * rate_hz))


@dataclass(frozen=True, slots=True)
class _Seat:
    """One place in the class, and who sits there."""

    student: Portrait
    x: float
    y: float
    face_px: float
    shirt_bgr: tuple[int, int, int]
    phase: float

    def draw(self, picture: np.ndarray, t_s: float) -> None:
        wave = 2 * math.pi * (t_s / _SWAY_S + self.phase)
        head = Placed(
            self.student,
            self.x + 0.10 * self.face_px * math.sin(wave),
            self.y + 0.04 * self.face_px * math.sin(2 * wave),
            self.face_px,
            3 * math.sin(wave + 1),
        )
        above_desk = picture[: round(self.y + 1.15 * self.face_px)]
        _body(above_desk, head, self.shirt_bgr)
        draw(above_desk, head)


def _seats(students: Sequence[int]) -> list[_Seat]:
    faces = [*portraits(), astronaut()]
    rows = (  # y, height of a face, x of each student
        (235.0, 78.0, (150.0, 400.0, 650.0, 900.0, 1150.0)),
        (500.0, 112.0, (230.0, 510.0, 790.0, 1060.0)),
    )
    shirts = ((120, 84, 62), (84, 110, 70), (76, 76, 140), (140, 120, 96), (60, 60, 66), (150, 140, 120))
    places = [(x, y, size) for y, size, xs in rows for x in xs]
    return [
        _Seat(faces[student], *place, shirts[number % len(shirts)], number * 0.37)
        for number, (student, place) in enumerate(zip(students, places, strict=True))
    ]


_CALM = (39, 43, 27, 80, 5, 18, -1, 21, 6)
_NOT_CALM = (39, 49, 44, 82, 81, 18, -1, 7, 50)
"""Per seat, a number in portraits(), -1 for the astronaut: the shipped network is sure what it reads in these faces."""
_LESSON: Sequence[tuple[Sequence[int], frozenset[int], float]] = (
    (_CALM, frozenset(), CHANGE_S),
    (_NOT_CALM, frozenset(), 18.0),
    (_NOT_CALM, frozenset({1, 4, 7}), 24.0),
    (_NOT_CALM, frozenset(), 108.0),
)
"""Who sits where, which seats' students are under the desk, and for how many seconds."""


def _picture(seats: Sequence[_Seat], t_s: float) -> np.ndarray:
    picture = _classroom()
    for seat in seats:
        seat.draw(picture, t_s)
    return picture


def _body(picture: np.ndarray, head: Placed, shirt_bgr: tuple[int, int, int]) -> None:
    x, y, size = round(head.x), round(head.y), head.face_px
    neck = (round(x - 0.2 * size), round(y + 0.3 * size)), (round(x + 0.2 * size), round(y + 0.8 * size))
    cv2.rectangle(picture, *neck, (96, 116, 140), -1)
    axes = (round(0.95 * size), round(0.75 * size))
    cv2.ellipse(picture, (x, round(y + 1.3 * size)), axes, 0, 0, 360, shirt_bgr, -1, cv2.LINE_AA)


def _classroom() -> np.ndarray:
    picture = _wall(WIDTH, HEIGHT)
    cv2.rectangle(picture, (380, 26), (900, 150), (150, 160, 165), -1)
    cv2.rectangle(picture, (390, 36), (890, 140), (74, 84, 58), -1)
    for left in (40, 1000):
        cv2.rectangle(picture, (left, 20), (left + 240, 150), (205, 200, 190), -1)
        cv2.rectangle(picture, (left + 10, 30), (left + 114, 140), (235, 222, 205), -1)
        cv2.rectangle(picture, (left + 126, 30), (left + 230, 140), (235, 222, 205), -1)
    for top, height in ((325, 46), (629, 91)):
        cv2.rectangle(picture, (0, top), (WIDTH, top + height), (92, 124, 158), -1)
        cv2.rectangle(picture, (0, top), (WIDTH, top + 6), (120, 152, 184), -1)
    return picture


def _wall(width: int, height: int) -> np.ndarray:
    shade = np.linspace(188, 140, height, dtype=np.float32)[:, None, None]
    wall = np.broadcast_to(shade * np.array([0.94, 0.99, 1.0], np.float32), (height, width, 3))
    return np.ascontiguousarray(wall, np.uint8)


def _bgr(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 3:
        return pixels.astype(np.float32)
    return pixels[..., None].astype(np.float32) * _SKIN_BGR


def _mask(side: int) -> np.ndarray:
    """(side, side) float32: 1 inside a rounded square, falling to 0 towards the border."""
    across = np.abs(np.linspace(-1, 1, side, dtype=np.float32)) ** _ROUNDNESS
    reach = (across[:, None] + across) ** (1 / _ROUNDNESS)
    return np.clip((1 - reach) / _FEATHER, 0, 1)
