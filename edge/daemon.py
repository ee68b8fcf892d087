"""`classpulse-edge run`: opens what the configuration names, counts until told to stop, and takes leave."""

import argparse
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from contract.card import ModelCardError
from contract.message import StateName
from edge.batch import Batch
from edge.camera.frame import Frame
from edge.camera.source import Camera, CameraError, open_camera
from edge.clock import Clock
from edge.config import CameraConfig, DetectorConfig, EdgeConfig, load_partly
from edge.exits import EXIT_CAMERA, EXIT_CONFIG, EXIT_MODEL, EXIT_RUNNING
from edge.health import Vitals
from edge.lock import RunningError, only_one
from edge.loop import work
from edge.pause import Pause
from edge.schedule import Schedule
from edge.uplink.connection import Connection, publish_stopped
from edge.uplink.outbox import Outbox
from edge.uplink.uplink import Action, DeviceInfo, Hooks, Uplink, UplinkThread
from edge.vision.counts import Reading
from edge.vision.detector import DetectorError
from edge.vision.pipeline import Record, open_pipeline
from edge.vision.runtime import RuntimeMissingError
from service.config import ConfigError, load
from service.notify import notify

log = logging.getLogger(__name__)

REST_S = 0.5
"""How often a pause looks whether it is over."""
_PUBACK_S = 1.2
"""For the broker's PUBACK of `stopped`; all in all the daemon ends within two seconds."""
_DRAIN_S = 10.0
"""At a file's end, for everything to be confirmed."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.description = "Count until told to stop."
    parser.add_argument(
        "--ledger",
        type=Path,
        metavar="FILE",
        help="for tests: append each accepted message, a line with the time (seconds since 1970) and the payload",
    )


def _pipeline(config: EdgeConfig, record: Record) -> tuple[Callable[[Frame], Reading], str | None]:
    pipeline, classifier = open_pipeline(config, record)
    return pipeline.read, classifier.card.short if classifier else None


@dataclass(frozen=True, slots=True)
class Eyes:
    """How the daemon comes to see: a test gives it others."""

    camera: Callable[[CameraConfig, DetectorConfig], Camera] = open_camera
    pipeline: Callable[[EdgeConfig, Record], tuple[Callable[[Frame], Reading], str | None]] = _pipeline
    """What reads a frame, and the short hash of the model in it, if any."""


def run(arguments: argparse.Namespace, eyes: Eyes = Eyes()) -> int:
    """The daemon's exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        config = load(arguments.config, EdgeConfig)
        with only_one(config.state):
            return serve(config, arguments.ledger, eyes)
    except ConfigError as error:
        log.critical("%s", error)
        partial_config = load_partly(arguments.config)
        if partial_config:
            publish_stopped(
                partial_config, _device_info(partial_config, _new_boot(), None).state("stopped", str(error))
            )
        return EXIT_CONFIG
    except RunningError as error:
        log.critical("%s", error)
        return EXIT_RUNNING


def serve(config: EdgeConfig, ledger: Path | None, eyes: Eyes) -> int:
    """Open everything, count, and take leave; the exit status.

    Raises:
        ConfigError: If the broker's credentials cannot be used.
    """
    pause = Pause(config.state / "pause")
    _obey_signals(pause)
    boot = _new_boot()
    camera = eyes.camera(config.camera, config.detector)
    vitals = Vitals(boot, config.outbox.confirm, lambda: camera.dropped, time.monotonic())
    try:
        read, model = eyes.pipeline(config, vitals.record)
    except (ModelCardError, DetectorError, RuntimeMissingError) as error:
        log.critical("%s", error)
        publish_stopped(config, _device_info(config, boot, None).state("stopped", str(error)))
        return EXIT_MODEL
    info = _device_info(config, boot, model)
    clock = _clock(config)
    hooks = Hooks(clock.now, partial(pause.order, by="MQTT"), _ledger(ledger))
    with UplinkThread(partial(_uplink, config, info, vitals, hooks)) as uplink:
        return _Room(config, clock, pause, vitals, uplink).run(camera, read)


