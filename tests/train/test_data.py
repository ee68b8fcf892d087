"""Reading labelled faces, and refusing what cannot be learned from."""

import struct
import zipfile
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest

from contract.labels import EMOTIONS
from train.data import (
    MIN_PER_LABEL,
    DatasetError,
    Faces,
    SplitMissingError,
    digest,
    load,
    pictures,
    require_enough,
    split_validation,
    votes,
)


def zipped(folder, path, prefix=""):
    """A zip of the folder's files below `prefix`."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, prefix + str(file.relative_to(folder)))
    return path


def faces_of(images, labels):
    """Faces with numbers for names."""
    return Faces(np.asarray(images, np.uint8), np.asarray(labels, np.int64), tuple(map(str, range(len(labels)))))


def test_folder_zip_and_csv_give_the_same_faces(tmp_path, draw):
    """The Kaggle layout, the same in a zip with a folder around it, and the original csv are one data set."""
    root = tmp_path / "data"
    draw(root / "train", dict.fromkeys(EMOTIONS, 3))
    lines = ["emotion,pixels,Usage"]
    for file in sorted(root.rglob("*.png"), key=lambda file: (EMOTIONS.index(file.parent.name), file.name)):
        pixels = " ".join(map(str, cv2.imread(str(file), cv2.IMREAD_GRAYSCALE).ravel()))
        lines.append(f"{EMOTIONS.index(file.parent.name)},{pixels},Training")
    (tmp_path / "fer2013.csv").write_text("\n".join(lines))

    found = load(root, "train")

    assert digest(found) == digest(load(zipped(root, tmp_path / "a.zip", "archive/fer2013/"), "train"))
    assert digest(found) == digest(load(tmp_path / "fer2013.csv", "train"))
    assert digest(found) == digest(load(tmp_path, "train"))
    assert np.bincount(found.labels).tolist() == [3] * 7


def test_a_plain_folder_of_label_folders_is_a_training_split(tmp_path, drawn):
    """Own data needs no `train` folder around the labels, in a folder or a zip."""
    assert digest(load(drawn, "train")) == digest(load(zipped(drawn, tmp_path / "a.zip"), "train"))
    with pytest.raises(SplitMissingError, match="test"):
        load(drawn, "test")


def test_a_test_split_alone_is_no_training_split(tmp_path, draw):
    """What is held out is never trained on because `train` is missing."""
    draw(tmp_path / "data" / "test", dict.fromkeys(EMOTIONS, 2))

    with pytest.raises(SplitMissingError):
        load(zipped(tmp_path / "data", tmp_path / "a.zip"), "train")
    with pytest.raises(SplitMissingError):
        load(tmp_path / "data", "train")


def test_a_missing_label_is_refused_by_name(tmp_path, draw):
    """Six labels are not enough, and the seventh is named."""
    draw(tmp_path, {label: 2 for label in EMOTIONS if label != "fear"})

    with pytest.raises(DatasetError, match="no pictures of fear"):
        load(tmp_path, "train")


def test_an_unknown_label_is_refused_by_name(tmp_path, draw):
    """A folder that is none of the seven labels is not read over."""
    draw(tmp_path / "train", dict.fromkeys(EMOTIONS, 1))
    draw(tmp_path / "train", {"neutral": 1})
    (tmp_path / "train" / "neutral").rename(tmp_path / "train" / "bored")

    with pytest.raises(DatasetError, match="train/bored is none of the labels"):
        load(tmp_path, "train")


def test_unreadable_pictures_are_counted_and_named(drawn):
    """An empty file and a text with a picture's ending are both told."""
    (drawn / "sad" / "empty.png").write_bytes(b"")
    (drawn / "sad" / "text.png").write_text("no picture")

    with pytest.raises(DatasetError, match=r"2 unreadable pictures: train/sad/empty.png, train/sad/text.png"):
        load(drawn, "train")


def test_what_is_no_picture_is_left_out_and_said(tmp_path, drawn, caplog):
    """A gif and a text are named; what desktops leave behind is not worth a word."""
    for name in ("sad/photo.gif", "sad/notes.txt", "sad/.DS_Store", "__MACOSX/sad/._1.png"):
        (drawn / name).parent.mkdir(parents=True, exist_ok=True)
        (drawn / name).write_bytes(b"something")
    packed = tmp_path / "a.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(path for path in drawn.rglob("*") if path.is_file()):
            archive.write(file, str(file.relative_to(drawn)))

    found = load(packed, "train")

    assert len(found) == 7 * 24
    assert "2 files" in caplog.text
    assert "sad/notes.txt, train/sad/photo.gif" in caplog.text
    assert "DS_Store" not in caplog.text


def test_a_damaged_zip_is_refused(tmp_path, drawn):
    """Bytes that changed in the middle of a picture are a damaged file, not a crash."""
    data = bytearray(zipped(drawn, tmp_path / "a.zip").read_bytes())
    data[400:420] = b"x" * 20
    (tmp_path / "a.zip").write_bytes(data)

    with pytest.raises(DatasetError, match=r"a\.zip: damaged"):
        load(tmp_path / "a.zip", "train")


def test_other_sizes_and_colours_are_converted_and_said(drawn, caplog):
    """A large colour picture becomes 48x48 grey, with one warning that counts them."""
    cv2.imwrite(str(drawn / "happy" / "large.png"), np.full((200, 160, 3), 90, np.uint8))

    found = load(drawn, "train")

    assert found.images.shape == (7 * 24 + 1, 48, 48)
    assert "1 of 169 pictures" in caplog.text


