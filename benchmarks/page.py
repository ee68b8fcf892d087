"""How soon the page shows, how soon it follows a frame, and what many open pages cost.

Broker, daemon and page run as processes; a real Chromium measures the first two, web sockets in a process of their
own (benchmarks/page_clients.py) are the many. `.venv/bin/python -m benchmarks.page [--pages 200]`

`.venv/bin/python -m benchmarks.page --days 200` measures a month's list of a room's lessons after so many days of six
lessons, which is a school year, and the report of one of these days.

`.venv/bin/python -m benchmarks.page --rooms 300 2000 [--postgresql]` measures the overview instead: of so many rooms in
the middle of a lesson, each with a new frame every second, committed straight to the store.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import psutil
from playwright.sync_api import Page, sync_playwright

from aggregator.config import AggregatorConfig
from aggregator.store.factory import open_store
from aggregator.store.types import Arrival, Batch, Store
from aggregator.store.windows import WINDOW_S
from benchmarks.page_clients import PageClients
from contract.message import CountsMessage, State
from contract.topics import Device
from service.config import load
from tests.cluster.servers import Postgres, public_folder
from tests.system.broker import Mosquitto, free_port, until
from tests.system.instructor import MODEL, ROOT, Classroom, Stage, frame

ROOM = "/room/north/r101"
LESSON_S, BLOCK_S = 2700, 900
"""How much of a lesson the overview's rooms have behind them, and how much of it one commit writes."""
_SETTLE_S = 5.0
"""Before the measurement begins."""


def first_paints(page: Page, address: str, times: int) -> list[float]:
    """Milliseconds to the first contentful paint, the browser's own word; the first load fills its cache."""
    paints = []
    for _ in range(times + 1):
        page.goto(address + ROOM)
        page.locator(".mix th").first.wait_for()
        entry = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        paints.append(float(page.evaluate(entry)))
    return paints[1:]


def update_delays(page: Page, classroom: Classroom, times: int) -> list[float]:
    """Seconds from publishing a frame to its number of faces in the page."""
    delays = []
    figure = page.locator(".fact.big .figure")
    for turn in range(times):
        before = figure.inner_text()
        started = time.monotonic()
        classroom.count(*(frame(time.time(), people=60 + 60 * turn) for _ in range(100)))
        while figure.inner_text() == before and time.monotonic() - started < 30:
            page.wait_for_timeout(20)
        delays.append(time.monotonic() - started)
    return delays


def open_pages(address: str, classroom: Classroom, process: psutil.Process, pages: int, span_s: float) -> None:
    """Open pages, publish five frames a second, and print what the page's own process used."""
    with PageClients(address + ROOM, pages) as open_pages:
        publish(classroom, _SETTLE_S)
        open_pages.received()
        before, started = sum(process.cpu_times()[:2]), time.monotonic()
        publish(classroom, span_s)
        passed_s = time.monotonic() - started
        used = (sum(process.cpu_times()[:2]) - before) / passed_s
        received = open_pages.received()
    rate, size = (number / pages / passed_s for number in (received.messages, received.characters))
    print(
        f"{pages - len(received.lost)} of {pages} open pages: {used:.0%} of a core, "
        f"{1000 * used / pages:.1f} ms per page and second, {process.memory_info().rss / 2**20:.0f} MiB; "
        f"each got {rate:.1f} messages/s, {size / 1000:.1f} kB/s"
    )
    for why, number in Counter(received.lost).items():
        print(f"{number} lost: {why}")


def publish(classroom: Classroom, span_s: float) -> None:
    """Five frames a second."""
    end = time.monotonic() + span_s
    while time.monotonic() < end:
        people = 20 + int(time.time()) % 10  # so that every second has news for every page
        classroom.count(frame(time.time(), people=people))
        time.sleep(0.2)


def overviews(rooms: int, folder: Path, *, postgresql: bool) -> None:
    """Print how long the overview of so many rooms takes, and what the page then uses."""
    with ExitStack() as stack:
        config = folder / "aggregator.toml"
        text = f'site = "s"\nmodels_dir = "{ROOT / "models"}"\n[mqtt]\nhost = "127.0.0.1"\ntls = false\n'
        port = free_port()
        text += (
            f'[page]\nport = {port}\nusers = "{folder / "users.json"}"\n[store]\npath = "{folder / "store.sqlite"}"\n'
        )
        if postgresql:
            server = Postgres(stack.enter_context(public_folder()))
            stack.callback(server.crash)
            server.start().create("benchmark")
            text += '[amqp]\nhosts = ["127.0.0.1:1"]\ntls = false\n[postgresql]\nhost = "127.0.0.1"\n'
            text += f'port = {server.port}\ntls = false\ndatabase = "benchmark"\nuser = "classpulse"\n'
        config.write_text(text)
        store = stack.enter_context(open_store(load(config, AggregatorConfig)))
        for ago in range(LESSON_S, 0, -BLOCK_S):
            commit(store, rooms, time.time() - ago, range(0, BLOCK_S, WINDOW_S))
        page = subprocess.Popen([sys.executable, "-m", "aggregator", "--config", config, "page"], cwd=ROOT)
        stack.callback(page.wait)
        stack.callback(page.terminate)
        stop = threading.Event()
        feeder = threading.Thread(target=feed, args=(load(config, AggregatorConfig), rooms, stop))
        stack.callback(feeder.join)
        stack.callback(stop.set)
        feeder.start()
        browse(f"http://127.0.0.1:{port}/", rooms, psutil.Process(page.pid))


