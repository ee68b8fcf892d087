"""A TCP proxy that can cut its connections off, or go silent, as a bad network does."""

import socket
import struct
import threading
import time


class Proxy:
    """Forwards from its own port of 127.0.0.1 to another."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._silent = False
        self.delay_s = 0.0
        """Every chunk waits for so long."""
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        """End every connection with a TCP reset, in the middle of whatever it carries."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                # SO_LINGER of zero: close sends RST and forgets what is buffered
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()

    def silence(self) -> None:
        """Swallow everything from now on, of these connections and of later ones; they stay open."""
        self._silent = True

    def speak(self) -> None:
        """Forward again; what was swallowed is lost, so old connections are reset."""
        self._silent = False
        self.reset()

    def close(self) -> None:
        """End it."""
        self._listener.close()
        self.reset()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                if self._listener.fileno() < 0:
                    return
                near.close()
                continue
            self._pairs.append((near, far))
            for here, there in ((near, far), (far, near)):
                threading.Thread(target=self._forward, args=(here, there), daemon=True).start()

    def _forward(self, here: socket.socket, there: socket.socket) -> None:
        try:
            while chunk := here.recv(65536):
                if self.delay_s:
                    time.sleep(self.delay_s)
                if not self._silent:
                    there.sendall(chunk)
            there.shutdown(socket.SHUT_WR)
        except OSError:
            return