def test_faces_that_lie_on_their_side_in_the_file_are_read_upright(tmp_path, draw):
    """As phones write them: the pixels turned, and metadata that says so."""
    draw(tmp_path / "upright" / "train", dict.fromkeys(EMOTIONS, 2))
    for file in (tmp_path / "upright").rglob("*.png"):
        lying = tmp_path / "lying" / file.relative_to(tmp_path / "upright")
        lying.parent.mkdir(parents=True, exist_ok=True)
        turned = cv2.imencode(".png", np.rot90(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)))[1].tobytes()
        # Exif's orientation 6: to be turned a quarter clockwise
        chunk = b"eXIf" + b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
        checksum = struct.pack(">I", zlib.crc32(chunk))
        lying.write_bytes(turned[:33] + struct.pack(">I", len(chunk) - 4) + chunk + checksum + turned[33:])

    assert digest(load(tmp_path / "lying", "train")) == digest(load(tmp_path / "upright", "train"))


@pytest.mark.parametrize(
    ("row", "said"),
    [("9,{pixels},Training", "emotion 9"), ("0,1 2 3,Training", "row 2"), ("0,{big},Training", "row 2")],
)
def test_a_bad_csv_row_is_told_by_its_number(tmp_path, row, said):
    """An unknown label, too few pixels and a pixel above 255 name their row."""
    pixels = " ".join(["7"] * 2304)
    text = row.format(pixels=pixels, big=pixels[:-1] + "999")
    (tmp_path / "fer2013.csv").write_text(f"emotion,pixels,Usage\n{text}\n")

    with pytest.raises(DatasetError, match=said):
        load(tmp_path, "train")


def test_a_csv_with_other_columns_is_refused(tmp_path):
    """The columns found are told."""
    (tmp_path / "fer2013.csv").write_text("a,b\n1,2\n")

    with pytest.raises(DatasetError, match="columns are"):
        load(tmp_path, "train")


@pytest.mark.parametrize("name", ["missing", "notes.txt"])
def test_what_is_no_data_set_is_refused(tmp_path, name):
    """A path that is not there, and a file of another kind."""
    (tmp_path / "notes.txt").write_text("hello")

    with pytest.raises(DatasetError, match=name):
        load(tmp_path / name, "train")


def test_validation_is_the_same_whatever_the_order():
    """The split follows the pixels, so shuffling or adding faces moves none to the other side."""
    rng = np.random.default_rng(0)
    faces = faces_of(rng.integers(0, 256, (700, 48, 48)), np.arange(700) % 7)
    order = rng.permutation(700)

    _, held_out = split_validation(faces)
    _, shuffled = split_validation(faces.take(order))
    _, fewer = split_validation(faces.take(np.arange(600)))

    assert set(held_out.names) == set(shuffled.names)
    assert set(fewer.names) >= {name for name in held_out.names if int(name) < 600}
    assert 0.05 < len(held_out) / 700 < 0.15


def test_identical_pictures_stand_on_one_side():
    """A copy in the training faces would tell the answer of the held-out one, even under another label."""
    rng = np.random.default_rng(0)
    images = np.repeat(rng.integers(0, 256, (140, 48, 48)), 2, axis=0)
    faces = faces_of(images, np.arange(280) % 7)

    training, held_out = split_validation(faces)

    assert not {image.tobytes() for image in training.images} & {image.tobytes() for image in held_out.images}


def test_every_label_has_validation_faces(drawn):
    """However few there are, each label can be chosen by."""
    training, held_out = split_validation(load(drawn, "train"))

    assert set(held_out.labels) == set(training.labels) == set(range(7))


def test_too_few_pictures_are_refused_with_their_counts(tmp_path, draw):
    """Each label below the minimum is named with its number."""
    draw(tmp_path, dict.fromkeys(EMOTIONS, MIN_PER_LABEL) | {"fear": 3, "sad": 19})

    with pytest.raises(DatasetError, match=r"3 of fear, 19 of sad: training needs 20"):
        require_enough(load(tmp_path, "train"), tmp_path)


def test_votes_become_shares_and_faces_without_any_zeros(tmp_path):
    """Ten votes per face; what is not in the file is a row of zeros."""
    header = "file,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,not_face"
    (tmp_path / "votes.csv").write_text(f"{header}\na.png,4,6,0,0,0,0,0,0,0,0\n")

    found = votes(tmp_path / "votes.csv", ("a.png", "b.png"))

    assert found[0, :2].tolist() == pytest.approx([0.4, 0.6])
    assert not found[1].any()


@pytest.mark.parametrize("content", [None, "file,happy\na.png,1\n"])
def test_a_votes_file_of_another_kind_is_refused(tmp_path, content):
    """Missing, or with other columns."""
    if content:
        (tmp_path / "votes.csv").write_text(content)

    with pytest.raises(DatasetError, match=r"votes\.csv"):
        votes(tmp_path / "votes.csv", ("a.png",))


def test_a_picture_is_known_by_its_pixels():
    """FER2013 has two files of one name under two labels: names do not tell pictures apart."""
    dark, bright = np.zeros((48, 48)), np.full((48, 48), 200)
    found = faces_of([dark, bright, dark], [0, 1, 2])

    first, second, third = pictures(replace(found, names=("same.png", "same.png", "other.png")))

    assert first == third != second
