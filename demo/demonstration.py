"""One demonstration from start to end: broker, aggregator and daemon as processes, and what arrived."""

import hashlib
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from contract.topics import aggregator_state
from demo import settings, verdict
from demo.options import Options
from demo.parts import Parts
from demo.ports import HOST, free_port
from demo.settings import DEVICE, FOLDER, ROOT, STORE
from demo.state import wait_until_ready

_READY_S = 60.0
"""A part may take this long to start, and a first frame to arrive: a small computer under load is slow."""
_LINE_S = 5.0
"""Without a terminal for a live table there is one line this often."""
_PAGE_PORT = 8080
_PYTHON = sys.executable


class NothingArrivedError(RuntimeError):
    """The aggregator has no counts; the text says why."""


def demonstrate(options: Options, parts: Parts) -> None:
    """Start everything, show it, and return after the options' time.

    Raises:
        PartEndedError: If a part ended by itself.
        NotReadyError: If a part did not become ready.
        NothingArrivedError: If no counts arrived in time.
    """
    began = time.monotonic()
    _forget_the_last_one()
    if not options.broker:
        options = replace(options, broker=_start_broker(parts))
    (FOLDER / "broker").write_text(options.broker)
    detector, words = settings.detector()
    print(f"broker    {options.broker}\n{words}", flush=True)
    print(f"camera    {options.camera or 'a drawn class of real faces'}", flush=True)
    page_port = free_port(_PAGE_PORT)
    _start("aggregator", "aggregator", settings.aggregator(options, page_port), parts)
    _start("edge daemon", "edge", settings.edge(options, detector, options.camera or f"file:{_class_video()}"), parts)
    for topic in (aggregator_state(DEVICE.site), DEVICE.topic("state")):
        wait_until_ready(options.host, options.port, topic, parts.check, _READY_S)
    _wait_for_a_frame(parts)
    parts.start("page", _PYTHON, "-m", "aggregator", "--config", FOLDER / "aggregator.toml", "page")
    print(f"page      http://{HOST}:{page_port}/   (in some seconds)")
    print(f"watch     mosquitto_sub -h {options.host} -p {options.port} -v -t 'classpulse/#'   (or `make watch`)")
    end = f"for {options.seconds:.0f} s" if options.seconds else "until Ctrl-C"
    print(f"counts    since {time.monotonic() - began:.1f} s after the start, {end}\n", flush=True)
    _show(options, parts)
    _judge(options, parts)


def _judge(options: Options, parts: Parts) -> None:
    sums = verdict.arrived(STORE, DEVICE)
    if reason := verdict.complaint(sums, settings.min_faces(options)):
        raise NothingArrivedError(reason + parts.logs())
    print(f"\narrived   {verdict.in_words(sums)}")


def _forget_the_last_one() -> None:
    shutil.rmtree(FOLDER / "edge", ignore_errors=True)
    for file in FOLDER.glob(f"{STORE.name}*"):
        file.unlink()


def _start_broker(parts: Parts) -> str:
    part = parts.start("broker", _PYTHON, "-m", "demo.broker", output=subprocess.PIPE)
    address = part.process.stdout.readline().decode().strip() if part.process.stdout else ""
    if not address:
        part.process.wait()
        parts.check()
    return address


def _start(name: str, package: str, toml: str, parts: Parts) -> None:
    path = FOLDER / f"{package}.toml"
    path.write_text(toml)
    parts.start(name, _PYTHON, "-m", package, "--config", path, "run")


def _class_video() -> Path:
    """The drawn class; another version of its code draws another file."""
    version = hashlib.sha256((ROOT / "demo" / "scene.py").read_bytes()).hexdigest()[:8]
    path = FOLDER / f"class-{version}.mp4"
    if not path.exists():
        from demo.scene import video  # noqa: PLC0415 - OpenCV takes half a second to import; later starts need it not

        for older in FOLDER.glob("class-*.mp4"):
            older.unlink()
        print("drawing the class (once, some seconds)", flush=True)
        video(path)
    return path


def _wait_for_a_frame(parts: Parts) -> None:
    deadline = time.monotonic() + _READY_S
    while not verdict.arrived(STORE, DEVICE).frames:
        parts.check()
        if time.monotonic() > deadline:
            raise NothingArrivedError(f"no frame arrived at the aggregator within {_READY_S:.0f} s{parts.logs()}")
        time.sleep(0.1)


def _show(options: Options, parts: Parts) -> None:
    """The live table on a terminal, else a line now and then, until the time is over."""
    end = time.monotonic() + options.seconds if options.seconds else float("inf")
    if sys.stdout.isatty():
        table = parts.show("table", _PYTHON, "-m", "aggregator", "watch", "--broker", options.broker)
        _wait(end, parts)
        parts.end(table)
        return
    while time.monotonic() < end:
        print(f"          {verdict.in_words(verdict.arrived(STORE, DEVICE))}", flush=True)
        _wait(min(end, time.monotonic() + _LINE_S), parts)


def _wait(end: float, parts: Parts) -> None:
    while (left := end - time.monotonic()) > 0:
        parts.check()
        time.sleep(min(0.2, left))
