"""The demonstration's MQTT broker: for this machine only, no passwords, nothing kept on disk.

`python -m demo.broker` prints its address as one line on standard output and serves until SIGTERM: with mosquitto where
that is installed, else with amqtt from a pip package (MQTT 3.1.1). amqtt 0.12 gives a new client the retained messages
of every client's subscriptions, so some come twice; nothing here minds.
"""

import asyncio
import logging
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.session import Session

from demo.settings import FOLDER, HOST, free_port

USUAL_PORT = 1883
"""Taken if it is free, so that a plain `mosquitto_sub -t 'classpulse/#'` finds the broker."""
_PLUGINS: dict[str, dict[str, object]] = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}


class _ReaderInTurn(ReaderAdapter):  # type: ignore[misc]  # amqtt has no annotations
    """Reads a client's next packet when the packets before it are delivered."""

    def __init__(self, reader: ReaderAdapter, session: Session) -> None:
        self._reader, self._session = reader, session

    async def read(self, n: int = -1) -> bytes:
        await asyncio.sleep(0)  # amqtt handles each packet in a task of its own, which begins here
        while self._session.delivered_message_queue.qsize():  # noqa: ASYNC110 - amqtt has no event for it
            await asyncio.sleep(0)
        return bytes(await self._reader.read(n))

    def feed_eof(self) -> None:
        self._reader.feed_eof()


class MendedBroker(Broker):  # type: ignore[misc]  # as above
    """amqtt's forgets, when a client ends, what it has read and not yet delivered: a publish of QoS 0 and a goodbye."""

    async def _handle_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, client_session: Session, *others: Any
    ) -> None:
        await super()._handle_client_session(_ReaderInTurn(reader, client_session), writer, client_session, *others)


async def serve(port: int) -> None:
    """Serve with amqtt on HOST until SIGTERM or SIGINT; prints the address when clients can connect."""
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    listener = {"type": "tcp", "bind": f"{HOST}:{port}"}
    broker = MendedBroker({"listeners": {"default": listener}, "plugins": _PLUGINS})
    await broker.start()
    print(f"{HOST}:{port}", flush=True)
    await stop.wait()
    await broker.shutdown()


def main() -> int:
    """Serve on a free port."""
    port = free_port(USUAL_PORT)
    # Debian keeps servers out of an ordinary user's path
    if mosquitto := shutil.which("mosquitto", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"):
        _become(mosquitto, port, FOLDER / "mosquitto.conf")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(port))
    return 0


def _become(mosquitto: str, port: int, config: Path) -> None:
    """Go on as mosquitto, which takes connections some milliseconds after the address is printed."""
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(f"listener {port} {HOST}\nallow_anonymous true\n")
    print(f"{HOST}:{port}", flush=True)
    os.execv(mosquitto, (mosquitto, "-c", str(config)))  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    sys.exit(main())
