"""One demonstration from start to end: broker, aggregator and daemon as processes, and what they counted."""

import hashlib
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from aggregator.store.windows import Sums
from contract.topics import aggregator_state
from demo import result, settings
from demo.options import Options
from demo.processes import Processes
from demo.settings import BROKER, DEVICE, FOLDER, HOST, ROOT, STORE, free_port

_READY_S = 60.0
"""A process may take this long to start, and a first frame to be stored: a small computer under load is slow."""
_BROKER_S = 5.0
_LINE_S = 5.0
"""Without a terminal there is no live table, but a line this often."""
_PAGE_PORT = 8080
_PYTHON = sys.executable


class NothingStoredError(RuntimeError):
    """The aggregator has no counts; the text says why."""


class NotReadyError(RuntimeError):
    """A process did not become ready in time; the text says which."""


def demonstrate(options: Options, processes: Processes) -> None:
    """Start everything, show it, and return after the time in the options.

    Raises:
        ProcessEndedError: If a process ended by itself.
        NotReadyError: If a process did not become ready.
        NothingStoredError: If no counts were stored in time.
    """
    began = time.monotonic()
    _remove_last_run(store=options.fresh)
    before = result.stored(STORE, DEVICE)
    if not options.broker:
        options = replace(options, broker=_start_broker(processes))
    BROKER.write_text(options.broker)
    detector, words = settings.detector()
    print(f"broker    {options.broker}\n{words}", flush=True)
    print(f"camera    {options.camera or 'a drawn class of real faces'}", flush=True)
    page_port = free_port(_PAGE_PORT)
    _start("aggregator", "aggregator", settings.aggregator(options, page_port), processes)
    _start(
        "edge daemon", "edge", settings.edge(options, detector, options.camera or f"file:{_class_video()}"), processes
    )
    for topic in (aggregator_state(DEVICE.site), DEVICE.topic("state")):
        _wait_until_ready(options, topic, processes)
    _wait_for_a_frame(before, processes)
    processes.start("page", _PYTHON, "-m", "aggregator", "--config", FOLDER / "aggregator.toml", "page")
    print(f"page      http://{HOST}:{page_port}/   (in some seconds)")
    if not options.camera:
        print("lesson    calm for 90 s, then it changes; a good minute later the page says so")
    print(f"watch     mosquitto_sub -h {options.host} -p {options.port} -v -t 'classpulse/#'   (or `make watch`)")
    end = f"for {options.seconds:.0f} s" if options.seconds else "until Ctrl-C"
    print(f"counts    since {time.monotonic() - began:.1f} s after the start, {end}\n", flush=True)
    _show(options, before, processes)
    _check_result(options, before, processes)


def _check_result(options: Options, before: Sums, processes: Processes) -> None:
    sums = result.since(before, result.stored(STORE, DEVICE))
    if reason := result.failure(sums, settings.min_faces(options)):
        raise NothingStoredError(reason + processes.logs())
    print(f"\narrived   {result.describe(sums)}")


def _remove_last_run(*, store: bool) -> None:
    shutil.rmtree(FOLDER / "edge", ignore_errors=True)
    for file in FOLDER.glob(f"{STORE.name}*") if store else ():
        file.unlink()


def _start_broker(processes: Processes) -> str:
    broker = processes.start("broker", _PYTHON, "-m", "demo.broker", output=subprocess.PIPE)
    address = broker.popen.stdout.readline().decode().strip() if broker.popen.stdout else ""
    if not address:
        broker.popen.wait()
        processes.check()
    return address


def _start(name: str, package: str, toml: str, processes: Processes) -> None:
    path = FOLDER / f"{package}.toml"
    path.write_text(toml)
    processes.start(name, _PYTHON, "-m", package, "--config", path, "run")


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


def _wait_until_ready(options: Options, topic: str, processes: Processes) -> None:
    """Return when a retained `state` on `topic` is `ready`."""
    states: list[bytes] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: states.append(bytes(message.payload))
    deadline = time.monotonic() + _READY_S
    _connect(client, options, processes)
    client.subscribe(topic, qos=1)
    try:
        while not (states and b"ready" in states[-1]):
            processes.check()
            if (code := client.loop(0.1)) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise NotReadyError(f"the broker {options.broker} ended the connection: {code.name}")
            if time.monotonic() > deadline:
                raise NotReadyError(f"no `ready` on {topic} within {_READY_S:.0f} s")
    finally:
        client.disconnect()


def _connect(client: paho.Client, options: Options, processes: Processes) -> None:
    """Wait some seconds for a broker that has just been started."""
    deadline = time.monotonic() + _BROKER_S
    while True:
        try:
            client.connect(options.host, options.port)
        except OSError as error:
            processes.check()
            if time.monotonic() > deadline:
                raise NotReadyError(f"the broker {options.broker} cannot be reached: {error}") from error
            time.sleep(0.1)
        else:
            return


def _wait_for_a_frame(before: Sums, processes: Processes) -> None:
    deadline = time.monotonic() + _READY_S
    while result.stored(STORE, DEVICE).frames <= before.frames:
        processes.check()
        if time.monotonic() > deadline:
            raise NothingStoredError(f"the aggregator stored no frame within {_READY_S:.0f} s{processes.logs()}")
        time.sleep(0.1)


def _show(options: Options, before: Sums, processes: Processes) -> None:
    """The live table on a terminal, else a line now and then, until the time is over."""
    end = time.monotonic() + options.seconds if options.seconds else float("inf")
    if sys.stdout.isatty():
        table = processes.show("table", _PYTHON, "-m", "aggregator", "watch", "--broker", options.broker)
        _wait(end, processes)
        processes.end(table)
        return
    while time.monotonic() < end:
        print(f"          {result.describe(result.since(before, result.stored(STORE, DEVICE)))}", flush=True)
        _wait(min(end, time.monotonic() + _LINE_S), processes)


def _wait(end: float, processes: Processes) -> None:
    while (left := end - time.monotonic()) > 0:
        processes.check()
        time.sleep(min(0.2, left))
