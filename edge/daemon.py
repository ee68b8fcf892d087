"""`classpulse-edge run`: opens what the configuration names and counts until told to stop."""

import argparse
import secrets
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version

from msgspec.structs import replace

from contract.card import ModelCardError
from contract.message import State, StateName, instant
from edge.batch import FrameBatcher
from edge.camera import open_camera
from edge.camera.source import Camera, CameraError, Frame
from edge.clock import Clock
from edge.config import CameraConfig, DetectorConfig, EdgeConfig, load_partly
from edge.health import HealthMonitor
from edge.lock import LockError, single_instance
from edge.pause import Pause
from edge.schedule import Schedule
from edge.uplink.connection import Connection, publish_stopped
from edge.uplink.outbox import Outbox
from edge.uplink.uplink import Action, Hooks, Uplink, UplinkThread
from edge.vision.detector import HAAR_LIMIT, DetectorError
from edge.vision.pipeline import Pipeline, Reading, Record, open_pipeline, readable
from edge.vision.runtime import RuntimeMissingError
from service.config import ConfigError, load
from service.notify import notify
from service.tls import certificate_end

_STOPPED_S = 1.2
"""For the broker's PUBACK of `stopped`; all in all the daemon ends within two seconds."""
_DRAIN_S = 10.0
"""At a file's end, for everything to be confirmed."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The command has no arguments of its own."""
    parser.description = "Count until told to stop."


