"""Many open pages in a process of their own: web sockets that take what a browser would and answer pings, no more."""

import asyncio
import multiprocessing
import re
import uuid
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Self
from urllib.parse import urlsplit

import aiohttp

_CLIENT = re.compile(r"""['"]client_id['"]: ?['"]([0-9a-f-]+)['"]""")
_SOCKET = "/_nicegui_ws/socket.io/"
_MAX_OPENING = 8
"""Pages that are opened at the same time."""


@dataclass(slots=True)
class Received:
    """What the open pages were sent."""

    messages: int = 0
    characters: int = 0
    """Uncompressed."""
    lost: list[str] = field(default_factory=list)
    """Why, for each page whose connection ended."""


class PageClients:
    """Open pages; open it with `with`, which returns when all are connected."""

    def __init__(self, url: str, pages: int) -> None:
        """`url`: of the page that all look at."""
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_run, args=(url, pages, theirs), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self.received()
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.join()

    def received(self) -> Received:
        """What came since the last call.

        Raises:
            EOFError: If the process ended, as it does when a page cannot be opened.
        """
        self._pipe.send(None)
        received: Received = self._pipe.recv()
        return received


def _run(url: str, pages: int, pipe: Connection) -> None:
    asyncio.run(_open_all(url, pages, pipe))


async def _open_all(url: str, pages: int, pipe: Connection) -> None:
    received = Received()
    limit = asyncio.Semaphore(_MAX_OPENING)
    # a browser too opens a connection of its own for a web socket
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
        tasks: set[asyncio.Task[None]] = set()
        await asyncio.gather(*(_keep_open(session, url, limit, received, tasks) for _ in range(pages)))
        while True:
            await asyncio.to_thread(pipe.recv)
            pipe.send(received)
            received.messages = received.characters = 0


async def _keep_open(
    session: aiohttp.ClientSession,
    url: str,
    limit: asyncio.Semaphore,
    received: Received,
    tasks: set[asyncio.Task[None]],
) -> None:
    """Open a page, and keep it open from then on: who answers no ping is put out before all are in."""
    async with limit:
        socket = await _open(session, url)
    tasks.add(asyncio.create_task(_listen(socket, received)))


async def _open(session: aiohttp.ClientSession, url: str) -> aiohttp.ClientWebSocketResponse:
    """Fetch a page and connect as its script does.

    Source: the Engine.IO and Socket.IO protocols, version 4 and 5: `40` connects, `42` is an event, `2` a ping.
    """
    async with session.get(url) as answer:
        found = _CLIENT.search(await answer.text())
    if found is None:
        raise SystemExit("the page names no client")
    query = {
        "EIO": "4",
        "transport": "websocket",
        "client_id": found[1],
        "document_id": str(uuid.uuid4()),
        "tab_id": str(uuid.uuid4()),
        "next_message_id": "0",
        "implicit_handshake": "true",
    }
    address = urlsplit(url)
    # browsers offer compression too, and it is the server's time that is measured
    socket = await session.ws_connect(f"{address.scheme}://{address.netloc}{_SOCKET}", params=query, compress=15)
    await socket.receive_str()
    await socket.send_str("40")
    while (word := await socket.receive_str()) == "2":  # a page that is slow to answer asks whether we are still there
        await socket.send_str("3")
    if not word.startswith("40"):
        raise SystemExit(f"the page's socket answers {word!r}")
    return socket


async def _listen(socket: aiohttp.ClientWebSocketResponse, received: Received) -> None:
    async for message in socket:
        if message.data == "2":
            await socket.send_str("3")
        else:
            received.messages += 1
            received.characters += len(message.data)
    received.lost.append(f"closed with {socket.close_code}")
