"""What every camera is, and how one is read: always the newest frame, or each frame in turn."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol, Self

import numpy as np

STALL_S = 5.0
"""A running camera that gives no frame for this long has failed."""
_EXIT_WAIT_S = 1.0
"""How long leaving waits for a read to return: the daemon has two seconds to end."""


class CameraError(RuntimeError):
    """A camera or file that gives no frames; the text names it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture and when it was taken. It is never written, logged or sent."""

    image: np.ndarray
    """(height, width, 3) uint8 bgr."""
    captured_s: float
    """Of time.monotonic()."""
    lores: np.ndarray | None = None
    """The same scene, (height, width, 3) uint8 bgr and smaller: faces are looked for in it."""


class Sensor(Protocol):
    """What each kind of camera implements, as a subclass; used by one thread at a time."""

    def start(self) -> None:
        """Begin to capture, for the first time or after `stop`."""

    def read(self, stop: threading.Event) -> Frame | None:
        """The next frame; None at the end of a file, and soon after `stop` is set.

        Raises:
            CameraError: If there is none.
        """

    def stop(self) -> None:
        """Capture nothing until `start` is called again."""

    def close(self) -> None:
        """Free the device, for good."""
        self.stop()


class Camera:
    """A source of frames: open it with `with`, once per process, and read it with `for`.

    A thread reads the sensor, and the newest frame replaces older ones. Iteration ends when a file ends and when the
    camera is paused; after `resume` it can begin again.
    """

    def __init__(self, sensor: Sensor, name: str, stall_s: float = STALL_S, *, in_turn: bool = False) -> None:
        """Set up; nothing is opened yet.

        Args:
            sensor: What to read.
            name: Of the source, for errors.
            stall_s: Without a frame for this long, iteration raises CameraError.
            in_turn: Read a frame when the last one is done with, so that none is lost: for files, without a thread.
        """
        self.dropped = 0
        """Frames that a newer one replaced before they were read."""
        self._sensor = sensor
        self._name = name
        self._stall_s = stall_s
        self._in_turn = in_turn
        self._stop = threading.Event()
        self._queue: SimpleQueue[Frame | Exception | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(self, *exc: object) -> None:
        # a read that hangs in the driver must not hang the exit; freeing its device meanwhile would crash
        if self._end_thread(_EXIT_WAIT_S):
            self._sensor.close()

    def __iter__(self) -> Iterator[Frame]:
        while not self._stop.is_set():
            try:
                item = self._sensor.read(self._stop) if self._in_turn else self._queue.get(timeout=self._stall_s)
            except Empty:
                raise CameraError(f"{self._name}: no frame for {self._stall_s:g} s") from None
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item

    def pause(self) -> None:
        """Stop the sensor; when this returns it captures nothing.

        Raises:
            CameraError: If it cannot be stopped.
        """
        if not self._end_thread(self._stall_s):
            raise CameraError(f"{self._name}: does not stop")
        self._sensor.stop()

    def resume(self) -> None:
        """Start the sensor."""
        if self._thread is not None:
            return
        self._sensor.start()
        self._stop.clear()
        if self._in_turn:
            return
        self._queue = SimpleQueue()  # an error of a read that the pause cut short does not count
        self._thread = threading.Thread(target=self._read_sensor, args=[self._queue], name="camera", daemon=True)
        self._thread.start()

    def _end_thread(self, timeout_s: float) -> bool:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
        self._thread = None
        return True

    def _read_sensor(self, queue: "SimpleQueue[Frame | Exception | None]") -> None:
        try:
            while not self._stop.is_set() and (frame := self._sensor.read(self._stop)) is not None:
                with suppress(Empty):
                    queue.get_nowait()
                    self.dropped += 1
                queue.put(frame)
            queue.put(None)
        except Exception as error:  # noqa: BLE001  it is raised again where the frames are read
            queue.put(error)
