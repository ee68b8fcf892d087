"""Labelled pictures as people have them: label folders in a folder or zip, whatever lies around them; FER2013's csv."""

import csv
import io
import logging
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from contract.card import INPUT_SIZE
from contract.labels import EMOTIONS
from contract.pictures import ENDINGS, decode

log = logging.getLogger(__name__)

LABEL_NAMES: Mapping[str, str] = {label: label for label in EMOTIONS} | {
    "anger": "angry", "disgusted": "disgust", "afraid": "fear", "fearful": "fear", "scared": "fear",
    "happiness": "happy", "joy": "happy", "sadness": "sad", "surprised": "surprise",
}  # fmt: skip
"""Name of a label's folder, in small letters -> label."""
_SPLIT_NAMES = {"train": "train", "training": "train", "test": "test", "validation": "validation", "val": "validation",
                "valid": "validation", "private": "private"}  # fmt: skip
_CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
_CSV_USAGE = {"train": "Training", "test": "PublicTest", "private": "PrivateTest"}
_OTHER_PICTURES = {".heic", ".heif", ".avif", ".gif", ".jxl"}
"""What OpenCV's wheels cannot read."""

Parts = tuple[str, ...]


class DatasetError(Exception):
    """A dataset that cannot be read as it is; the text names the file or folder."""


class UnreadableError(Exception):
    """A picture that cannot be read; the text is the reason, such as "is empty"."""


class SplitMissingError(DatasetError):
    """The dataset is there but has no such split; own data often has no `test`."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture."""

    label: str
    name: str
    """File name, or `<usage>_<row>` from a csv."""
    where: str
    """To find it again."""
    content: Callable[[], bytes | np.ndarray]
    """Reads the file's bytes, or the (48, 48) uint8 pixels that a csv holds."""

    def pixels(self) -> np.ndarray:
        """The picture, upright: (48, 48) uint8 of a csv, (height, width, 3) uint8 bgr of a file.

        Raises:
            UnreadableError: If the file is no picture that can be read.
        """
        content = self.content()
        image = decode(content) if isinstance(content, bytes) else content
        if image is not None:
            return image
        if not content:
            raise UnreadableError("is empty")
        if content[4:8] == b"ftyp" or content[:3] == b"GIF" or content[:2] == b"\xff\x0a":
            raise UnreadableError(f"is HEIC, AVIF, GIF or JPEG XL; accepted are {' '.join(sorted(ENDINGS))}")
        raise UnreadableError("is damaged or no picture")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a folder, zip or csv holds, by the project's names of splits."""

    source: str
    splits: Mapping[str, list[Picture]]

    def named(self, split: str) -> list[Picture]:
        """The pictures of a split; `validation` is the test split of data without one, and then no split of its own.

        Raises:
            SplitMissingError: If there is none.
        """
        if split == "test" and "test" not in self.splits and "validation" in self.splits:
            log.warning("%s: validation/ is taken as the test split, for there is no test/", self.source)
            return self.splits["validation"]
        if split not in self.splits or (split == "validation" and "test" not in self.splits):
            raise SplitMissingError(f"{self.source}: no {split} split: {_HOW_TO_ADD[split]}")
        return self.splits[split]


_HOW_TO_ADD = {
    "train": "wanted are folders train/<label>/ with pictures, or <label>/ alone",
    "test": "add folders test/<label>/ with pictures that are not trained on, or measure by --split validation what is "
    "held out of train/",
    "validation": "wanted are folders validation/<label>/ beside test/",
    "private": "wanted are folders private/<label>/, or rows of the usage PrivateTest",
}


def read(path: Path) -> Layout:
    """What `path` holds: a folder, a zip or a csv. Nothing but a csv's pixels is read of the pictures yet.

    Raises:
        DatasetError: If there is nothing of the kind, or a folder beside those of labels has no label's name.
    """
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    if path.suffix == ".csv":
        return Layout(str(path), _from_csv(path.read_bytes(), str(path)))
    if path.is_dir():
        # links to files and folders are followed, since people link data sets
        found = (file for file in path.rglob("*") if file.is_file())
        return _layout({file.relative_to(path).parts: file.read_bytes for file in sorted(found)}, str(path))
    if not zipfile.is_zipfile(path):
        raise DatasetError(f"{path}: neither a folder, a zip nor a fer2013.csv")
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise DatasetError(f"{path}: damaged: {error}") from error
    members = (info.filename for info in archive.infolist() if not info.is_dir())
    return _layout({PurePosixPath(name).parts: _member(archive, name) for name in sorted(members)}, str(path))


