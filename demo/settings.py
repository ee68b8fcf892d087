"""The demonstration's ports and configurations, and which detector is available. Nothing is started here."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from contract.topics import Device
from demo.options import Options
from edge.config import PublishConfig
from service.config import dump

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "var" / "demo"
"""Everything that a demonstration writes."""
STORE = FOLDER / "store.sqlite"
BROKER = FOLDER / "broker"
"""Its address, while the demonstration runs."""
DEVICE = Device("demo", "room-1", "cam-1")
YUNET = ROOT / "models" / "yunet.tflite"
HOST = "127.0.0.1"
"""Broker and page are for this machine only."""
_DOWNLOAD_S = 10.0
"""The longest wait for YuNet's download; it is tried once."""


def detector() -> tuple[str, str]:
    """`yunet` or `haar`, and a line that says why."""
    failed = FOLDER / "no-yunet"
    if not YUNET.exists() and ("CLASSPULSE_MODEL_MIRROR" in os.environ or not failed.exists()) and not _download():
        FOLDER.mkdir(parents=True, exist_ok=True)
        failed.touch()
    if YUNET.exists():
        return "yunet", "detector  YuNet"
    return (
        "haar",
        "detector  Haar, which sees the front row at most: YuNet could not be downloaded; `make models` tries again",
    )


def min_faces(options: Options) -> int:
    """Of the options, or the daemon's own default."""
    return PublishConfig().min_faces if options.min_faces is None else options.min_faces


def edge(options: Options, detector_name: str, camera: str, folder: Path = FOLDER) -> str:
    """edge.toml: `camera` is the daemon's source, its state goes below `folder`."""
    return dump(
        {
            "state": str(folder / "edge"),
            "credentials": str(folder),
            "device": {"site": DEVICE.site, "room": DEVICE.room, "device": DEVICE.device},
            "camera": {"source": camera, "loop": True},
            "detector": {"name": detector_name, "model": str(YUNET)},
            "emotions": {"model": str(ROOT / "models" / "emotion_int8.tflite")},
            "mqtt": {"host": options.host, "port": options.port, "tls": False},
            "publish": {"health_s": 5.0, "min_faces": min_faces(options), "span_s": 0.0},
            # a laptop's clock is taken as right: there is no systemd-timesyncd to ask in every container
            "clock": {"wait_s": 0.0, "synchronized": "/"},
        }
    )


def aggregator(options: Options, page_port: int) -> str:
    """aggregator.toml; the page is for this machine only, as long as nobody makes a users file."""
    return dump(
        {
            "site": DEVICE.site,
            "models_dir": str(ROOT / "models"),
            "credentials": str(FOLDER),
            "mqtt": {"host": options.host, "port": options.port, "tls": False, "client_id": "classpulse-demo"},
            "store": {"path": str(STORE)},
            "summary": {"every_s": 1.0},
            # the drawn lesson lasts four minutes: a real one is given 90 s
            "attention": {"settle_s": 60.0, "lasts_s": 60.0},
            "page": {"port": page_port, "users": str(FOLDER / "users.json")},
        }
    )


def free_port(usual: int) -> int:
    """`usual`, or, if something listens there, a port of HOST that the kernel chooses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((HOST, usual))
            return usual
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _download() -> bool:
    try:
        for command in (["models/download.py"], ["-m", "convert", "detector"]):
            subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, timeout=_DOWNLOAD_S, check=True)
    except subprocess.SubprocessError:
        return False
    return True
