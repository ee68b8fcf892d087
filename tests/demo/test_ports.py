"""Which port the demonstration takes."""

import socket

from demo.ports import HOST, free_port


def test_the_usual_port_is_taken_if_it_is_free():
    """People and tools find it there."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        free = probe.getsockname()[1]

    assert free_port(free) == free


def test_a_port_in_use_is_left_alone():
    """Another one is found, on which something can listen."""
    with socket.socket() as other, socket.socket() as ours:
        other.bind((HOST, 0))
        other.listen()

        port = free_port(other.getsockname()[1])

        assert port != other.getsockname()[1]
        ours.bind((HOST, port))