def _member(archive: zipfile.ZipFile, name: str) -> Callable[[], bytes]:
    def content() -> bytes:
        try:
            return archive.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DatasetError(f"{archive.filename}: damaged: {error}") from error

    return content


def _layout(files: Mapping[Parts, Callable[[], bytes]], source: str) -> Layout:
    # what desktops and notebooks leave beside pictures is not worth a word
    seen = {parts: read for parts, read in files.items()
            if not any(part.startswith(".") or part == "__MACOSX" for part in parts)}  # fmt: skip
    table = next((parts for parts in seen if parts[-1].lower() in _CSV_NAMES), None)
    if table is not None:
        return Layout(source, _from_csv(seen[table](), source))
    by_split: dict[str, list[Parts]] = {}
    for parts in seen:
        split = _SPLIT_NAMES.get(parts[-3].lower()) if len(parts) >= 3 else None
        if split:
            by_split.setdefault(split, []).append(parts)
    if not by_split:
        by_split = {"train": _label_folders(seen)}
    splits = {split: [_picture(parts, seen[parts], source) for parts in chosen] for split, chosen in by_split.items()}
    _tell_left_out(source, seen.keys() - {parts for chosen in by_split.values() for parts in chosen})
    return Layout(source, {split: _pictures_only(found, source) for split, found in splits.items() if found})


def _label_folders(seen: Mapping[Parts, object]) -> list[Parts]:
    """The files of label folders, and of what lies beside these, where there are no folders of splits."""
    around = {parts[:-2] for parts in seen if len(parts) >= 2 and parts[-2].lower() in LABEL_NAMES}
    return [parts for parts in seen if len(parts) >= 2 and parts[:-2] in around]


def _picture(parts: Parts, content: Callable[[], bytes], source: str) -> Picture:
    label = LABEL_NAMES.get(parts[-2].lower())
    if label is None:
        raise DatasetError(f"{source}: {'/'.join(parts[-3:-1])} is none of the labels {', '.join(EMOTIONS)}")
    return Picture(label, parts[-1], "/".join(parts[-3:]), content)


def _pictures_only(found: list[Picture], source: str) -> list[Picture]:
    kinds = {picture.where: PurePosixPath(picture.name).suffix.lower() for picture in found}
    _tell_left_out(source, {tuple(where.split("/")) for where, kind in kinds.items()
                            if kind not in ENDINGS | _OTHER_PICTURES})  # fmt: skip
    return [picture for picture in found if kinds[picture.where] in ENDINGS | _OTHER_PICTURES]


def _tell_left_out(source: str, others: set[Parts]) -> None:
    if others:
        named = ", ".join(sorted("/".join(parts[-3:]) for parts in others)[:5])
        log.warning(
            "%s: %d files are no pictures in a label's folder and were left out: %s", source, len(others), named
        )


def _from_csv(data: bytes, source: str) -> dict[str, list[Picture]]:
    reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig", errors="replace")))
    # the copy that Kaggle calls icml_face_data.csv has blanks before its columns' names
    reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    if not {"emotion", "pixels", "Usage"} <= set(reader.fieldnames):
        raise DatasetError(f"{source}: columns are {reader.fieldnames}, not emotion, pixels, Usage")
    splits: dict[str, list[Picture]] = {}
    names = {usage: split for split, usage in _CSV_USAGE.items()}
    for number, row in enumerate(reader):
        if row["Usage"] in names:
            splits.setdefault(names[row["Usage"]], []).append(_from_row(row, number, source))
    return splits


def _from_row(row: Mapping[str, str], number: int, source: str) -> Picture:
    where = f"{source}: row {number + 2}"
    if row["emotion"] not in map(str, range(len(EMOTIONS))):
        raise DatasetError(f"{where}: emotion {row['emotion']} is not 0-6")
    label, text = EMOTIONS[int(row["emotion"])], row["pixels"]
    return Picture(label, f"{row['Usage']}_{number}", where, lambda: _pixels(text, where))


def _pixels(text: str, where: str) -> np.ndarray:
    try:
        # through a wider type: numpy wraps the text 999 into uint8 without a word
        pixels = np.array(text.split(), np.int64).reshape(INPUT_SIZE, INPUT_SIZE)
    except (ValueError, OverflowError) as error:
        raise DatasetError(f"{where}: {error}") from error
    if pixels.min() < 0 or pixels.max() > 255:
        raise DatasetError(f"{where}: pixels reach from {pixels.min()} to {pixels.max()}")
    return pixels.astype(np.uint8)
