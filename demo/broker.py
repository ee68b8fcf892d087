"""An MQTT 3.1.1 broker from a pip package, for demonstrations: loopback only, no passwords, nothing kept on disk.

`python -m demo.broker` prints its address as one line on standard output and serves until SIGTERM. amqtt 0.12 gives a
new client the retained messages of every client's subscriptions, so some come twice; nothing here minds.
"""

import asyncio
import logging
import signal
import sys

from amqtt.broker import Broker

from demo.settings import HOST, free_port

USUAL_PORT = 1883
"""Taken if it is free, so that a plain `mosquitto_sub -t 'classpulse/#'` finds the broker."""
_PLUGINS: dict[str, dict[str, object]] = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}


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
    asyncio.run(serve(free_port(USUAL_PORT)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
