"""Labelled faces from disk, and the part of them to choose by.

No keras here: `convert verify` reads the same data on the device.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from contract.card import INPUT_SIZE
from contract.labels import EMOTIONS
from contract.preprocess import grey, resize
from train import layouts
from train.layouts import DatasetError, Picture, SplitMissingError, UnreadableError

log = logging.getLogger(__name__)

VALIDATION_SHARE = 0.1
"""Part of the training split that is held out to choose by."""
MIN_PER_LABEL = 20
"""Fewer pictures of a label teach nothing, and leave one or two to choose by."""


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
        path: A folder or zip with `<split>/<label>/<picture>`, whatever lies around it, or FER2013's csv (itself, or a
            folder or zip that holds it). Label folders alone are a training split.
        split: "train", "test", "private" or "validation"; of data without a validation split beside its test split
            that is what `split_validation` holds out of "train".

    Raises:
        SplitMissingError: If the data has no such split.
        DatasetError: If nothing of the kind is there, a label has no pictures, or a picture is unreadable.
    """
    if split == "validation":
        return load_training(path)[1]
    return _faces(layouts.read(path).named(split), f"{path}: {split}")


def load_training(path: Path) -> tuple[Faces, Faces]:
    """The faces to train on, and the validation faces to choose by; errors as `load`."""
    layout = layouts.read(path)
    training = _faces(layout.named("train"), f"{path}: train")
    try:
        return training, _faces(layout.named("validation"), f"{path}: validation")
    except SplitMissingError:
        return split_validation(training)


def digest(faces: Faces) -> str:
    """SHA-256, hex, of pixels and labels in any order: two splits with the same one hold the same faces."""
    each = (bytes([label]) + image.tobytes() for image, label in zip(faces.images, faces.labels, strict=True))
    return hashlib.sha256(b"".join(sorted(hashlib.sha256(face).digest() for face in each))).hexdigest()


def pictures(faces: Faces) -> list[str]:
    """What names each picture whatever its file is called: 16 hex digits of the SHA-256 of its pixels."""
    return [hashlib.sha256(image).hexdigest()[:16] for image in faces.images]


def tell_copies(splits: Mapping[str, Faces], source: Path) -> None:
    """Warn of pictures that are in a split twice, or in two splits, where a network has seen the answer."""
    named = {split: Counter(pictures(faces)) for split, faces in splits.items()}
    for split, counts in named.items():
        if copies := counts.total() - len(counts):
            log.warning("%s: %d of the %d pictures of %s are copies of others", source, copies, counts.total(), split)
    for split, counts in list(named.items())[1:]:
        first = next(iter(named))
        if common := len(counts.keys() & named[first].keys()):
            log.warning("%s: %d pictures are in %s and in %s, too", source, common, split, first)


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


def require_enough(labels: np.ndarray, source: Path) -> None:
    """DatasetError that names every label with fewer than MIN_PER_LABEL pictures."""
    counts = np.bincount(labels, minlength=len(EMOTIONS))
    few = [f"{count} of {label}" for label, count in zip(EMOTIONS, counts, strict=True) if count < MIN_PER_LABEL]
    if few:
        raise DatasetError(f"{source}: {', '.join(few)}: training needs {MIN_PER_LABEL} pictures of every label")


def _faces(found: list[Picture], what: str) -> Faces:
    images, labels, names = [], [], []
    broken: list[str] = []
    resized = 0
    for picture in found:
        try:
            image = picture.pixels()
        except UnreadableError as error:
            broken.append(f"  {picture.where}: {error}")
            continue
        resized += image.shape[:2] != (INPUT_SIZE, INPUT_SIZE)
        images.append(resize(grey(image)))
        labels.append(EMOTIONS.index(picture.label))
        names.append(picture.name)
    if broken:
        listed = "\n".join(broken)
        raise DatasetError(f"{what}: {len(broken)} unreadable pictures; remove or replace them:\n{listed}")
    if resized:
        log.warning("%s: %d of %d pictures were not 48x48 and were resized", what, resized, len(images))
    for line in _added_up(found):
        log.warning("%s: %s", what, line)
    missing = [label for index, label in enumerate(EMOTIONS) if index not in set(labels)]
    if missing:
        raise DatasetError(f"{what}: no pictures of {', '.join(missing)}")
    order = np.lexsort((np.asarray(names), np.asarray(labels)))
    return Faces(np.stack(images), np.asarray(labels, np.int64), tuple(names)).take(order)


def _added_up(found: list[Picture]) -> Iterator[str]:
    folders: dict[str, Counter[str]] = {}
    for picture in found:
        folders.setdefault(picture.label, Counter()).update([Path(picture.where).parent.name])
    for label, counts in folders.items():
        if len(counts) > 1:
            yield f"{label} is " + " and ".join(f"{count} of {folder}/" for folder, count in counts.items())
