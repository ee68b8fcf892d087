"""The daemon's settings: each declared once, with default and unit. Secrets are files in `credentials`."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from contract.message import HORIZON_S, Confirm
from contract.topics import Device
from edge.schedule import Schedule
from service.config import in_range, one_of


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """`[camera]`."""

    source: str
    """`pi`, `usb:<number>`, or `file:<path>` of a video, a picture, or a folder of pictures."""
    width: int = 1280
    height: int = 720
    rate_hz: float = 5.0
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
        in_range("width", self.width, 64, 8192)
        in_range("height", self.height, 64, 8192)
        in_range("rate_hz", self.rate_hz, 0.01, 120)


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """`[detector]`."""

    name: str = "yunet"
    """`yunet`, or `haar` where YuNet's file cannot be had."""
    model: Path = Path("models/yunet_n_640_640.onnx")
    width: int = 960
    height: int = 540
    """The picture is scaled to fit into width x height before faces are looked for."""
    min_score: float = 0.6
    """YuNet only."""
    min_face_px: int = 24
    """Smaller faces are counted, but their emotion is unsure."""

    def __post_init__(self) -> None:
        one_of("name", self.name, ("yunet", "haar"))
        in_range("width", self.width, 64, 4096)
        in_range("height", self.height, 64, 4096)
        in_range("min_score", self.min_score, 0.05, 0.99)
        in_range("min_face_px", self.min_face_px, 8, 400)


@dataclass(frozen=True, slots=True)
class EmotionsConfig:
    """`[emotions]`."""

    enabled: bool = True
    """false: only faces are counted (the EU's AI Act prohibits more in most classrooms)."""
    model: Path = Path("models/emotion_int8.tflite")
    """Its card lies beside it, with the ending .json."""


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """`[runtime]`."""

    package: str = ""
    """`tflite_runtime` or `ai_edge_litert`; may be empty where only one is installed."""
    threads: int = 1
    """Threads of the emotion model and of OpenCV."""

    def __post_init__(self) -> None:
        one_of("package", self.package, ("", "tflite_runtime", "ai_edge_litert"))
        in_range("threads", self.threads, 1, 16)


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """`[mqtt]`."""

    host: str
    port: int = 8883
    tls: bool = True
    """With ca.crt, and device.crt and device.key if present, from `credentials`."""
    username: str = ""
    """Empty: none. Its password is `credentials`/mqtt-password."""
    keepalive_s: int = 30
    inflight: int = 20
    """Messages sent and not yet acknowledged by the broker."""
    replay_hz: float = 200.0
    """After an outage: messages per second from the outbox's file, beside the live ones."""
    reconnect_max_s: float = 300.0
    """The longest wait between two attempts to reach the broker."""

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host is empty")
        in_range("port", self.port, 1, 65535)
        in_range("keepalive_s", self.keepalive_s, 5, 3600)
        in_range("inflight", self.inflight, 1, 1000)
        in_range("replay_hz", self.replay_hz, 1, 10_000)
        in_range("reconnect_max_s", self.reconnect_max_s, 1, 3600)


@dataclass(frozen=True, slots=True)
class PublishConfig:
    """`[publish]`."""

    min_faces: int = 5
    """A frame with fewer readable faces is withheld. 1 only for a demonstration, with those filmed."""
    batch_s: float = 0.0
    """0: one message per frame; else all frames of this time in one message."""
    health_s: float = 30.0

    def __post_init__(self) -> None:
        in_range("min_faces", self.min_faces, 1, 1000)
        in_range("batch_s", self.batch_s, 0, 10)
        in_range("health_s", self.health_s, 1, 3600)


@dataclass(frozen=True, slots=True)
class OutboxConfig:
    """`[outbox]`; the file is outbox.sqlite in `state`."""

    max_bytes: int = 64 * 2**20
    max_age_s: float = HORIZON_S
    confirm: Confirm = "stored"
    """What deletes a message: `stored` (the aggregator's word) or `puback` (a broker whose PUBACK is durable)."""
    resend_s: float = 60.0
    """Without confirmation for this long a message is sent again."""

    def __post_init__(self) -> None:
        in_range("max_bytes", self.max_bytes, 64 * 2**10, 2**40)
        in_range("max_age_s", self.max_age_s, 60, HORIZON_S)
        one_of("confirm", self.confirm, ("stored", "puback"))
        in_range("resend_s", self.resend_s, 1, 3600)


@dataclass(frozen=True, slots=True)
class ClockConfig:
    """`[clock]`."""

    wait_s: float = 300.0
    """How long messages wait for a synchronised clock before they go out as unsynced; 0 for file cameras."""
    synchronized: Path = Path("/run/systemd/timesync/synchronized")
    """The clock is synchronised when this file exists."""

    def __post_init__(self) -> None:
        in_range("wait_s", self.wait_s, 0, 86400)


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """`[schedule]`; without lessons the camera always runs."""

    time_zone: str = "UTC"
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

    @property
    def clock_wait_s(self) -> float:
        """How long to wait for a synchronised clock: `[clock] wait_s`; a file is no lesson, and waits for nothing."""
        return 0.0 if self.camera.source.startswith("file:") else self.clock.wait_s
