"""From an accepted message to its confirmation: what is sent to the broker and when, and the thread that does it."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from queue import Empty, SimpleQueue
from typing import Self

from msgspec.structs import replace

from contract.message import FrameCounts, MessageError, State, StateName, command_from_text, stored_from_json
from edge.config import EdgeConfig
from edge.health import HealthMonitor
from edge.uplink.connection import Connection
from edge.uplink.outbox import Message, Outbox
from service.backoff import Backoff

log = logging.getLogger(__name__)

TICK_S = 0.2
"""How often `tick` is to be called at least."""
SILENT_S = 10.0
"""A message without PUBACK for this long shows a dead connection, whatever TCP says."""
CONNECTING_S = 30.0
"""The longest from `open` to the answer to the subscriptions."""
SWALLOWED_S = 120.0
"""What is acknowledged and then neither stored nor given back for this long is swallowed by the broker, and told."""
RETRY_S = 2.0
"""The longest wait before the first attempt to connect again."""
_REPLAY_BURST_S = 0.5
"""Replay catches up on so much of the time in which it was held up."""
_SPARE_S = 5.0
_CONNECT = 0
"""In place of a message's number, which begin with 1."""
Action = Callable[[float], object]
"""Called by the thread with the present time, monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What an uplink asks, and what it calls."""

    utc: Callable[[], tuple[datetime, bool]]
    """The present instant, and whether the clock is synchronised."""
    command: Callable[[str], None]
    """Called with `pause` or `resume`, as the broker sends it."""
    accepted: Callable[[bytes], None]
    """Called with each accepted payload."""


