"""How the device is: what `health` says every half minute. Numbers are collected here, the clock is passed in."""

import resource
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from msgspec import UNSET, UnsetType

from contract.message import Confirm, FaceKind, Health, instant

_MAX_DURATIONS = 4096
"""Durations of one stage, and frames, that are kept; half a minute of 120 frames/s."""
_THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
_PLATFORM = Path("/sys/devices/platform")


class HealthMonitor:
    """Counts and durations since the last report. One thread may record while another asks for the report."""

    certificate_end: str | UnsetType = UNSET
    """When the device's certificate ends, if it has one."""

    def __init__(self, boot: str, confirm: Confirm, dropped_frames: Callable[[], int], now: float) -> None:
        """Begin to count.

        Args:
            boot: Of this start of the daemon.
            confirm: What deletes a message from the outbox.
            dropped_frames: The camera's count since the start.
            now: Monotonic seconds, here and everywhere.
        """
        self._boot = boot
        self._confirm = confirm
        self._dropped_frames = dropped_frames
        self._started_s = self._reported_s = now
        self._lock = threading.Lock()
        self._frames = 0
        self._faces: deque[dict[FaceKind, int]] = deque(maxlen=_MAX_DURATIONS)
        self._captured_s: float | None = None
        self._durations: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_MAX_DURATIONS))

    def record(self, stage: str, seconds: float, faces: int = 1) -> None:
        """A stage took this long for one frame, of which the time per face is told, not the number of faces."""
        with self._lock:
            self._durations[stage].append(seconds / faces)

    def count_frame(self, captured_s: float, faces: dict[FaceKind, int] | None) -> None:
        """A frame was counted; `faces` as `edge.vision.pipeline.readable` gives them."""
        with self._lock:
            self._frames += 1
            self._captured_s = captured_s
            if faces is not None:
                self._faces.append(faces)

    def report(self, t: datetime, now: float, **others: Any) -> Health:
        """The health at `t`, with the fields that others know; rates and latencies begin anew."""
        with self._lock:
            durations, self._durations = self._durations, defaultdict(lambda: deque(maxlen=_MAX_DURATIONS))
            frames, self._frames = self._frames, 0
            faces, self._faces = self._faces, deque(maxlen=_MAX_DURATIONS)
            captured_s = self._captured_s
        since_s, self._reported_s = now - self._reported_s, now
        return Health(
            t=instant(t),
            boot=self._boot,
            uptime_s=round(now - self._started_s, 1),
            rate_hz=round(frames / since_s, 2) if since_s > 0 else 0.0,
            frame_age_s=None if captured_s is None else round(max(0.0, now - captured_s), 3),
            latency_ms={stage: _percentiles_ms(values) for stage, values in durations.items()},
            dropped_frames=self._dropped_frames(),
            confirm=self._confirm,
            temperature_c=temperature_c(),
            throttled=throttled(),
            rss_bytes=rss_bytes(),
            certificate_end=self.certificate_end,
            faces={kind: round(fmean(each[kind] for each in faces), 1) for kind in faces[0]} if faces else UNSET,
            **others,
        )


def _percentiles_ms(values: deque[float]) -> tuple[float, float]:
    ranked = sorted(values)
    p50, p99 = (ranked[min(len(ranked) - 1, int(len(ranked) * share))] for share in (0.50, 0.99))
    return round(p50 * 1000, 2), round(p99 * 1000, 2)


def temperature_c(path: Path = _THERMAL) -> float | None:
    """The processor's temperature; None where the machine does not say."""
    try:
        return int(path.read_text()) / 1000
    except (OSError, ValueError):
        return None


def throttled(platform: Path = _PLATFORM) -> str | None:
    """The Pi's throttling flags as hex, such as "0x50005"; None where the machine does not say.

    The kernel tells what `vcgencmd get_throttled` does, whose device the unit does not open to the daemon.

    Source: Raspberry Pi documentation, vcgencmd get_throttled; drivers/firmware/raspberrypi.c.
    """
    try:
        told = next(platform.glob("soc*/soc*firmware/get_throttled"), None)
        return None if told is None else f"{int(told.read_text(), 16):#x}"
    except (OSError, ValueError):
        return None


def rss_bytes(path: Path = Path("/proc/self/statm")) -> int:
    """Memory that this process has in RAM."""
    return int(path.read_text().split()[1]) * resource.getpagesize()
