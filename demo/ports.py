"""Ports of this machine alone."""

import contextlib
import socket

HOST = "127.0.0.1"


def free_port(usual: int) -> int:
    """`usual`, or, if something listens there, a port of HOST that the kernel chooses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((HOST, usual))
            return usual
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
