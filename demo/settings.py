"""The demonstration's edge.toml and aggregator.toml, and which detector can be had. Nothing is started here."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from contract.topics import Device
from demo.options import Options
from edge.config import PublishConfig

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "var" / "demo"
"""Everything that a demonstration writes."""
STORE = FOLDER / "store.sqlite"
DEVICE = Device("demo", "room-1", "cam-1")
YUNET = ROOT / "models" / "yunet_n_640_640.onnx"
_DOWNLOAD_S = 10.0
"""A newcomer waits this long for YuNet, once."""
Table = Mapping[str, object]


def detector() -> tuple[str, str]:
    """`yunet` or `haar`, and a line for people that says why."""
    failed = FOLDER / "yunet-not-had"
    if not YUNET.exists() and ("CLASSPULSE_MODEL_MIRROR" in os.environ or not failed.exists()) and not _download():
        FOLDER.mkdir(parents=True, exist_ok=True)
        failed.touch()
    if YUNET.exists():
        return "yunet", "detector  YuNet"
    return "haar", "detector  Haar, because YuNet's file could not be downloaded; `make models` tries again"


def min_faces(options: Options) -> int:
    """What the daemon goes by."""
    return PublishConfig().min_faces if options.min_faces is None else options.min_faces


def edge(options: Options, detector_name: str, camera: str, folder: Path = FOLDER) -> str:
    """edge.toml: `camera` is the daemon's source, its state goes below `folder`."""
    return toml(
        {"state": str(folder / "edge"), "credentials": str(folder)},
        device={"site": DEVICE.site, "room": DEVICE.room, "device": DEVICE.device},
        camera={"source": camera, "loop": True},
        detector={"name": detector_name, "model": str(YUNET)},
        emotions={"model": str(ROOT / "models" / "emotion_int8.tflite")},
        mqtt={"host": options.host, "port": options.port, "tls": False},
        publish={"health_s": 5.0, "min_faces": min_faces(options)},
        # a laptop's clock is taken as right: there is no systemd-timesyncd to ask in every container
        clock={"wait_s": 0.0, "synchronized": "/"},
    )


def aggregator(options: Options, page_port: int) -> str:
    """aggregator.toml; the page is for this machine only, as long as nobody makes a users file."""
    return toml(
        {"site": DEVICE.site, "models_dir": str(ROOT / "models"), "credentials": str(FOLDER)},
        mqtt={"host": options.host, "port": options.port, "tls": False, "client_id": "classpulse-demo"},
        store={"path": str(STORE)},
        summary={"every_s": 1.0},
        page={"port": page_port, "users": str(FOLDER / "users.json")},
    )


def toml(top: Table, **tables: Table) -> str:
    """A TOML document: the keys of `top`, then the tables. JSON's texts, numbers and truths are TOML's too."""
    lines = _lines(top)
    for name, table in tables.items():
        lines += ["", f"[{name}]", *_lines(table)]
    return "\n".join(lines) + "\n"


def _lines(table: Table) -> list[str]:
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]


def _download() -> bool:
    command = (sys.executable, ROOT / "models" / "download.py")
    try:
        return subprocess.run(command, capture_output=True, timeout=_DOWNLOAD_S, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False
