"""How much of a core the aggregator needs per message: alone, and from a real mosquitto to committed rows.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.aggregator [--messages 20000] [--devices 50] [--frames 1] [--rooms 100]

Ratios of one run are worth more than numbers of two: other work on the machine changes all of them.
"""

import argparse
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from aggregator.analysis.cards import read_cards
from aggregator.analysis.mix import Estimator
from aggregator.analysis.rooms import Rooms
from aggregator.config import AttentionConfig, MqttConfig, SummaryConfig
from aggregator.ingest.batch import RawMessage, read
from aggregator.ingest.mqtt import MqttSource
from aggregator.store.sqlite import SqliteStore
from aggregator.store.windows import WINDOW_S, Key, Sums, fold
from benchmarks import machine
from contract.labels import EMOTIONS
from contract.message import CountsMessage, FrameCounts, instant, utc
from contract.topics import Device, aggregator_state

Result = TypeVar("Result")
BATCH = 1000
PAHO_BOUND = 30_000
"""Messages that one client may have under way, by the size of their numbers."""


def messages(number: int, devices: int, frames: int) -> list[tuple[Device, bytes]]:
    """Messages of many devices, in turn, as 25 faces a frame would make them."""
    rng = random.Random(7)
    made, now = [], time.time()
    for seq in range(number // devices):
        for index in range(devices):
            at = now - (number // devices - seq) * 0.2 * frames
            taken = tuple(_frame(rng, at + 0.2 * each) for each in range(frames))
            message = CountsMessage(boot=f"{index:08x}", seq=seq, model="3f9c1a77", clock="synced", frames=taken)
            made.append((Device("school", f"room-{index}", "cam"), message.to_json()))
    return made


def _frame(rng: random.Random, at: float) -> FrameCounts:
    counts = {label: rng.randrange(7) for label in EMOTIONS}
    expected = {label: round(count * 0.97, 2) for label, count in counts.items()}
    faces = sum(counts.values()) + 1
    return FrameCounts(t=instant(utc(at)), faces=faces, unsure=1, counts=counts, expected=expected)


def alone(sent: list[tuple[Device, bytes]], folder: Path) -> dict[str, float]:
    """CPU microseconds per message of each step, without a broker."""
    items = [RawMessage(device.topic("counts"), payload, time.time()) for device, payload in sent]
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    parsed, read_us = _timed(lambda: [read(batch) for batch in batches], len(items))
    _, json_us = _timed(lambda: [CountsMessage.from_json(payload) for _, payload in sent], len(items))
    _, fold_us = _timed(
        lambda: [fold(each.device, each.message) for batch in parsed for each in batch.counts], len(items)
    )
    with SqliteStore(folder / "alone.sqlite") as store:
        _, commit_us = _timed(lambda: [store.commit(batch) for batch in parsed], len(items))
        _, again_us = _timed(lambda: [store.commit(batch) for batch in parsed], len(items))
    return {
        "from_json": json_us,
        "read (from_json, topic, time)": read_us,
        "fold": fold_us,
        "commit (fold, dedup, upsert, fsync)": commit_us,
        "commit of duplicates": again_us,
        "read + commit": read_us + commit_us,
    }


def summaries(rooms: int, lesson_s: int = 2700, span_s: int = 20) -> dict[str, float]:
    """CPU of the live part: every room in the middle of a lesson, with a frame every second."""
    cards = read_cards(Path("models"))
    model = next(iter(cards), "3f9c1a77")
    live, every_s = Rooms(Estimator(cards), AttentionConfig()), SummaryConfig().every_s
    now, rng = time.time(), random.Random(7)

    def key(room: int, at: float) -> Key:
        return Key("school", f"room-{room}", "cam", model, int(at) // WINDOW_S * WINDOW_S)

    def sums(frames: int) -> Sums:
        counts = tuple(frames * rng.randrange(7) for _ in EMOTIONS)
        return Sums(frames, 0, sum(counts), 0, counts, tuple(97 * count for count in counts))

    past = {key(room, now - ago): sums(10) for room in range(rooms) for ago in range(0, lesson_s, WINDOW_S)}
    live.replace(past.items(), {}, now)
    _, first_us = _timed(lambda: list(live.due(now, every_s)), 1)
    _, caught_up_us = _timed(lambda: list(live.events(now)), 1)

    def lesson_goes_on() -> None:
        for second in range(1, span_s + 1):
            live.add({key(room, now + second): sums(1) for room in range(rooms)}, (), {}, now + second)
            list(live.due(now + second, every_s))
            list(live.events(now + second))

    _, on_us = _timed(lesson_goes_on, span_s)
    return {
        f"summaries of {rooms} rooms after a restart, s": first_us / 1e6,
        "then their lessons' events so far, s": caught_up_us / 1e6,
        f"share of a core for {rooms} rooms from then on": on_us / 1e6,
    }


def _timed(work: Callable[[], Result], number: int) -> tuple[Result, float]:
    """What `work` returns, and CPU microseconds of each of `number` items."""
    before = time.process_time()
    result = work()
    return result, (time.process_time() - before) / number * 1e6


def from_broker(sent: list[tuple[Device, bytes]], folder: Path) -> dict[str, float]:
    """The daemon behind a mosquitto in which everything already waits."""
    port = _free_port()
    (folder / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 1000\nmax_queued_messages 0\n"
        "set_tcp_nodelay true\n"
    )
    (folder / "aggregator.toml").write_text(
        f'site = "school"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\ntls = false\n'
        f'[store]\npath = "{folder}/store.sqlite"\n'
    )
    broker = _start([shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", folder / "mosquitto.conf"])
    try:
        return _measure(sent, folder, port, broker)
    finally:
        broker.terminate()
        broker.wait()


def _measure(sent: list[tuple[Device, bytes]], folder: Path, port: int, broker: subprocess.Popen) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "aggregator",
        "--config",
        folder / "aggregator.toml",
        "--log-level",
        "ERROR",
        "run",
    ]
    _until(lambda: _answers(port))
    first = _start(command)  # makes the session in which the broker keeps messages
    heard = ["mosquitto_sub", "-p", str(port), "-t", aggregator_state("school"), "-C", "1", "-W", "30"]
    subprocess.run(heard, check=True, stdout=subprocess.DEVNULL)
    first.send_signal(signal.SIGTERM)
    first.wait()
    _read_and_acknowledge(port, 0)
    _publish(sent, port)
    broker_before, start = machine.cpu_s(broker.pid), time.monotonic()
    daemon = _start(command)
    _until(lambda: _stored(folder) >= len(sent))
    wall, cpu = time.monotonic() - start, machine.cpu_s(daemon.pid)
    broker_cpu = machine.cpu_s(broker.pid) - broker_before
    rss = machine.peak_rss_bytes(daemon.pid) / 2**20
    daemon.terminate()
    daemon.wait()
    startup = _startup_cpu_s(command)
    _, mqtt_us = _timed(lambda: _read_and_acknowledge(port, len(sent)), len(sent))
    return {
        "messages": len(sent),
        "seconds, start included": wall,
        "aggregator CPU us/message (its start taken off)": (cpu - startup) / len(sent) * 1e6,
        "  of that the MQTT client: read and acknowledge": mqtt_us,
        "messages/s per core": len(sent) / (cpu - startup),
        "broker CPU us/message": broker_cpu / len(sent) * 1e6,
        "peak RSS MiB": rss,
    }


def _read_and_acknowledge(port: int, number: int) -> None:
    """Do nothing else with `number` messages of a session of its own, which the first call makes."""
    config = MqttConfig(host="127.0.0.1", port=port, tls=False, client_id="read-and-acknowledge")
    with MqttSource(config, Path(), ("benchmark/state", b"")) as source:
        got = 0
        for messages, acknowledge in source.batches():
            acknowledge(())
            got += len(messages)
            if got >= number and source.connected:
                source.serve(0.5)  # the answer to the subscription, the last acknowledgements
                return


def _startup_cpu_s(command: list) -> float:
    """What starting costs when nothing waits."""
    daemon = _start(command)
    time.sleep(3.0)
    cpu = machine.cpu_s(daemon.pid)
    daemon.terminate()
    daemon.wait()
    return cpu


def _publish(sent: list[tuple[Device, bytes]], port: int) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.max_queued_messages_set(0)
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for start in range(0, len(sent), PAHO_BOUND):
        part = sent[start : start + PAHO_BOUND]
        for info in [client.publish(device.topic("counts"), payload, qos=1) for device, payload in part]:
            info.wait_for_publish(60)
    client.loop_stop()
    client.disconnect()


def _stored(folder: Path) -> int:
    with sqlite3.connect(f"file:{folder}/store.sqlite?mode=ro", uri=True) as db:
        return int(db.execute("SELECT coalesce(sum(high - low + 1), 0) FROM ranges").fetchone()[0])


def _start(command: list) -> subprocess.Popen:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _until(condition: Callable[[], object], within_s: float = 300.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("benchmarks.aggregator: timed out")
        time.sleep(0.05)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--frames", type=int, default=1, help="per message")
    parser.add_argument("--rooms", type=int, default=100, help="for the summaries")
    arguments = parser.parse_args()
    sent = messages(arguments.messages, arguments.devices, arguments.frames)
    print(machine.describe())
    print(
        f"{len(sent)} messages of {len(sent[0][1])} bytes, {arguments.frames} frames each, {arguments.devices} devices"
    )
    with TemporaryDirectory() as folder:
        steps = alone(sent, Path(folder))
        print("\nCPU us/message, without a broker")
        for name, value in steps.items():
            print(f"  {name:45} {value:8.1f}   {value / steps['from_json']:5.2f} x from_json")
        print("\nsummaries and events, CPU")
        for name, value in summaries(arguments.rooms).items():
            print(f"  {name:50} {value:10.2f}")
        print("\nfrom mosquitto to committed rows")
        for name, value in from_broker(sent, Path(folder)).items():
            print(f"  {name:50} {value:10,.1f}")


if __name__ == "__main__":
    main()