class Uplink:
    """Owns the outbox and the connection. No clock, no thread: call `tick` several times a second."""

    def __init__(
        self,
        config: EdgeConfig,
        lost: State,
        outbox: Outbox,
        connection: Connection,
        monitor: HealthMonitor,
        hooks: Hooks,
    ) -> None:
        """Join the parts; the first `tick` begins to connect. `lost`: what the broker says when we vanish."""
        self.accepted = 0
        """Messages that the outbox has accepted."""
        self._config = config
        self._outbox = outbox
        self._connection = connection
        self._monitor = monitor
        self._hooks = hooks
        self._flying: dict[int, tuple[float, Message | None]] = {}
        """Number -> when it was sent, and what; None for a state, a health, or an attempt to connect."""
        self._up = False
        self._backoff = Backoff(config.mqtt.reconnect_max_s, first_s=RETRY_S)
        self._connections = 0
        self._lost = self._state = self._published = lost
        """As the broker has it, as far as we know."""
        self._state_mid = 0
        self._stopping = self._removed_command = False
        self._stored: dict[str, int] = {}
        self._stored_s = 0.0
        """When `stored` last changed, or nothing waited for it."""
        self._unread_s = math.inf
        """Since when our own state has been published and not given back."""
        self._health_s = 0.0
        self._replay_s = 0.0
        """When the next message from the file may be sent."""

    def publish(self, frames: tuple[FrameCounts, ...], now: float, *, synced: bool) -> None:
        """Accept frames as one message, and send it as soon as the broker takes it."""
        message = self._outbox.accept(frames, self._state.model, now, synced=synced)
        self.accepted += 1
        self._hooks.accepted(message.payload)
        self._send_waiting(now)

    def set_state(self, state: StateName, reason: str, now: float) -> None:
        """Publish another state."""
        log.info("%s %s", state, reason)
        self._state = replace(self._state, state=state, reason=reason[:1000])
        self._publish_state(now)

    def tick(self, now: float) -> None:
        """What is due by now."""
        t, synced = self._hooks.utc()
        if not self._stopping:
            self._outbox.tick(now, t.timestamp() if synced else None)
        self._give_up_silent(now)
        if not self._up or self.idle:
            self._stored_s = now
        if not (self._up or self._flying) and self._backoff.left_s(now) <= 0:
            self._flying[_CONNECT] = (now, None)
            self._connection.open(self)
        if self._up:
            self._publish_state(now)
            self._send_waiting(now)
            if now >= self._health_s and not self._stopping:
                self._publish_health(now)

    @property
    def idle(self) -> bool:
        """Whether everything accepted is confirmed."""
        return self._outbox.messages == 0

    def stop(self, reason: str, now: float) -> None:
        """Say `stopped` and put what waits on disk; nothing is accepted any more. Then `tick` until `stopped`."""
        self._stopping = True
        self.set_state("stopped", reason, now)
        self._outbox.close(now)

    @property
    def stopped(self) -> bool:
        """Whether the broker has acknowledged the last state."""
        return self._stopping and self._published == self._state and self._state_mid not in self._flying

    def close(self) -> None:
        """End the connection; the broker does not publish the last will if it still hears us."""
        self._connection.close()

    # -- called when something happens to the connection

    def connected(self, now: float) -> None:
        """The broker accepted the connection: everything unconfirmed is sent again."""
        log.info("connected to %s:%d", self._config.mqtt.host, self._config.mqtt.port)
        self._up = True
        self._flying.clear()
        self._connections += 1
        self._published = self._lost
        self._outbox.connected()
        self._replay_s = self._health_s = now
        self.tick(now)

    def disconnected(self, reason: str, now: float) -> None:
        """The connection ended, or never came to be."""
        self._connection.drop()
        self._up, self._unread_s = False, math.inf
        self._flying.clear()
        wait_s = self._backoff.failed(now)
        mqtt = self._config.mqtt
        log.error("%s:%d: %s; next attempt in %.1f s", mqtt.host, mqtt.port, reason, wait_s)

    def acked(self, mid: int, now: float) -> None:
        """The PUBACK of a message came."""
        if mid not in self._flying:
            return
        _, message = self._flying.pop(mid)
        self._backoff.succeeded()
        if message:
            self._outbox.acked(message)
            if not message.replayed:
                self._monitor.record("publish", now - message.accepted_s)
        self._send_waiting(now)

    def received(self, kind: str, payload: bytes, retained: bool, now: float) -> None:  # noqa: FBT001 - as it comes
        """The broker sent a message."""
        try:
            if kind == "stored":
                stored = stored_from_json(payload)
                self._outbox.confirm(stored)
                self._stored_s = self._stored_s if stored == self._stored else now
                self._stored = stored
            elif kind == "set" and retained:
                self._remove_command(payload, now)
            elif kind == "set" and payload:
                self._hooks.command(command_from_text(payload))
            elif kind == "state" and payload:
                state = State.from_json(payload)
                self._unread_s = math.inf if state.boot == self._state.boot else self._unread_s
                self._correct_state(state.state, now)
        except MessageError as error:
            log.warning("%s: %s", self._config.device.topic(kind), error)

    # -- in its own time

    def _correct_state(self, state: str, now: float) -> None:
        """Publish the state again if the broker has a wrong one.

        That is the last will of a connection that ended after this one began, or a second process that could not start.
        """
        if state == "lost" or (state == "stopped" and not self._stopping):
            self._published = self._lost
            self._publish_state(now)

    def _remove_command(self, payload: bytes, now: float) -> None:
        """A retained command would undo at every reconnect what was ordered since: it is none."""
        log.warning("%s: a retained %r is not obeyed", self._config.device.topic("set"), payload[:32])
        if not self._removed_command:  # once: a broker that forbids it may end the connection
            self._removed_command = True
            self._send("set", b"", now)

    def _give_up_silent(self, now: float) -> None:
        """Give a connection up that does not answer, for TCP can take hours to notice."""
        answer, within_s = ("PUBACK", SILENT_S) if self._up else ("answer", CONNECTING_S)
        within_s *= self._backoff.patience
        oldest_s, _ = next(iter(self._flying.values()), (now, None))
        if now - oldest_s > within_s:
            self.disconnected(f"no {answer} for {within_s:.0f} s", now)

    def _send_waiting(self, now: float) -> None:
        """Live messages first, and what was saved as far as the window and the rate allow."""
        if not self._up:
            return
        window, rate_hz = self._config.mqtt.inflight, self._config.mqtt.replay_hz
        while len(self._flying) < window and (message := self._outbox.next_live(now)):
            self._send("counts", message.payload, now, message)
        self._replay_s = max(self._replay_s, now - _REPLAY_BURST_S)
        # the other half of the window stays free for live messages
        while now >= self._replay_s and len(self._flying) < max(1, window // 2):
            saved = self._outbox.next_saved(now)
            if saved is None:
                return
            self._replay_s += 1 / rate_hz
            self._send("counts", saved.payload, now, saved)

    def _send(self, kind: str, payload: bytes, now: float, message: Message | None = None) -> int:
        mid = self._connection.publish(kind, payload, retain=kind != "counts")
        self._flying[mid] = (now, message)
        return mid

    def _publish_state(self, now: float) -> None:
        """Publish the state if the broker does not have it."""
        state, problem = self._state, self._problem(now)
        if problem and state.state == "ready":
            state = replace(state, state="degraded", reason=problem)
        if self._up and state != self._published:
            if state.state == "degraded":
                log.error("degraded: %s", problem)
            self._published, self._unread_s = state, min(self._unread_s, now)
            self._state_mid = self._send("state", state.to_json(), now)

    def _problem(self, now: float) -> str:
        """Why the state cannot be `ready`; "" if it can."""
        if self._outbox.error:
            return f"outbox: {self._outbox.error}"
        if now - self._unread_s > SWALLOWED_S:
            return "our own state does not come back: the broker's access list must let this device read its topics"
        if self._config.outbox.confirm == "stored" and now - self._stored_s > SWALLOWED_S:
            return (
                "acknowledged but not stored for two minutes: does the aggregator run, and does the broker let this "
                "device write counts (access list, size limits) and read stored?"
            )
        return ""

    def _publish_health(self, now: float) -> None:
        self._health_s = now + self._config.publish.health_s
        t, synced = self._hooks.utc()
        outbox = self._outbox.stats(now, t.timestamp() if synced else None)
        health = self._monitor.report(t, now, **outbox, reconnects=max(0, self._connections - 1))
        self._send("health", health.to_json(), now)


class UplinkThread:
    """Runs an uplink from `with` until `stop`: others only enqueue, and SQLite is touched by one thread."""

    def __init__(self, make: Callable[[Callable[[Action], None]], Uplink], spare_s: float = _SPARE_S) -> None:
        """Set up.

        Args:
            make: Makes the uplink, in its thread; is given what has an action called by that thread.
            spare_s: How long the end of the thread may take besides what `stop` allows.
        """
        self.ticks = 0
        """Rises as long as the thread does its work."""
        self._make = make
        self._spare_s = spare_s
        self._inbox: SimpleQueue[Action | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self._made = threading.Event()
        self._uplink: Uplink
        self._error: BaseException | None = None
        self._last: tuple[str, float, float] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        # a large outbox on a slow card is checked when it is opened; a start that hangs is ended by systemd
        self._made.wait()
        self.check()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        self.stop(f"failed: {error!r}" if error else "ended", timeout_s=1.0)
        if self._error is not error:
            self.check()

    @property
    def accepted(self) -> int:
        """Messages that the outbox has accepted."""
        return self._uplink.accepted

    def publish(self, frames: tuple[FrameCounts, ...], *, synced: bool) -> None:
        """Have frames accepted as one message."""
        self._inbox.put(partial(self._uplink.publish, frames, synced=synced))

    def set_state(self, state: StateName, reason: str) -> None:
        """Have another state published."""
        self._inbox.put(partial(self._uplink.set_state, state, reason))

    def check(self) -> None:
        """Raise the error that ended the thread, if one did.

        Raises:
            Exception: That error.
        """
        if self._error:
            raise self._error

    def stop(self, reason: str, *, timeout_s: float, drain_s: float = 0.0) -> None:
        """Say `stopped` and end the thread; nothing if it has ended, or was stopped before.

        Args:
            reason: For people.
            timeout_s: How long to wait for the broker to have the last state.
            drain_s: How long to wait, before, for everything accepted to be confirmed.
        """
        if self._last or not self._thread.is_alive():
            return
        self._last = (reason, timeout_s, drain_s)
        self._inbox.put(None)
        self._thread.join(timeout_s + drain_s + self._spare_s)
        if self._thread.is_alive():
            log.error("the outbox does not end: what it has in memory is lost with this process")

    def _run(self) -> None:
        try:
            self._uplink = uplink = self._make(self._inbox.put)
            self._made.set()
            self._work(uplink, lambda: False, math.inf)
            reason, timeout_s, drain_s = self._last or ("", 0.0, 0.0)
            self._work(uplink, lambda: uplink.idle, drain_s)
            uplink.stop(reason, time.monotonic())
            self._work(uplink, lambda: uplink.stopped, timeout_s)
            uplink.close()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the main thread
            self._error = error
            self._made.set()

    def _work(self, uplink: Uplink, done: Callable[[], bool], within_s: float) -> None:
        """Tick and call actions until `done` or within_s, or until `stop` is called."""
        tick_s = time.monotonic()
        end_s = tick_s + within_s
        while not done() and time.monotonic() < end_s:
            if time.monotonic() >= tick_s:
                uplink.tick(time.monotonic())
                tick_s = time.monotonic() + TICK_S
                self.ticks += 1
            try:
                action = self._inbox.get(timeout=max(0.0, tick_s - time.monotonic()))
            except Empty:
                continue
            if action is None:
                return
            action(time.monotonic())