def run(
    arguments: argparse.Namespace,
    open_camera: Callable[[CameraConfig, DetectorConfig], Camera] = open_camera,
    open_pipeline: Callable[[EdgeConfig, Record], Pipeline] = open_pipeline,
    accepted: Callable[[bytes], None] = lambda _payload: None,
) -> int:
    """Count until told to stop, or until a file ends.

    Args:
        arguments: Of the command line.
        open_camera: Tests bring their own.
        open_pipeline: Tests bring their own.
        accepted: Called with each payload that the outbox has accepted.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    config, boot = load_partly(arguments.config), secrets.token_hex(4)
    try:
        config = load(arguments.config, EdgeConfig)
        with single_instance(config.state):
            pause = Pause(config.state / "pause")
            signal.signal(signal.SIGUSR1, lambda *_: pause.apply("pause", by="signal"))
            signal.signal(signal.SIGUSR2, lambda *_: pause.apply("resume", by="signal"))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGUSR1, signal.SIGUSR2))
            camera = open_camera(config.camera, config.detector)
            monitor = HealthMonitor(boot, config.outbox.confirm, lambda: camera.dropped, time.monotonic())
            with suppress(OSError):  # `check` says what is wrong with it
                if config.mqtt.tls and (end := certificate_end(config.credentials / "device.crt")):
                    monitor.certificate_end = instant(end)
            pipeline = open_pipeline(config, monitor.record)
            clock = Clock(config.clock_wait_s, config.clock.synchronized.exists)
            hooks = Hooks(clock.now, partial(pause.apply, by="MQTT"), accepted)
            make = partial(_uplink, config, _lost(config, boot, pipeline.model), monitor, hooks)
            with UplinkThread(make) as uplink:
                Daemon(config, clock, pause, monitor, uplink).run(camera, pipeline.read)
    except (ConfigError, ModelCardError, DetectorError, RuntimeMissingError) as error:
        if config:
            state = replace(_lost(config, boot, None), state="stopped", reason=str(error)[:1000])
            with suppress(LockError), single_instance(config.state):  # a daemon that runs is not stopped
                publish_stopped(config, state.to_json())
        raise
    return 0


class Daemon:
    """Counts every frame outside pauses, hands the counts to the uplink, and feeds systemd's watchdog on progress."""

    poll_s = 0.5
    """How often a pause is asked whether it is over."""

    def __init__(
        self, config: EdgeConfig, clock: Clock, pause: Pause, monitor: HealthMonitor, uplink: UplinkThread
    ) -> None:
        self._clock = clock
        self._pause = pause
        self._monitor = monitor
        self._uplink = uplink
        self._min_faces = config.publish.min_faces
        self._schedule = Schedule(config.schedule.time_zone, config.schedule.lessons)
        self._batcher = FrameBatcher(clock, config.publish, uplink.publish)
        self._limit = HAAR_LIMIT if config.detector.name == "haar" else ""
        self._progress: tuple[int, ...] = ()
        self._ready = False

    def run(self, camera: Camera, read: Callable[[Frame], Reading]) -> None:
        """Count until the camera ends.

        Raises:
            CameraError: If it fails.
        """
        reason, drain_s = "a fault of the program", 0.0
        try:
            self._count_until_end(camera, read)
            reason, drain_s = "the file has ended", _DRAIN_S
        except CameraError as error:
            reason = str(error)
            raise
        except SystemExit:
            reason = "told to stop"
            raise
        finally:
            notify("STOPPING=1")
            self._batcher.flush(wait=False)
            self._uplink.stop(reason, timeout_s=_STOPPED_S, drain_s=drain_s)

    def _count_until_end(self, camera: Camera, read: Callable[[Frame], Reading]) -> None:
        self._wait_while_paused()  # a daemon that starts in a pause does not touch the camera
        with camera:
            while True:
                self._set_state("ready", self._limit)
                for frame in camera:
                    if self._pause_reason():
                        break  # nothing that is captured in a pause is read
                    self._count(read, frame)
                else:
                    if not self._pause_reason():
                        return
                camera.pause()
                self._wait_while_paused()
                camera.resume()

    def _count(self, read: Callable[[Frame], Reading], frame: Frame) -> None:
        late_s = max(0.0, time.monotonic() - frame.captured_s)
        reading = read(frame)
        if reading.sure >= self._min_faces:
            self._monitor.record("capture", late_s)
        self._monitor.count_frame(reading.captured_s, readable(reading, self._min_faces))
        self._batcher.add(reading)
        self._uplink.check()
        # a frame is done when the outbox has accepted it, or while it waits for the clock or for the end of its span
        ticks = self._uplink.ticks if self._batcher.gathering else -1
        self._feed_watchdog(self._uplink.accepted, self._batcher.waiting, ticks)

    def _wait_while_paused(self) -> None:
        published = ""
        while reason := self._pause_reason():
            if reason != published:
                self._set_state("paused", reason)
                published = reason
            time.sleep(self.poll_s)
            self._batcher.flush(wait=True)
            self._uplink.check()
            self._feed_watchdog(self._uplink.ticks, -1)

    def _pause_reason(self) -> str:
        """Why the sensor must not capture now, "" if it may."""
        if not self._schedule.always:
            if self._clock.stamp(time.monotonic()) is None:
                return "waiting for the clock to be synchronised: lesson hours are set"
            if not self._schedule.in_lesson(self._clock.now().t):
                return "outside lesson hours"
        return self._pause.reason

    def _set_state(self, state: StateName, reason: str) -> None:
        self._batcher.flush(wait=True)
        self._uplink.set_state(state, reason)
        notify(f"{'' if self._ready else 'READY=1'}\nSTATUS={state} {reason}".strip())
        self._ready = True

    def _feed_watchdog(self, *progress: int) -> None:
        """Only where there was progress: a camera or an outbox that hangs must end the daemon."""
        if progress != self._progress:
            self._progress = progress
            notify("WATCHDOG=1")


def _uplink(
    config: EdgeConfig, lost: State, monitor: HealthMonitor, hooks: Hooks, call: Callable[[Action], None]
) -> Uplink:
    outbox = Outbox(config.state / "outbox.sqlite", config.outbox, lost.boot, time.monotonic())
    return Uplink(config, lost, outbox, Connection(config, lost.to_json(), call), monitor, hooks)


def _lost(config: EdgeConfig, boot: str, model: str | None) -> State:
    """What the broker says of this start when the connection is lost, and what all its states have in common."""
    return State(
        state="lost",
        reason="connection lost",
        version=version("classpulse"),
        model=model,
        min_faces=config.publish.min_faces,
        boot=boot,
    )
