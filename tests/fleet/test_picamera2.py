"""The Pi's camera adapter on the real picamera2 and libcamera, with libcamera's virtual camera in place of a sensor.

That camera plays pictures as NV12 and knows no ISP, so colour and the second stream's size cannot be tested here.
"""

import hashlib
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests.fleet.fleet import PROJECT
from tests.fleet.lab import MIRROR, call
from tests.needs import need

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(1800)]

CACHE = Path(os.environ.get("LAB_DIR", "/var/tmp/classpulse-lab"))
PINS = Path(__file__).with_name("picamera2-py313.txt")
_PACKAGES = (
    "python3,python3-libcamera,libcamera-ipa,python3-numpy,python3-prctl,python3-av,python3-piexif,python3-libarchive-c,"
    "python3-jsonschema,python3-tqdm,python3-pil"
)
_CAMERA = """
"Virtual0":
  supported_formats:
  - {width: 2304, height: 1296, frame_rates: [5, 30]}
  frames: {path: /frames}
  location: CameraLocationFront
  model: Virtual
"""


@pytest.fixture(scope="module")
def trixie() -> Path:
    """A root with libcamera from Debian, picamera2 from its pinned wheel, and a virtual camera that plays a class."""
    need("mmdebstrap", "gcc")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    recipe = hashlib.sha256(_PACKAGES.encode() + PINS.read_bytes()).hexdigest()[:8]
    root = CACHE / f"picamera2-{recipe}"
    if not root.exists():
        new = CACHE / "picamera2.new"
        shutil.rmtree(new, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        call(
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={_PACKAGES}",
            "trixie",
            new,
            *MIRROR,
            timeout_s=1500,
        )
        _unpack_wheels(new)
        new.rename(root)
    shared = ("gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o")
    call(*shared, root / "opt/libdmabuf.so", Path(__file__).with_name("dmabuf.c"), "-ldl")
    camera = root / "usr/share/libcamera/pipeline/virtual/virtual.yaml"
    camera.parent.mkdir(parents=True, exist_ok=True)
    camera.write_text(_CAMERA)
    _feed(root / "frames")
    for package in ("contract", "edge", "models", "service", "tests"):
        shutil.rmtree(root / "project" / package, ignore_errors=True)
        shutil.copytree(PROJECT / package, root / "project" / package, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def test_the_adapter_reads_both_streams_and_survives_a_pause(trixie):
    """Frames have the size that was asked for, show what the camera plays, and come again after stop and start."""
    environment = (
        "env",
        "LD_PRELOAD=/opt/libdmabuf.so",
        "PYTHONPATH=/project:/opt/wheels",
        "LIBCAMERA_LOG_LEVELS=*:ERROR",
    )
    script = "/project/tests/fleet/virtual_camera.py"
    told = json.loads(call("chroot", trixie, *environment, "python3", script, "/frames").stdout.splitlines()[-1])

    assert told["main"] == [[1944, 2304]] * 4  # NV12: 1296 rows of brightness, 648 of colour
    assert told["asked"] == [[2304, 1296], [1280, 720]]
    assert told["lores"] == [[1296, 2304, 3]] * 4  # this camera gives no smaller stream; the adapter takes what it gets
    assert told["times"] == sorted(told["times"])
    assert max(told["off"]) < 2, "brightness levels, on average, from the nearest picture that was fed"


def _feed(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    call(PROJECT / ".venv/bin/python", "-m", "tests.fleet.pictures", folder, cwd=PROJECT)
    for number, picture in enumerate(sorted(folder.iterdir())):
        picture.rename(folder / f"{number}.jpg")  # libcamera's names


def _unpack_wheels(root: Path) -> None:
    wheels = root / "opt/wheels"
    fetch = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
    tags = ("--python-version", "3.13", "--implementation", "cp", "--only-binary=:all:")
    platforms = [part for glibc in range(28, 16, -1) for part in ("--platform", f"manylinux_2_{glibc}_x86_64")]
    call(
        *fetch,
        *tags,
        *platforms,
        "--platform",
        "manylinux2014_x86_64",
        "--require-hashes",
        "-r",
        PINS,
        "--dest",
        wheels,
    )
    for wheel in wheels.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(wheels)
        wheel.unlink()
