"""Labelled faces from disk: FER2013 in its two layouts, and any folder with one sub-folder per label.

No keras here: `convert verify` reads the same data on the device.
"""

import csv
import hashlib
import io
import logging
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from contract.card import INPUT_SIZE
from contract.labels import EMOTIONS
from contract.pictures import ENDINGS, decode
from contract.preprocess import grey, resize

log = logging.getLogger(__name__)

VALIDATION_SHARE = 0.1
"""Part of the training split that is held out to choose by."""
MIN_PER_LABEL = 20
"""Fewer pictures of a label teach nothing, and leave one or two to choose by."""
_CSV_USAGE = {"train": ("Training",), "test": ("PublicTest",), "private": ("PrivateTest",)}
FER_PLUS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "not_face",
)
"""What FER+ annotators could choose. Source: Barsoum et al. 2016, arXiv:1608.01041."""


class DatasetError(Exception):
    """A dataset that cannot be read as it is; the text names the file or folder."""


class SplitMissingError(DatasetError):
    """The dataset is there but has no such split; own data often has no `test`."""


@dataclass(frozen=True, slots=True)
class Faces:
    """Labelled faces, all arrays with one row per face."""

    images: np.ndarray
    """(n, 48, 48) uint8, grey."""
    labels: np.ndarray
    """(n,) int64, indices into EMOTIONS."""
    names: tuple[str, ...]
    """File names, or `<usage>_<row>` from a csv."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Faces":
        """The faces at `rows`, indices or a mask."""
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            names=tuple(np.asarray(self.names, dtype=object)[rows]),
        )


def load(path: Path, split: str) -> Faces:
    """All faces of one split, ordered by label and file name.

    Args:
        path: A folder or zip with `<split>/<label>/*.png` (the Kaggle layout), or the original `fer2013.csv` (itself,
            or a folder or zip that holds it). A folder or zip of label folders alone is a training split.
        split: "train", "test", "private", or "validation": what `split_validation` holds out of "train".

    Raises:
        SplitMissingError: If the data has no such split.
        DatasetError: If nothing of the kind is there, a label's folder is missing or empty, or a picture is unreadable.
    """
    if split == "validation":
        return split_validation(load(path, "train"))[1]
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    if path.suffix == ".csv":
        return _from_csv(path.read_bytes(), split, str(path))
    if path.is_dir():
        if (path / "fer2013.csv").is_file():
            return load(path / "fer2013.csv", split)
        return _from_pictures(_folder_files(path, split), split, str(path))
    if not zipfile.is_zipfile(path):
        raise DatasetError(f"{path}: neither a folder, a zip nor a fer2013.csv")
    try:
        with zipfile.ZipFile(path) as archive:
            table = next((name for name in archive.namelist() if PurePosixPath(name).name == "fer2013.csv"), None)
            if table is not None:
                return _from_csv(archive.read(table), split, str(path))
            return _from_pictures(_zip_files(archive, split), split, str(path))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DatasetError(f"{path}: damaged: {error}") from error


def digest(faces: Faces) -> str:
    """SHA-256, hex, of pixels and labels in any order: two splits with the same one hold the same faces."""
    each = (bytes([label]) + image.tobytes() for image, label in zip(faces.images, faces.labels, strict=True))
    return hashlib.sha256(b"".join(sorted(hashlib.sha256(face).digest() for face in each))).hexdigest()


def pictures(faces: Faces) -> list[str]:
    """What names each picture whatever its file is called: 16 hex digits of the SHA-256 of its pixels."""
    return [hashlib.sha256(image).hexdigest()[:16] for image in faces.images]


def split_validation(faces: Faces) -> tuple[Faces, Faces]:
    """Training and validation faces of a training split.

    A face belongs to validation by a hash of its pixels, so the split is the same on every machine and in every
    layout, and identical pictures (FER2013 has hundreds) never stand on both sides. Where chance gives a label less
    than half its share, the faces of its lowest hashes are held out.
    """
    digests = np.array([int.from_bytes(hashlib.sha256(image).digest()[:4], "big") for image in faces.images])
    chosen = set(digests[digests < VALIDATION_SHARE * 2**32].tolist())
    for label in np.unique(faces.labels):
        own = np.sort(digests[faces.labels == label])
        chosen.update(own[: max(1, int(len(own) * VALIDATION_SHARE / 2))].tolist())
    held_out = np.isin(digests, list(chosen))
    return faces.take(~held_out), faces.take(held_out)


def require_enough(faces: Faces, source: Path) -> None:
    """DatasetError that names every label with fewer than MIN_PER_LABEL pictures."""
    counts = np.bincount(faces.labels, minlength=len(EMOTIONS))
    few = [f"{count} of {label}" for label, count in zip(EMOTIONS, counts, strict=True) if count < MIN_PER_LABEL]
    if few:
        raise DatasetError(f"{source}: {', '.join(few)}: training needs {MIN_PER_LABEL} pictures of every label")


def votes(path: Path, names: tuple[str, ...]) -> np.ndarray:
    """FER+ votes as probabilities, (n, 10) float32 in FER_PLUS's order; rows of zeros for faces without votes.

    Args:
        path: csv with the columns `file` and FER_PLUS, one row per picture.
        names: The faces' file names.

    Raises:
        DatasetError: If the columns are others, or no name has votes.
    """
    try:
        with path.open(newline="") as lines:
            reader = csv.DictReader(lines)
            if tuple(reader.fieldnames or ()) != ("file", *FER_PLUS):
                raise DatasetError(f"{path}: columns are {reader.fieldnames}, not file and {', '.join(FER_PLUS)}")
            by_name = {row["file"]: [float(row[column]) for column in FER_PLUS] for row in reader}
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{path}: {error}") from error
    counts = np.array([by_name.get(name, [0.0] * len(FER_PLUS)) for name in names], np.float32)
    if not counts.any():
        raise DatasetError(f"{path}: has votes for none of the {len(names)} faces")
    shares: np.ndarray = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _folder_files(root: Path, split: str) -> Iterator[tuple[str, str, bytes]]:
    folder = root / split
    if not folder.is_dir() and split == "train" and any((root / label).is_dir() for label in EMOTIONS):
        folder = root
    if not folder.is_dir():
        raise SplitMissingError(f"{folder}: no such folder; expected one sub-folder per label in it")
    for file in sorted(folder.glob("*/*")):
        if _seen(file.parts[-2:]):
            yield file.parent.name, file.name, file.read_bytes()


def _zip_files(archive: zipfile.ZipFile, split: str) -> Iterator[tuple[str, str, bytes]]:
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    parts = {name: PurePosixPath(name).parts for name in sorted(names) if _seen(PurePosixPath(name).parts)}
    chosen = [name for name, own in parts.items() if len(own) >= 3 and own[-3] == split]
    if not chosen and split == "train":
        plain = (name for name, own in parts.items() if len(own) >= 2 and own[-2] in EMOTIONS)
        chosen = [name for name in plain if not set(parts[name][:-2]) & _CSV_USAGE.keys()]
    if not chosen:
        raise SplitMissingError(f"{archive.filename}: no pictures in {split}/<label>/")
    for name in chosen:
        yield parts[name][-2], parts[name][-1], archive.read(name)


def _seen(parts: tuple[str, ...]) -> bool:
    """False of what desktops and notebooks leave beside pictures."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _from_pictures(files: Iterator[tuple[str, str, bytes]], split: str, source: str) -> Faces:
    images, labels, names = [], [], []
    broken, others, resized = [], [], 0
    for label, name, data in files:
        if label not in EMOTIONS:
            raise DatasetError(f"{source}: {split}/{label} is none of the labels {', '.join(EMOTIONS)}")
        if PurePosixPath(name).suffix.lower() not in ENDINGS:
            others.append(f"{split}/{label}/{name}")
            continue
        picture = decode(data)
        if picture is None:
            broken.append(f"{split}/{label}/{name}")
            continue
        resized += picture.shape[:2] != (INPUT_SIZE, INPUT_SIZE)
        images.append(resize(grey(picture)))
        labels.append(EMOTIONS.index(label))
        names.append(name)
    if broken:
        raise DatasetError(f"{source}: {len(broken)} unreadable pictures: {', '.join(broken[:5])}")
    if others:
        log.warning(
            "%s: %d files are none of %s and were left out: %s",
            source, len(others), " ".join(sorted(ENDINGS)), ", ".join(others[:5]),
        )  # fmt: skip
    if resized:
        log.warning("%s: %d of %d pictures of %s were not 48x48 and were resized", source, resized, len(images), split)
    return _checked(images, labels, names, f"{source}: {split}")


