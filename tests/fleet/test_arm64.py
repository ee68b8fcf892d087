"""The Pi's wheels on the Pi's processors, by user emulation: the same faces and counts as on this machine.

Emulation is a hundred times slower than a processor, so a few pictures have to do. No time is measured; instructions
are counted, where there is a qemu that can.
"""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.fleet.fleet import PROJECT, VERSION, build_deb
from tests.fleet.lab import MIRROR, call, no_detector
from tests.needs import need

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(1800)]
pytest.importorskip("cryptography", reason="the fleet's tools are in .venv-fleet")

CACHE = Path(os.environ.get("LAB_DIR", "/var/tmp/classpulse-lab"))
QEMU = "qemu-aarch64-static"
PLUGINS = os.environ.get("CLASSPULSE_QEMU", "")
"""Folder with a qemu-aarch64 that was built with --enable-plugins, and its libinsn.so; Debian's has none."""
PICTURES = 2
_DEBIAN = (
    "python3.11-minimal,libpython3.11-minimal,libpython3.11-stdlib,libc6,libgcc-s1,libstdc++6,zlib1g,libexpat1,libffi8,"
    "libssl3,libbz2-1.0,liblzma5,libuuid1,libsqlite3-0"
)
_CONFIG = """
state = "{folder}/state"
[device]
site = "greenfield"
room = "room-101"
device = "cam-1"
[camera]
source = "file:{folder}/class"
realtime = false
[mqtt]
host = "127.0.0.1"
port = 9
tls = false
[clock]
wait_s = 0
[publish]
min_faces = 1
span_s = 0
"""


