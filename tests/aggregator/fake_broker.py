"""A broker of a few packets of MQTT 3.1.1, to say what a real one says rarely: a refused subscription, a flood."""

import socket
import threading
from contextlib import suppress

_CONNACK = b"\x20\x02\x00\x00"
_REFUSED = 0x80
_PUBLISH_QOS1, _SUBSCRIBE = 0x32, 8


class FakeBroker:
    """Serves one client after the other until it is closed.

    Args:
        refused: Topic filters whose subscription is refused.
        flood: Topic and payload of what is published to a client, QoS 1, once it has subscribed.
    """

    def __init__(self, refused: tuple[str, ...] = (), flood: list[tuple[str, bytes]] | None = None) -> None:
        self._refused, self._flood = refused, flood or []
        self.acknowledged = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._server.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                with suppress(OSError, EOFError), client, client.makefile("rb") as packets:
                    while True:
                        self._answer(client, *_read(packets))

    def _answer(self, client: socket.socket, kind: int, body: bytes) -> None:
        if kind == 1:
            client.sendall(_CONNACK)
        elif kind == _SUBSCRIBE:
            codes = bytes(_REFUSED if name in self._refused else 1 for name in _filters(body[2:]))
            client.sendall(bytes([0x90, 2 + len(codes)]) + body[:2] + codes)
            threading.Thread(target=self._publish, args=(client,), daemon=True).start()
        elif kind == 4:
            self.acknowledged += 1

    def _publish(self, client: socket.socket) -> None:
        with suppress(OSError):
            for number, (topic, payload) in enumerate(self._flood, start=1):
                body = len(topic).to_bytes(2, "big") + topic.encode() + number.to_bytes(2, "big") + payload
                client.sendall(bytes([_PUBLISH_QOS1]) + _length(len(body)) + body)


def _read(packets) -> tuple[int, bytes]:
    """Kind and body of the next packet."""
    first = packets.read(1)
    if not first:
        raise EOFError
    length, shift = 0, 0
    while True:
        (byte,) = packets.read(1)
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return first[0] >> 4, packets.read(length)


def _length(number: int) -> bytes:
    encoded = b""
    while True:
        number, byte = divmod(number, 128)
        encoded += bytes([byte | 0x80 * (number > 0)])
        if not number:
            return encoded


def _filters(body: bytes) -> list[str]:
    """The topic filters of a SUBSCRIBE packet."""
    found = []
    while body:
        end = 2 + int.from_bytes(body[:2], "big")
        found.append(body[2:end].decode())
        body = body[end + 1 :]
    return found
