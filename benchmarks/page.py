"""How soon the page shows, how soon it follows a frame, and what many open pages cost.

Broker, daemon and page run as processes; a real Chromium measures the first two, web sockets in a process of their
own (benchmarks/page_clients.py) are the many. `.venv/bin/python -m benchmarks.page [--pages 200]`
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from playwright.sync_api import Page, sync_playwright

from benchmarks.page_clients import PageClients
from tests.system.broker import Mosquitto, free_port, until
from tests.system.instructor import Classroom, Stage, frame

ROOM = "/room/north/r101"
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


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--span-s", type=float, default=30.0)
    parser.add_argument("--no-browser", action="store_true", help="only what open pages cost")
    arguments = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the units have it
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
