"""The daemon's settings: each declared once, with default and unit. Secrets are files in `credentials`."""

import math
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

import models
from contract.message import HORIZON_S, Confirm
from contract.topics import Device
from edge.schedule import Schedule
from service.config import NonEmpty, Port, build

DEFAULT_PATH = Path("/etc/classpulse/edge.toml")
"""Where a device's configuration lies."""
MIN_FRAMES = 5
"""A span with fewer frames that show enough faces is withheld: it would tell of a moment."""


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """`[camera]`."""

    source: Annotated[str, Meta(examples=["pi"])]
    """`pi`, `usb:<number>`, or `file:<path>` of a video, a picture, or a folder of pictures."""
    width: Annotated[int, Meta(ge=64, le=8192)] | None = None
    """Pixels; see `height`."""
    height: Annotated[int, Meta(ge=64, le=8192)] | None = None
    """Of the picture that faces are cropped from; by default 2304x1296 of `pi`, 1920x1080 of `usb`."""
    rate_hz: Annotated[float, Meta(ge=0.01, le=120)] = 5.0
    """Frames asked of the camera per second; of a folder, pictures per second."""
    loop: bool = False
    """Files only: begin again at the end."""
    realtime: bool = True
    """Files only: keep the file's pace; otherwise every frame is read, as fast as possible."""

    def __post_init__(self) -> None:
        kind, _, rest = self.source.partition(":")
        good = self.source == "pi" or (kind == "usb" and rest.isdecimal()) or (kind == "file" and rest)
        if not good:
            raise ValueError(f"source = {self.source!r} is none of pi, usb:<number>, file:<path>")
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height belong together: set both or neither")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height to ask the camera for. A Camera Module 3 sees its full field in 2304x1296."""
        if self.width and self.height:
            return self.width, self.height
        return (2304, 1296) if self.source == "pi" else (1920, 1080)


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """`[detector]`."""

    name: Literal["yunet", "haar"] = "yunet"
    """`yunet`, or `haar` where YuNet's file cannot be had."""
    model: Path = Path("models/yunet.tflite")
    """What `make models` writes; its card lies beside it, with the ending .json."""
    width: Annotated[int, Meta(ge=64, le=4096)] = 1280
    """Pixels; see `height`."""
    height: Annotated[int, Meta(ge=64, le=4096)] = 720
    """Faces are looked for in the picture scaled to fit into width x height; 960x540 is the economical choice."""
    min_score: Annotated[float, Meta(ge=0.05, le=0.99)] = 0.52
    """YuNet only: what scores less is no face."""
    min_face_px: Annotated[int, Meta(ge=8, le=400)] = 20
    """Smaller faces are counted, but their emotion is unsure."""


@dataclass(frozen=True, slots=True)
class EmotionsConfig:
    """`[emotions]`."""

    enabled: bool = True
    """false: only faces are counted (the EU's AI Act prohibits more in most classrooms)."""
    model: Path = models.EMOTION
    """Without it, the model that came with the program. Its card lies beside it, with the ending .json."""


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """`[runtime]`."""

    package: Literal["auto", "", "tflite_runtime", "ai_edge_litert"] = "auto"
    """`auto`, or empty as in version 0.1: `ai_edge_litert` where it is installed and works, else `tflite_runtime`."""
    threads: Annotated[int, Meta(ge=0, le=16)] = 0
    """Threads of each network and of OpenCV; 0: as many as there are processor cores, at most 4."""

    @property
    def thread_count(self) -> int:
        """What `threads` means on this machine."""
        return self.threads or min(4, len(os.sched_getaffinity(0)))


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """`[mqtt]`."""

    host: Annotated[NonEmpty, Meta(examples=["localhost"])]
    """The broker's name or address."""
    port: Port = 8883
    """8883 is usual with TLS, 1883 without."""
    tls: bool = True
    """With ca.crt, and device.crt and device.key if present, from `credentials`."""
    username: str = ""
    """Empty: none. Its password is `credentials`/mqtt-password."""
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    """Seconds; a device that is silent for half as long again is lost to the broker."""
    inflight: Annotated[int, Meta(ge=1, le=1000)] = 20
    """Messages sent and not yet acknowledged by the broker."""
    replay_hz: Annotated[float, Meta(ge=1, le=10_000)] = 200.0
    """After an outage: messages per second from the outbox's file, beside the live ones."""
    reconnect_max_s: Annotated[float, Meta(ge=1, le=3600)] = 300.0
    """The longest wait between two attempts to reach the broker."""