class _Room:
    """What one run of the loop needs: frames go to the uplink, systemd hears that we live."""

    def __init__(self, config: EdgeConfig, clock: Clock, pause: Pause, vitals: Vitals, uplink: UplinkThread) -> None:
        self._clock = clock
        self._pause = pause
        self._schedule = Schedule(config.schedule.time_zone, config.schedule.lessons)
        self._vitals = vitals
        self._uplink = uplink
        self._batch = Batch(clock, config.publish, lambda frames, synced: uplink.publish(frames, synced=synced))
        self._done = (0, 0)
        self._ready = False

    def run(self, camera: Camera, read: Callable[[Frame], Reading]) -> int:
        """Count until the camera ends; the exit status."""
        reason, status, drain_s = "a fault of the program", 0, 0.0
        try:
            work(camera, partial(self._count, read), self._paused, self._say, self._rest)
            reason, drain_s = "the file has ended", _DRAIN_S
        except CameraError as error:
            log.critical("%s", error)
            reason, status = str(error), EXIT_CAMERA
        except SystemExit:
            reason = "told to stop"
            raise
        finally:
            notify("STOPPING=1")
            self._batch.flush()
            self._uplink.stop(reason, timeout_s=_PUBACK_S, drain_s=drain_s)
        return status

    def _count(self, read: Callable[[Frame], Reading], frame: Frame) -> None:
        """Count one frame; it is done when the outbox has accepted it, or while it waits for the clock."""
        self._vitals.record("capture", max(0.0, time.monotonic() - frame.captured_s))
        reading = read(frame)
        self._vitals.frame(reading.captured_s)
        self._batch.add(reading)
        self._uplink.check()
        self._tell_watchdog((self._uplink.accepted, self._batch.waiting))

    def _paused(self) -> str:
        """Why the sensor must not see now, "" if it may."""
        if not self._schedule.always:
            if self._clock.stamp(time.monotonic()) is None:
                return "waiting for the clock, for there are lesson hours"
            if not self._schedule.in_lesson(self._clock.now().t):
                return "outside lesson hours"
        return self._pause.reason

    def _say(self, state: StateName, reason: str) -> None:
        self._batch.settle()
        self._uplink.set_status(state, reason)
        notify(f"{'' if self._ready else 'READY=1'}\nSTATUS={state} {reason}".strip())
        self._ready = True

    def _rest(self) -> None:
        time.sleep(REST_S)
        self._batch.settle()
        self._uplink.check()
        self._tell_watchdog((self._uplink.ticks, -1))

    def _tell_watchdog(self, done: tuple[int, int]) -> None:
        if done != self._done:
            self._done = done
            notify("WATCHDOG=1")


def _uplink(
    config: EdgeConfig, info: DeviceInfo, vitals: Vitals, hooks: Hooks, call: Callable[[Action], None]
) -> Uplink:
    connection = Connection(config, info.state("lost", "connection lost"), call)
    outbox = Outbox(config.state / "outbox.sqlite", config.outbox, info.boot, time.monotonic())
    return Uplink(config, info, outbox, connection, vitals, hooks)


def _clock(config: EdgeConfig) -> Clock:
    return Clock(
        config.clock_wait_s, synchronized=config.clock.synchronized.exists, monotonic=time.monotonic, wall=time.time
    )


def _device_info(config: EdgeConfig, boot: str, model: str | None) -> DeviceInfo:
    return DeviceInfo(version=version("classpulse"), model=model, min_faces=config.publish.min_faces, boot=boot)


def _new_boot() -> str:
    return secrets.token_hex(4)


def _ledger(path: Path | None) -> Callable[[bytes], None]:
    """Write a line at once and whole, so that it outlives a kill."""
    if path is None:
        return lambda _payload: None
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def append(payload: bytes) -> None:
        os.write(descriptor, b"%.3f %s\n" % (time.time(), payload))

    return append


def _obey_signals(pause: Pause) -> None:
    """SIGUSR1 pauses, SIGUSR2 resumes."""
    signal.signal(signal.SIGUSR1, lambda *_: pause.order("pause", by="signal"))
    signal.signal(signal.SIGUSR2, lambda *_: pause.order("resume", by="signal"))