def archive(days: int, folder: Path) -> None:
    """Print how long list and report take, of days with six lessons of 45 minutes."""
    port, config = free_port(), folder / "aggregator.toml"
    config.write_text(
        f'site = "s"\nmodels_dir = "{ROOT / "models"}"\n[mqtt]\nhost = "127.0.0.1"\ntls = false\n[store]\n'
        f'path = "{folder / "store.sqlite"}"\nretention_days = {days + 9}\n[page]\nport = {port}\n'
        f'users = "{folder / "users.json"}"\n'
    )
    today = int(time.time()) // 86400 * 86400 - 86400
    with open_store(load(config, AggregatorConfig)) as store:
        for day in range(today - (days - 1) * 86400, today + 1, 86400):
            for hour in range(8, 14):
                for block in range(0, LESSON_S, BLOCK_S):
                    commit(store, 1, day + hour * 3600 + block, range(0, BLOCK_S, WINDOW_S))
    page = subprocess.Popen([sys.executable, "-m", "aggregator", "--config", config, "page"], cwd=ROOT)
    address, month = (
        f"http://127.0.0.1:{port}",
        f"/lessons/site-0/r0?month={time.strftime('%Y-%m', time.gmtime(today))}",
    )
    try:
        until(lambda: answers(f"{address}/"), "the page", 60)
        for what, path in (
            (f"a month's list of {6 * days} lessons, added up for the first time", month),
            *[("the same again", month)] * 3,
            *[("report of a day", f"/report/site-0/r0?start={today}&end={today + 86400}")] * 3,
        ):
            started = time.monotonic()
            with urllib.request.urlopen(address + path, timeout=600) as answer:  # noqa: S310 - http
                size = len(answer.read())
            print(f"{what}: {time.monotonic() - started:.2f} s, {size / 1000:.0f} kB")
    finally:
        page.terminate()
        page.wait()


def commit(store: Store, rooms: int, at: float, offsets: Iterable[int]) -> None:
    """One message of each room, with a frame `offsets` seconds after `at`."""
    seq = int(at)
    frames = tuple(frame(at + offset) for offset in offsets)
    message = CountsMessage(boot="00000001", seq=seq, model=MODEL, clock="synced", frames=frames)
    devices = [Device(f"site-{room // 50}", f"r{room}", "cam") for room in range(rooms)]
    newest = frames[-1].time.timestamp()
    state = State(state="ready", reason="", version="1", model=MODEL, min_faces=5, boot="00000001")
    store.commit(
        Batch(
            counts=[Arrival(device, message, time.time(), newest) for device in devices],
            states={device: (state, time.time()) for device in devices},
        )
    )


def feed(config: AggregatorConfig, rooms: int, stop: threading.Event) -> None:
    """A frame of each room every second, until `stop`."""
    with open_store(config) as store:
        while not stop.wait(1.0):
            commit(store, rooms, time.time(), (0,))


def browse(address: str, rooms: int, page_process: psutil.Process) -> None:
    """Open the overview as the first visitor, then again; seconds until a room's sentence is there."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page, taken = browser.new_page(), []
        for turn in range(8):
            while turn == 0 and not answers(address):
                time.sleep(0.2)
            started = time.monotonic()
            page.goto(address)
            page.locator("a.panel .headline").first.wait_for()
            taken.append(time.monotonic() - started)
            page.wait_for_timeout(2000)
        before, begin = sum(page_process.cpu_times()[:2]), time.monotonic()
        page.wait_for_timeout(20_000)
        used = (sum(page_process.cpu_times()[:2]) - before) / (time.monotonic() - begin)
        print(
            f"overview of {rooms} rooms: first {taken[0]:.2f} s, then median {statistics.median(taken[1:]):.2f} s, "
            f"longest {max(taken[1:]):.2f} s; the page with it open: {used:.0%} of a core, "
            f"{page_process.memory_info().rss / 2**20:.0f} MiB"
        )


def answers(address: str) -> bool:
    """Whether the page does."""
    try:
        with urllib.request.urlopen(address + "login", timeout=5):  # noqa: S310 - http
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--span-s", type=float, default=30.0)
    parser.add_argument("--no-browser", action="store_true", help="only what open pages cost")
    parser.add_argument("--rooms", type=int, nargs="*", help="measure the overview of so many rooms, and nothing else")
    parser.add_argument("--days", type=int, help="measure list and report of so many days, and nothing else")
    parser.add_argument("--postgresql", action="store_true", help="with --rooms: in a server of its own")
    arguments = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the units have it
    for rooms in arguments.rooms or ():
        with tempfile.TemporaryDirectory() as folder:
            overviews(rooms, Path(folder), postgresql=arguments.postgresql)
    if arguments.days:
        with tempfile.TemporaryDirectory() as folder:
            archive(arguments.days, Path(folder))
    if arguments.rooms or arguments.days:
        return
    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder) / "mosquitto").start()
        stage = Stage(Path(folder), broker, free_port())
        for word in ("run", "page"):
            stage.start(word)
        try:
            until(stage.answers, "the page", 60)
            classroom = Classroom(broker.port)
            classroom.say("ready")
            now = time.time()
            for at in range(-600, 0, 5):
                classroom.count(*(frame(now + at + tenth / 2) for tenth in range(10)))
            if not arguments.no_browser:
                measure(stage.address, classroom)
            process = psutil.Process(stage.process("page").pid)
            open_pages(stage.address, classroom, process, arguments.pages, arguments.span_s)
            classroom.close()
        finally:
            stage.close()
            broker.stop()


def measure(address: str, classroom: Classroom) -> None:
    """What a browser sees."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page()
        paints = first_paints(page, address, 5)
        print(f"first contentful paint: median {statistics.median(paints):.0f} ms, longest {max(paints):.0f} ms")
        delays = update_delays(page, classroom, 3)
        print(f"frame to page: median {statistics.median(delays):.1f} s, longest {max(delays):.1f} s")
        browser.close()


if __name__ == "__main__":
    main()
