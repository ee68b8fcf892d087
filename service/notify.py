"""What a daemon tells systemd: READY=1, WATCHDOG=1, STATUS=…; nothing happens where systemd did not start it."""

import os
import socket


def notify(state: str) -> None:
    """Send one notification; a supervisor that does not listen is no error.

    Source: sd_notify(3).
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as channel:
        try:
            channel.sendto(state.encode(), address)
        except OSError:
            return