@pytest.fixture(scope="module")
def pi() -> list[str]:
    """The command of Python 3.11 for aarch64 with a package's wheels; the processor's name goes behind `-cpu`."""
    need(QEMU, "mmdebstrap", "dpkg-deb")
    if why := no_detector():
        pytest.skip(why)
    recipe = hashlib.sha256(_DEBIAN.encode() + (PROJECT / "requirements/edge-py311.txt").read_bytes()).hexdigest()[:8]
    root = CACHE / f"arm64-deb-{recipe}"
    if not root.exists():
        shutil.rmtree(CACHE / "arm64.new", ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        # `extract` unpacks and runs nothing of the other processor
        unpack = ("mmdebstrap", "--quiet", "--variant=extract", "--architectures=arm64", f"--include={_DEBIAN}")
        call(*unpack, "bookworm", CACHE / "arm64.new", *MIRROR)
        _unpack_wheels(CACHE / "arm64.new")
        (CACHE / "arm64.new").rename(root)
    places = ("PYTHONHOME", f"{root}/usr"), ("PYTHONPATH", f"{PROJECT}:{root}/wheels"), ("OMP_NUM_THREADS", "1")
    return [
        QEMU,
        "-L",
        str(root),
        *(part for name, value in places for part in ("-E", f"{name}={value}")),
        f"{root}/usr/bin/python3.11",
    ]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A few pictures of a class, as large as the main stream of a Pi's camera."""
    folder = tmp_path_factory.mktemp("pictures")
    call(PROJECT / ".venv/bin/python", "-m", "tests.fleet.pictures", folder, "pi", cwd=PROJECT)
    for picture in sorted(folder.iterdir())[PICTURES:]:
        picture.unlink()
    return folder


@pytest.fixture(scope="module")
def here(pictures, tmp_path_factory) -> list[dict]:
    """What the daemon counts on this machine."""
    return frames([str(PROJECT / ".venv/bin/python")], pictures, tmp_path_factory.mktemp("here"))


@pytest.mark.parametrize("processor", ["cortex-a72", "cortex-a53"])
def test_a_pi_counts_what_this_machine_counts(pi, pictures, here, tmp_path, processor):
    """Found in the shrunk picture, cropped from the large one; a winner may flip where int8 rounds differently."""
    there = frames([pi[0], "-cpu", processor, *pi[1:]], pictures, tmp_path)

    assert [frame["faces"] for frame in there] == [frame["faces"] for frame in here]
    assert sum(frame["faces"] for frame in there) > 0
    for mine, other in zip(here, there, strict=True):
        flipped = sum(abs(mine["counts"][label] - other["counts"][label]) for label in mine["counts"])
        moved = max(abs(mine["expected"][label] - other["expected"][label]) for label in mine["expected"])
        assert flipped <= 2
        assert moved <= 0.05 * mine["faces"]


@pytest.mark.parametrize("runtime", ["ai_edge_litert", "tflite_runtime"])
def test_a_pi_finds_the_faces_that_this_machine_finds(pi, pictures, runtime):
    """The same boxes to a pixel and scores to 0.001, in either runtime."""
    script = ("-m", "tests.fleet.boxes", str(pictures), runtime)
    here, there = (
        json.loads(call(*python, *script, cwd=PROJECT).stdout.splitlines()[-1])
        for python in ([PROJECT / ".venv/bin/python"], [pi[0], "-cpu", "cortex-a72", *pi[1:]])
    )

    assert len(here) == len(there) == PICTURES
    for mine, other in zip(here, there, strict=True):
        assert len(mine) == len(other) > 0
        for (*box, score), (*other_box, other_score) in zip(mine, other, strict=True):
            assert max(abs(a - b) for a, b in zip(box, other_box, strict=True)) < 1
            assert abs(score - other_score) < 0.001


def test_instructions_per_inference_are_told(pi, tell):
    """Of one face, program and libraries' start taken off. They rank models, they do not tell milliseconds."""
    if not PLUGINS:
        tell("instructions per inference, aarch64", "not counted: CLASSPULSE_QEMU names no qemu with plugins")
        pytest.skip("CLASSPULSE_QEMU names no folder with a plugin-enabled qemu-aarch64 and libinsn.so")

    one, three = (instructions(pi, times) for times in (1, 3))

    assert three > one
    tell("instructions per inference, aarch64", f"{(three - one) / 2e6:.1f} million")


def instructions(pi: list[str], times: int) -> int:
    """What a run of `times` inferences executes, in all."""
    fixed = ("PYTHONHASHSEED=0", "OPENBLAS_NUM_THREADS=1")  # the same path and one thread in every run
    plugin = ("-plugin", f"{PLUGINS}/libinsn.so,inline=on", "-d", "plugin", "-D", "/dev/stderr")
    options = [part for value in fixed for part in ("-E", value)]
    command = (f"{PLUGINS}/qemu-aarch64", "-cpu", "cortex-a72", *plugin, *options, *pi[1:])
    done = call(*command, "-m", "tests.fleet.inferences", str(times), cwd=PROJECT)
    return int(re.findall(r"(?:total )?insns: (\d+)", done.stderr)[-1])


def frames(python: list[str], pictures: Path, folder: Path) -> list[dict]:
    """Every frame that the daemon counts in `pictures`, run by `python`; there is no broker, its outbox has them."""
    shutil.copytree(pictures, folder / "class")
    (folder / "state").mkdir()
    (folder / "edge.toml").write_text(_CONFIG.format(folder=folder))
    command = [*python, "-m", "edge", "--config", str(folder / "edge.toml"), "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(folder / "state" / "outbox.sqlite")) as outbox:
        payloads = [payload for (payload,) in outbox.execute("SELECT payload FROM message ORDER BY id")]
    return [frame for payload in payloads for frame in json.loads(payload)["frames"]]


def _unpack_wheels(root: Path) -> None:
    """Those of the package that a Pi installs, as its postinst unpacks them."""
    deb = build_deb(root, VERSION, "12", package="classpulse-edge", arch="arm64")
    call("dpkg-deb", "-x", deb, root / "package")
    for wheel in (root / "package/usr/lib/classpulse/wheels").glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(root / "wheels")
    shutil.rmtree(root / "package")
    deb.unlink()
