"""Reading labelled faces, and refusing what cannot be learned from."""

import shutil
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
    Faces,
    digest,
    load,
    load_training,
    pictures,
    require_enough,
    split_validation,
    tell_copies,
)
from train.layouts import DatasetError, SplitMissingError
from train.votes import FER_PLUS, votes


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


def test_a_folder_is_read_whatever_lies_around_it(tmp_path, draw):
    """Kaggle's `images/train` and `images/validation`, from a folder as from a zip: validation is the test split."""
    draw(tmp_path / "a" / "images" / "train", dict.fromkeys(EMOTIONS, 30))
    draw(tmp_path / "a" / "images" / "validation", dict.fromkeys(EMOTIONS, 4), seed=1)
    packed = zipped(tmp_path / "a", tmp_path / "a.zip", "archive/")

    for data in (tmp_path / "a", tmp_path / "a" / "images", packed):
        assert len(load(data, "train")) == 7 * 30
        assert len(load(data, "test")) == 7 * 4
        training, validation = load_training(data)
        assert len(training) + len(validation) == 7 * 30
        assert digest(load(data, "validation")) == digest(validation)
    assert digest(load(packed, "test")) == digest(load(tmp_path / "a", "test"))


def test_it_is_said_that_validation_is_the_test_split(tmp_path, draw, caplog):
    """A line, since `validation` otherwise means what is held out to choose by."""
    draw(tmp_path / "train", dict.fromkeys(EMOTIONS, 3))
    draw(tmp_path / "validation", dict.fromkeys(EMOTIONS, 2), seed=1)

    load(tmp_path, "test")

    assert "validation/ is taken as the test split, for there is no test/" in caplog.text


def test_a_validation_split_beside_a_test_split_is_chosen_by(tmp_path, draw):
    """Then all of train/ is trained on, and nothing of it held out."""
    for seed, (split, count) in enumerate([("train", 9), ("Valid", 3), ("test", 2)]):
        draw(tmp_path / split, dict.fromkeys(EMOTIONS, count), seed=seed)

    training, validation = load_training(tmp_path)

    assert (len(training), len(validation), len(load(tmp_path, "test"))) == (63, 21, 14)
    assert len(load(tmp_path, "validation")) == 21


def test_label_folders_have_many_names(tmp_path, draw, caplog):
    """Of other data sets; two folders of one label are added up, and that is said."""
    draw(tmp_path / "train", dict.fromkeys(EMOTIONS, 2))
    for label, name in [("angry", "Anger"), ("happy", "Happiness"), ("surprise", "SURPRISED"), ("fear", "fearful"),
                        ("disgust", "Disgusted"), ("sad", "sadness"), ("neutral", "Neutral")]:  # fmt: skip
        (tmp_path / "train" / label).rename(tmp_path / "train" / name)
    draw(tmp_path / "train", {"happy": 3}, seed=1)

    found = load(tmp_path, "train")

    assert np.bincount(found.labels).tolist() == [2, 2, 2, 5, 2, 2, 2]
    assert "happy is 2 of Happiness/ and 3 of happy/" in caplog.text


def test_pictures_outside_of_label_folders_are_told(tmp_path, draw, caplog):
    """Not silently ignored, at whatever depth."""
    draw(tmp_path / "train", dict.fromkeys(EMOTIONS, 2))
    draw(tmp_path / "more", {"happy": 1}, seed=1)
    draw(tmp_path / "train" / "happy" / "second camera", {"happy": 1}, seed=2)

    assert len(load(tmp_path, "train")) == 14
    assert "2 files are no pictures in a label's folder and were left out" in caplog.text


@pytest.mark.parametrize("header", ["emotion, Usage, pixels", "\ufeffemotion,Usage,pixels"])
def test_fer2013s_csv_is_read_in_all_its_forms(tmp_path, header):
    """Blanks before the columns' names, as in icml_face_data.csv, and a byte order mark."""
    rows = [f"{number % 7},{usage},{' '.join([str(number)] * 2304)}"
            for number, usage in enumerate(["Training"] * 14 + ["PublicTest"] * 7)]  # fmt: skip
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "icml_face_data.csv").write_text("\n".join([header, *rows]), encoding="utf-8")

    assert len(load(tmp_path / "data", "train")) == 14
    assert load(tmp_path / "data" / "icml_face_data.csv", "test").images[0, 0, 0] == 14


