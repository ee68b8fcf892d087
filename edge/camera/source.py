"""A source of frames: the camera that the configuration names, read so that the newest frame always wins."""

import threading
import time
from collections.abc import Iterator
from typing import Protocol, Self

from edge.camera.frame import Frame
from edge.config import CameraConfig, DetectorConfig

STALL_S = 5.0
"""A running camera that gives nothing for this long has failed."""
_LEAVE_S = 1.0
"""How long leaving waits for a read: the daemon has two seconds to end."""


class CameraError(RuntimeError):
    """A camera or file that gives no frames; the text names it."""


class Camera(Protocol):
    """A source of frames: open it with `with`, once per process, and read it with `for`.

    Iteration ends when a file ends and when the camera is paused; after `resume` it can begin again.
    """

    @property
    def dropped(self) -> int:
        """Frames that a newer one replaced before they were read."""
        ...

    def pause(self) -> None:
        """Stop the sensor; when this returns it sees nothing."""
        ...

    def resume(self) -> None:
        """Start the sensor again."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...
    def __iter__(self) -> Iterator[Frame]: ...


class Sensor(Protocol):
    """What a kind of camera implements; used by one thread at a time."""

    def start(self) -> None:
        """Begin to see, for the first time or after `stop`."""
        ...

    def read(self, stop: threading.Event) -> Frame | None:
        """The next frame; None at the end of a file, and soon after `stop` is set.

        Raises:
            CameraError: If there is none.
        """
        ...

    def stop(self) -> None:
        """Cease to see; `start` may follow."""
        ...

    def close(self) -> None:
        """Free the device; nothing follows."""
        ...


class EveryFrame:
    """A camera that waits for its reader, so that no frame is lost: for files read as fast as possible."""

    dropped = 0

    def __init__(self, sensor: Sensor) -> None:
        self._sensor = sensor
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        self._sensor.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._sensor.close()

    def __iter__(self) -> Iterator[Frame]:
        while not self._stop.is_set() and (frame := self._sensor.read(self._stop)) is not None:
            yield frame

    def pause(self) -> None:
        """Stop the sensor."""
        self._stop.set()
        self._sensor.stop()

    def resume(self) -> None:
        """Start the sensor again."""
        self._stop.clear()
        self._sensor.start()


class NewestFrame:
    """A camera that does not wait: one thread reads the sensor into a slot of one, and the newest frame wins."""

    def __init__(self, sensor: Sensor, name: str, stall_s: float = STALL_S) -> None:
        """Set up; nothing is opened yet.

        Args:
            sensor: What to read.
            name: Of the source, for errors.
            stall_s: Without a frame for so long, iteration raises CameraError.
        """
        self._sensor = sensor
        self._name = name
        self._stall_s = stall_s
        self._changed = threading.Condition()
        self._slot: Frame | None = None
        self._ended = False
        self._error: Exception | None = None
        self._dropped = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """Frames that a newer one replaced before they were read."""
        return self._dropped

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(self, *exc: object) -> None:
        # a read that hangs in the driver must not hang the exit; freeing its device under it would crash
        if self._halt(_LEAVE_S):
            self._sensor.close()

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self._next()) is not None:
            yield frame

    def pause(self) -> None:
        """Stop the sensor; when this returns it sees nothing.

        Raises:
            CameraError: If it cannot be stopped.
        """
        if not self._halt(self._stall_s):
            raise CameraError(f"{self._name}: does not stop")
        self._sensor.stop()
        self._slot = None

    def resume(self) -> None:
        """Start the sensor."""
        if self._thread is not None:
            return
        self._sensor.start()
        self._error = None  # what a pause cut short may have failed
        self._stop.clear()
        self._thread = threading.Thread(target=self._work, name="camera", daemon=True)
        self._thread.start()

    def _halt(self, timeout_s: float) -> bool:
        self._stop.set()
        with self._changed:
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
        self._thread = None
        return True

    def _next(self) -> Frame | None:
        deadline = time.monotonic() + self._stall_s
        with self._changed:
            while not (self._slot or self._ended or self._error or self._stop.is_set()):
                if not self._changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise CameraError(f"{self._name}: no frame for {self._stall_s:g} s")
            frame, self._slot = self._slot, None
            if frame is None and self._error and not self._stop.is_set():
                raise self._error
            return None if self._stop.is_set() else frame

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                self._put(self._sensor.read(self._stop))
                if self._ended:
                    return
        except Exception as error:  # noqa: BLE001  it is raised again where the frames are read
            with self._changed:
                self._error = error
                self._changed.notify()

    def _put(self, frame: Frame | None) -> None:
        with self._changed:
            if frame is None:
                self._ended = not self._stop.is_set()
            else:
                self._dropped += self._slot is not None
                self._slot = frame
            self._changed.notify()


def open_camera(camera: CameraConfig, detector: DetectorConfig) -> Camera:
    """The camera that the configuration names; a missing one is an error when it is entered, never another one.

    Args:
        camera: Names the source.
        detector: Its size is what the Pi's second stream is scaled to.
    """
    kind = camera.source.partition(":")[0]
    stall_s = max(STALL_S, 3 / camera.rate_hz)
    if kind == "pi":
        from edge.camera.pi import PiSensor  # noqa: PLC0415  picamera2 exists on a Pi only

        return NewestFrame(PiSensor(camera, detector), camera.source, stall_s)
    if kind == "usb":
        from edge.camera.usb import UsbSensor  # noqa: PLC0415  only the camera in use is loaded

        return NewestFrame(UsbSensor(camera), camera.source, stall_s)
    from edge.camera.file import FileSensor  # noqa: PLC0415  only the camera in use is loaded

    sensor = FileSensor(camera)
    return NewestFrame(sensor, camera.source, stall_s) if camera.realtime else EveryFrame(sensor)
