"""An MQTT 3.1.1 broker from a pip package, for demonstrations: loopback only, no passwords, nothing kept on disk.

`python -m demo.broker` prints its address as one line on standard output and serves until SIGTERM.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import sys

from amqtt.broker import Broker

HOST = "127.0.0.1"
USUAL_PORT = 1883
"""Taken if it is free, so that a plain `mosquitto_sub -t 'classpulse/#'` finds the broker."""
_PLUGINS: dict[str, dict[str, object]] = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}


def free_port() -> int:
    """USUAL_PORT, or, if something listens there, a port of HOST that the kernel chooses."""
    for port in (USUAL_PORT, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise OSError(f"no port of {HOST} is free")


async def serve(port: int) -> None:
    """Serve on HOST until SIGTERM or SIGINT; prints the address when clients can connect."""
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    listener = {"type": "tcp", "bind": f"{HOST}:{port}"}
    broker = Broker({"listeners": {"default": listener}, "plugins": _PLUGINS})
    await broker.start()
    print(f"{HOST}:{port}", flush=True)
    await stop.wait()
    await broker.shutdown()


def main() -> int:
    """Serve on a free port."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(free_port()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