def _from_csv(data: bytes, split: str, source: str) -> Faces:
    images, labels, names = [], [], []
    reader = csv.DictReader(io.StringIO(data.decode(errors="replace")))
    if not {"emotion", "pixels", "Usage"} <= set(reader.fieldnames or ()):
        raise DatasetError(f"{source}: columns are {reader.fieldnames}, not emotion, pixels, Usage")
    for number, row in enumerate(reader):
        if row["Usage"] not in _CSV_USAGE[split]:
            continue
        try:
            # through a wider type: numpy wraps the text 999 into uint8 without a word
            pixels = np.array(row["pixels"].split(), np.int64).reshape(INPUT_SIZE, INPUT_SIZE)
            label = int(row["emotion"])
        except (ValueError, OverflowError) as error:
            raise DatasetError(f"{source}: row {number + 2}: {error}") from error
        if pixels.min() < 0 or pixels.max() > 255:
            raise DatasetError(f"{source}: row {number + 2}: pixels reach from {pixels.min()} to {pixels.max()}")
        if not 0 <= label < len(EMOTIONS):
            raise DatasetError(f"{source}: row {number + 2}: emotion {label} is not 0-6")
        images.append(pixels.astype(np.uint8))
        labels.append(label)
        names.append(f"{row['Usage']}_{number}")
    if not images:
        raise SplitMissingError(f"{source}: no row has the usage {' or '.join(_CSV_USAGE[split])}")
    return _checked(images, labels, names, f"{source}: {split}")


def _checked(images: list[np.ndarray], labels: list[int], names: list[str], what: str) -> Faces:
    missing = [label for index, label in enumerate(EMOTIONS) if index not in set(labels)]
    if missing:
        raise DatasetError(f"{what}: no pictures of {', '.join(missing)}")
    order = np.lexsort((np.asarray(names), np.asarray(labels)))
    return Faces(np.stack(images), np.asarray(labels, np.int64), tuple(names)).take(order)