@dataclass(frozen=True, slots=True)
class PublishConfig:
    """`[publish]`."""

    min_faces: Annotated[int, Meta(ge=1, le=1000)] = 5
    """A frame with fewer readable faces is withheld. 1 only for a demonstration, with those filmed."""
    span_s: Annotated[float, Meta(ge=0, le=300)] = 0.0
    """20: every frame of so many seconds tells their mean, with noise, against an observer who knows when a student
    enters; then `[summary] epsilon` of the aggregator must be the same. docs/privacy.md tells what it costs. 0: each
    frame its own counts."""
    epsilon: Annotated[float, Meta(ge=0.01, le=100)] = 2.0
    """Privacy loss of a span: noise of 2 / epsilon faces is added to the sum of each label; smaller is more private."""
    batch_s: Annotated[float, Meta(ge=0, le=10)] = 0.0
    """With span_s = 0; 0: one message per frame; else all frames of this time in one message."""
    health_s: Annotated[float, Meta(ge=1, le=3600)] = 30.0
    """Seconds from one `health` message to the next."""


@dataclass(frozen=True, slots=True)
class OutboxConfig:
    """`[outbox]`; the file is outbox.sqlite in `state`."""

    max_bytes: Annotated[int, Meta(ge=64 * 2**10, le=2**40)] = 64 * 2**20
    """The file holds so much at most; then the oldest messages are dropped."""
    max_age_s: Annotated[float, Meta(ge=60, le=HORIZON_S)] = HORIZON_S
    """Seconds; older messages are dropped."""
    confirm: Confirm = "stored"
    """What deletes a message: `stored` (the aggregator's word) or `puback` (a broker whose PUBACK is durable)."""
    resend_s: Annotated[float, Meta(ge=1, le=3600)] = 60.0
    """Without confirmation for this long a message is sent again."""


@dataclass(frozen=True, slots=True)
class ClockConfig:
    """`[clock]`."""

    wait_s: Annotated[float, Meta(ge=0, le=86400)] = 300.0
    """How long messages wait for a synchronised clock before they go out as unsynced; 0 for file cameras."""
    synchronized: Path = Path("/run/systemd/timesync/synchronized")
    """The clock is synchronised when this file exists."""


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """`[schedule]`; without lessons the camera always runs."""

    time_zone: str = "UTC"
    """In which lessons are written, such as "Europe/Berlin"."""
    lessons: tuple[str, ...] = ()
    """Such as "mon-fri 08:00-12:30" or "sat 09:00-11:00"; outside them the sensor is stopped."""

    def __post_init__(self) -> None:
        Schedule(self.time_zone, self.lessons)


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """The whole file."""

    device: Device
    camera: CameraConfig
    mqtt: MqttConfig
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    emotions: EmotionsConfig = field(default_factory=EmotionsConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    outbox: OutboxConfig = field(default_factory=OutboxConfig)
    clock: ClockConfig = field(default_factory=ClockConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    state: Path = field(default_factory=lambda: Path(os.environ.get("STATE_DIRECTORY", "var/edge")))
    """Folder for the outbox and the pause; systemd's StateDirectory by default."""
    credentials: Path = field(default_factory=lambda: Path(os.environ.get("CREDENTIALS_DIRECTORY", "/etc/classpulse")))
    """Folder of ca.crt, device.crt, device.key, mqtt-password; systemd's credentials by default."""

    def __post_init__(self) -> None:
        least_s = MIN_FRAMES / self.camera.rate_hz
        if 0 < self.publish.span_s < least_s:
            raise ValueError(
                f"[publish] span_s = {self.publish.span_s:g} holds fewer than {MIN_FRAMES} frames at [camera] "
                f"rate_hz = {self.camera.rate_hz:g}: set it to {math.ceil(least_s)} or more, or to 0 for single frames"
            )

    @property
    def clock_wait_s(self) -> float:
        """How long to wait for a synchronised clock: `[clock] wait_s`; a file is no lesson, and waits for nothing."""
        return 0.0 if self.camera.source.startswith("file:") else self.clock.wait_s


def load_partly(path: Path) -> EdgeConfig | None:
    """What a faulty file says of device, broker and folders; None if not even that can be used."""
    try:
        table = tomllib.loads(path.read_text())
        usable = {key: value for key, value in table.items() if key in ("device", "mqtt", "state", "credentials")}
        return build(usable | {"camera": {"source": "pi"}}, EdgeConfig)
    except (OSError, ValueError):
        return None