def test_copies_are_counted_and_told(tmp_path, draw, caplog):
    """The same picture twice in one split, and in two splits."""
    for split, seed in (("train", 0), ("test", 1)):
        draw(tmp_path / split, dict.fromkeys(EMOTIONS, 3), seed=seed)
    for target in ("train/sad/copy.png", "train/happy/copy.png", "test/sad/copy.png"):
        shutil.copy(tmp_path / "train" / "sad" / "sad-000.png", tmp_path / target)

    tell_copies({split: load(tmp_path, split) for split in ("train", "test")}, tmp_path)

    assert "2 of the 23 pictures of train are copies of others" in caplog.text
    assert "1 pictures are in test and in train, too" in caplog.text
    assert "pictures of test" not in caplog.text


def test_without_a_test_split_it_is_said_what_to_add(drawn):
    """By `evaluate` and `verify`, which measure it."""
    with pytest.raises(SplitMissingError, match=r"add folders test/<label>/ .* or measure by --split validation"):
        load(drawn, "test")


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


def test_every_unreadable_picture_is_listed_with_its_reason(drawn):
    """An empty file, a text with a picture's ending, and a phone's HEIC, also under another ending."""
    (drawn / "sad" / "empty.png").write_bytes(b"")
    (drawn / "sad" / "text.png").write_text("no picture")

    (drawn / "sad" / "phone.heic").write_bytes(b"\0\0\0 ftypheic")
    (drawn / "sad" / "renamed.jpg").write_bytes(b"\0\0\0 ftypheic")

    with pytest.raises(DatasetError) as refused:
        load(drawn, "train")

    first, *listed = str(refused.value).splitlines()
    assert "4 unreadable pictures" in first
    assert [line.split(":")[0].split("/")[-1] for line in listed] == [
        "empty.png",
        "phone.heic",
        "renamed.jpg",
        "text.png",
    ]
    assert listed[0].endswith("is empty")
    assert listed[3].endswith("is damaged or no picture")
    for line in listed[1:3]:
        assert "HEIC" in line
        assert ".jpg" in line.split("accepted are")[1]


def test_what_is_no_picture_is_left_out_and_said(tmp_path, drawn, caplog):
    """A text and a table are named; what desktops leave behind is not worth a word."""
    for name in ("sad/list.xlsx", "sad/notes.txt", "sad/.DS_Store", "__MACOSX/sad/._1.png"):
        (drawn / name).parent.mkdir(parents=True, exist_ok=True)
        (drawn / name).write_bytes(b"something")
    packed = tmp_path / "a.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(path for path in drawn.rglob("*") if path.is_file()):
            archive.write(file, str(file.relative_to(drawn)))

    found = load(packed, "train")

    assert len(found) == 7 * 24
    assert "2 files" in caplog.text
    assert "sad/list.xlsx, sad/notes.txt" in caplog.text
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
        require_enough(load(tmp_path, "train").labels, tmp_path)


def test_votes_become_shares_and_faces_without_any_zeros(tmp_path):
    """Ten votes per face; what is not in the file is a row of zeros."""
    header = "file,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,not_face"
    (tmp_path / "votes.csv").write_text(f"{header}\na.png,4,6,0,0,0,0,0,0,0,0\n")

    found = votes(tmp_path / "votes.csv", ("a.png", "b.png"))

    assert found[0, :2].tolist() == pytest.approx([0.4, 0.6])
    assert not found[1].any()


def test_the_votes_of_fer_plus_itself_go_with_the_rows_of_the_csv(tmp_path):
    """fer2013new.csv has a row for each row of fer2013.csv, and names of pictures where they are faces."""
    header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    rows = "Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0\nPublicTest,,0,0,0,0,0,0,0,0,0,10"
    (tmp_path / "fer2013new.csv").write_text(f"{header}\n{rows}\n")

    found = votes(tmp_path / "fer2013new.csv", ("Training_0", "PublicTest_1", "fer0000000.png", "PublicTest_0", ""))

    assert found[0, FER_PLUS.index("anger")] == pytest.approx(0.3)
    assert found[1, FER_PLUS.index("not_face")] == 1
    assert (found[2] == found[0]).all()
    assert not found[3:].any()


def test_votes_for_other_pictures_are_refused(tmp_path):
    """Kaggle's names of FER2013's pictures are not the rows of its csv."""
    header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    (tmp_path / "votes.csv").write_text(f"{header}\nTraining,fer0000000.png,4,0,0,1,3,2,0,0,0,0\n")

    with pytest.raises(DatasetError, match=r"Training_10118481\.png; fer2013new\.csv goes with fer2013\.csv"):
        votes(tmp_path / "votes.csv", ("Training_10118481.png",))


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
