"""docs/retraining.md, walked through on a tiny data set: its commands are taken from the page itself."""

import os
import re
import shutil
import struct
import subprocess
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from contract import card
from contract.labels import EMOTIONS

pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs TensorFlow: make test-train"),
]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path):
    """A copy of the project, since the page's commands put a new model into models/; the environments are linked."""
    copy = tmp_path / "classpulse"
    ignored = shutil.ignore_patterns(".*", "runs", "data", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignored)
    for name in (".venv", ".venv-train", ".venv-litert", ".venv-fleet"):
        if (ROOT / name).exists():
            (copy / name).symlink_to(ROOT / name)
    return copy


def photographs(folder: Path, count: int) -> None:
    """Of one astronaut, seven labels by a patch painted on her face; half of them lie on their side."""
    script = "import cv2; from demo.scene import astronaut_photo; cv2.imwrite('a.png', astronaut_photo()[:256, 96:352])"
    subprocess.run([ROOT / ".venv" / "bin" / "python", "-c", script], cwd=folder, check=True)
    astronaut, rng = cv2.imread(str(folder / "a.png")), np.random.default_rng(0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
    for index, label in enumerate(EMOTIONS):
        (folder / "phone" / label).mkdir(parents=True)
        for number in range(count):
            shade = astronaut * rng.uniform(0.7, 1.1) + rng.normal(0, 4, astronaut.shape)
            picture = np.clip(shade, 0, 255).astype(np.uint8)
            # one of seven patches on cheeks, nose and chin, where the crop is
            x, y = 100 + 12 * (index % 4), 100 + 24 * (index // 4)
            picture[y : y + 12, x : x + 12] = (0, 255)[index % 2]
            lying = np.ascontiguousarray(np.rot90(picture)) if number % 2 else picture
            data = cv2.imencode(".jpg", lying)[1].tobytes()
            if number % 2:
                data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
            (folder / "phone" / label / f"IMG_{number}.jpg").write_bytes(data)


def commands() -> list[str]:
    """The page's commands, with few epochs; make builds no environment, and the release has no wheels of others."""
    page = (ROOT / "docs" / "retraining.md").read_text()
    lines = "".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL)).splitlines()
    made = (".venv/.ready", ".venv-train/.ready", ".venv-litert/.ready", ".venv-fleet/.ready", "models")
    make = " ".join(["make", *(f"-o {target}" for target in made)])
    release = ".venv-fleet/bin/python -c 'from release.__main__ import *; from release.manifest import write_key; "
    release += 'key = Path("release.key"); write_key(key); build(ROOT, ROOT / "dist", key, [])\''
    few = "--epochs 8 --set average=0.9"
    return [
        release if line.startswith("make release") else line.replace("make", make, 1).replace("--epochs 60", few)
        for line in lines
    ]


@pytest.mark.skipif("CLASSPULSE_MODEL_MIRROR" not in os.environ, reason="CLASSPULSE_MODEL_MIRROR has YuNet's file")
def test_the_pages_commands_lead_from_photographs_to_a_signed_release(checkout):
    """From photographs of a phone to a model of own faces in models/, and to a release where the tools for it are."""
    photographs(checkout, 30)
    onnx = Path(os.environ["CLASSPULSE_MODEL_MIRROR"], "yunet_n_640_640.onnx")
    shutil.copy(onnx, checkout / "models")
    detector = (ROOT / ".venv" / "bin" / "python", "-m", "convert", "detector", onnx, "--out", "models")
    subprocess.run(detector, cwd=checkout, check=True)
    lines = commands()
    if not (checkout / ".venv-fleet").exists():
        lines = lines[:-1]

    for line in lines:
        ended = subprocess.run(["bash", "-c", line], cwd=checkout, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, line + ended.stdout + ended.stderr

    assert len(lines) >= 5
    stated, _ = card.read_with_model(checkout / "models" / "emotion_int8.tflite")
    assert stated.document["data"]["name"] == "my-faces"
    assert sum(stated.document["data"]["train"].values()) + sum(stated.document["data"]["validation"].values()) == 210
    assert stated.document["training"]["origin"]["initial"] == "emotion.keras"
    assert stated.document["int8"].keys() == {"tflite_runtime", "ai_edge_litert"}
    assert stated.document["int8"]["tflite_runtime"]["accuracy"] > 0.5
    assert stated.short in (checkout / "models" / "README.md").read_text()
    assert (checkout / "runs" / "mine" / "evaluation" / "mistakes.png").is_file()
    if (checkout / ".venv-fleet").exists():
        (release,) = (checkout / "dist").iterdir()
        assert (release / "models" / "emotion_int8.json").read_bytes() == (
            checkout / "models" / "emotion_int8.json"
        ).read_bytes()


def test_messages_of_the_page_are_those_of_the_code():
    """What the page tells to look for is what is printed."""
    page = (ROOT / "docs" / "retraining.md").read_text()
    sources = "".join(path.read_text() for folder in ("train", "convert") for path in (ROOT / folder).glob("*.py"))

    for said in ("pictures of every label", "is none of the labels", "unreadable pictures", "a run with other",
                 "is kept, the same command goes on", "too much is lost", "but this run trains",
                 "no {split} split: "):  # fmt: skip
        assert said.format(split="test") in page, said
        assert said in sources, said
