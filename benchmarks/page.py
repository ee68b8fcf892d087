"""How soon the page shows, how soon it follows a frame, and what many open pages cost.

Broker, daemon and page run as processes; a real Chromium measures the first two, web-socket clients that speak as the
page's script does are the many. `.venv/bin/python -m benchmarks.page [--pages 200]`
"""

import argparse
import asyncio
import re
import statistics
import tempfile
import time
import uuid
from pathlib import Path

import aiohttp
import psutil
import socketio
from playwright.sync_api import Page, sync_playwright

from tests.system.broker import Mosquitto, free_port, until
from tests.system.instructor import Classroom, Stage, frame

ROOM = "/room/north/r101"
_CLIENT = re.compile(r"""['"]client_id['"]: ?['"]([0-9a-f-]+)['"]""")


def first_paints(page: Page, address: str, times: int) -> list[float]:
    """Milliseconds to the first contentful paint, the browser's own word; the first load fills its cache."""
    paints = []
    for _ in range(times + 1):
        page.goto(address + ROOM)
        page.locator(".mix-chart svg text", has_text="happy").wait_for()
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


async def visit(address: str, received: list[int]) -> socketio.AsyncClient:
    """An open page: fetched, connected, acknowledging nothing but what the server needs."""
    async with aiohttp.ClientSession() as session, session.get(address + ROOM) as answer:
        found = _CLIENT.search(await answer.text())
    if found is None:
        raise SystemExit("the page names no client")
    query = {
        "client_id": found[1],
        "document_id": str(uuid.uuid4()),
        "tab_id": str(uuid.uuid4()),
        "next_message_id": "0",
    }
    client = socketio.AsyncClient(reconnection=False, request_timeout=60)
    client.on("update", lambda _: received.append(1))
    text = "&".join(f"{key}={value}" for key, value in {**query, "implicit_handshake": "true"}.items())
    await client.connect(
        f"{address}?{text}", transports=["websocket"], socketio_path="/_nicegui_ws/socket.io", wait_timeout=60
    )
    return client


async def crowd(address: str, classroom: Classroom, process: psutil.Process, pages: int, span_s: float) -> None:
    """Open pages, publish five frames a second, and print what the page's process used."""
    received: list[int] = []
    visitors = [await visit(address, received) for _ in range(pages)]
    await asyncio.sleep(5)
    received.clear()
    before, started = sum(process.cpu_times()[:2]), time.monotonic()
    while time.monotonic() - started < span_s:
        people = 20 + int(time.time()) % 10  # so that every second has news for every page
        await asyncio.to_thread(classroom.count, frame(time.time(), people=people))
        await asyncio.sleep(0.2)
    used = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - started)
    updates = len(received) / pages / span_s
    memory = process.memory_info().rss / 2**20
    alive = sum(visitor.connected for visitor in visitors)
    print(f"{alive} of {pages} open pages: {used:.0%} of a core, {updates:.1f} updates/s each, {memory:.0f} MiB")
    for visitor in visitors:
        await visitor.disconnect()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--span-s", type=float, default=30.0)
    arguments = parser.parse_args()
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
            measure(stage, classroom, arguments)
            classroom.close()
        finally:
            stage.close()
            broker.stop()


def measure(stage: Stage, classroom: Classroom, arguments: argparse.Namespace) -> None:
    """All three."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page()
        paints = first_paints(page, stage.address, 5)
        print(f"first contentful paint: median {statistics.median(paints):.0f} ms, longest {max(paints):.0f} ms")
        delays = update_delays(page, classroom, 3)
        print(f"frame to page: median {statistics.median(delays):.1f} s, longest {max(delays):.1f} s")
        browser.close()
    process = psutil.Process(stage.process("page").pid)
    asyncio.run(crowd(stage.address, classroom, process, arguments.pages, arguments.span_s))


if __name__ == "__main__":
    main()
