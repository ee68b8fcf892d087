"""Carries messages from the outbox to the broker and confirmations back. Clock and connection are passed in."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from contract.message import FrameCounts, MessageError, State, StateName, command_from_text, stored_from_json
from edge.config import EdgeConfig
from edge.health import Backlog, Vitals
from edge.uplink.memory import Message
from edge.uplink.outbox import Outbox
from edge.uplink.publisher import Acked, Down, Event, Heard, Link, Up, backoff_s

log = logging.getLogger(__name__)

TICK_S = 0.2
"""How often `tick` is to be called at least."""
SILENT_S = 10.0
"""A message without PUBACK for this long shows a dead connection, whatever paho says."""
CONNECTING_S = 30.0
"""The longest from `open` to an answer."""
_REPLAY_BURST_S = 0.5


class Frames(NamedTuple):
    """To be one message."""

    frames: tuple[FrameCounts, ...]
    synced: bool


class Status(NamedTuple):
    """What the daemon says of itself."""

    state: StateName
    reason: str


@dataclass(frozen=True, slots=True)
class About:
    """What every `state` of this start says."""

    version: str
    model: str | None
    min_faces: int
    boot: str

    def state(self, state: StateName, reason: str) -> bytes:
        """The payload."""
        return State(
            state=state,
            reason=reason[:1000],
            version=self.version,
            model=self.model,
            min_faces=self.min_faces,
            boot=self.boot,
        ).to_json()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a courier asks and tells."""

    utc: Callable[[], tuple[datetime, bool]]
    """The present instant, and whether the clock is synchronised."""
    order: Callable[[str], None]
    """Told `pause` or `resume`, as the broker sends it."""
    ledger: Callable[[bytes], None]
    """Told each accepted payload."""


class _Flight(NamedTuple):
    message: Message | None
    """None for a state or a health."""
    sent_s: float
    replayed: bool


class Courier:
    """Owns the outbox and the connection. `take` what happens, `tick` several times a second."""

    def __init__(
        self,
        config: EdgeConfig,
        about: About,
        outbox: Outbox,
        link: Link,
        vitals: Vitals,
        surroundings: Surroundings,
    ) -> None:
        """Join the parts; the first `tick` begins to connect.

        Args:
            config: Of the daemon.
            about: Of this start.
            outbox: What waits.
            link: To the broker.
            vitals: Asked for `health`, told how long publishing takes.
            surroundings: Everything else.
        """
        self.accepted = 0
        """Messages so far."""
        self._config = config
        self._about = about
        self._outbox = outbox
        self._link = link
        self._vitals = vitals
        self._around = surroundings
        self._flying: dict[Acked, _Flight] = {}
        self._up = False
        self._opened_s: float | None = None
        self._attempt = 0
        self._try_s = 0.0
        self._ups = 0
        self._status: Status | None = None
        self._said: Status | None = None
        self._say_receipt: Acked | None = None
        self._leaving = False
        self._health_s = 0.0
        self._budget = 0.0
        self._budget_s = 0.0

    def take(self, event: Frames | Status | Event, now: float) -> None:
        """Something happened."""
        match event:
            case Frames(frames, synced):
                message = self._outbox.accept(frames, self._about.model, now, synced=synced)
                self.accepted += 1
                self._around.ledger(message.payload)
                self._send_waiting(now)
            case Status():
                log.info("%s %s", event.state, event.reason)
                self._status = event
                self._say(now)
            case Up() | Down() | Acked() | Heard():
                if event.connection == self._link.connection:
                    self._hear(event, now)

    def tick(self, now: float) -> None:
        """What is due by now."""
        t, synced = self._around.utc()
        if not self._leaving:
            self._outbox.tick(now, away=not self._up, utc_s=t.timestamp() if synced else None)
        self._judge(now)
        if self._opened_s is None and now >= self._try_s:
            self._opened_s = now
            self._link.open()
        if self._up:
            self._say(now)
            self._send_waiting(now)
            if now >= self._health_s and not self._leaving:
                self._send_health(now)

    @property
    def idle(self) -> bool:
        """Whether everything accepted is confirmed."""
        return self._outbox.messages == 0

    def leave(self, reason: str, now: float) -> None:
        """Say `stopped` and put what waits on disk; nothing is accepted any more. Then `tick` until `left`."""
        self._status, self._leaving = Status("stopped", reason), True
        self._say(now)
        self._outbox.close(now)

    @property
    def left(self) -> bool:
        """Whether the broker has acknowledged the last state."""
        return self._leaving and self._said == self._status and self._say_receipt not in self._flying

    def close(self) -> None:
        """End the connection; the broker does not publish the last will if it still hears us."""
        self._link.close()

    def _hear(self, event: Event, now: float) -> None:
        match event:
            case Up():
                self._come_up(now)
            case Down(_, reason):
                self._go_down(reason, now)
            case Acked():
                self._acknowledge(event, now)
            case Heard(_, kind, payload):
                try:
                    self._obey(kind, payload, now)
                except MessageError as error:
                    log.warning("%s: %s", self._config.device.topic(kind), error)

    def _come_up(self, now: float) -> None:
        log.info("connected to %s:%d", self._config.mqtt.host, self._config.mqtt.port)
        self._up = True
        self._ups += 1
        self._said = None
        self._outbox.connected()
        self._budget_s, self._budget, self._health_s = now, 0.0, now
        self.tick(now)

    def _go_down(self, reason: str, now: float) -> None:
        self._link.drop()
        if not self._leaving:
            self._outbox.disconnected(now)
        self._up, self._opened_s = False, None
        self._flying.clear()
        self._attempt += 1
        wait_s = backoff_s(self._attempt, self._config.mqtt.reconnect_max_s)
        self._try_s = now + wait_s
        mqtt = self._config.mqtt
        log.error("%s:%d: %s; next attempt in %.1f s", mqtt.host, mqtt.port, reason, wait_s)

    def _judge(self, now: float) -> None:
        """Give a connection up that does not answer, for TCP can take hours to notice."""
        if self._up:
            oldest = next(iter(self._flying.values()), None)
            if oldest and now - oldest.sent_s > SILENT_S:
                self._go_down(f"no PUBACK for {SILENT_S:.0f} s", now)
        elif self._opened_s is not None and now - self._opened_s > CONNECTING_S:
            self._go_down(f"no answer for {CONNECTING_S:.0f} s", now)

    def _acknowledge(self, receipt: Acked, now: float) -> None:
        flight = self._flying.pop(receipt, None)
        if flight is None:
            return
        self._attempt = 0
        if flight.message:
            self._outbox.acked(flight.message.name)
            if not flight.replayed:
                self._vitals.record("publish", now - flight.message.accepted_s)
        self._send_waiting(now)

    def _obey(self, kind: str, payload: bytes, now: float) -> None:
        if kind == "stored":
            self._outbox.confirm(stored_from_json(payload))
        elif kind == "set":
            self._around.order(command_from_text(payload))
        elif kind == "state" and payload:
            said = State.from_json(payload).state
            # the will of a connection that ended after this one began, or a second process that could not start
            if said == "lost" or (said == "stopped" and not self._leaving):
                self._said = None
                self._say(now)

    def _send_waiting(self, now: float) -> None:
        """Live messages first, and what was saved as far as the window and the rate allow."""
        window = self._config.mqtt.inflight
        while self._up and len(self._flying) < window and (message := self._outbox.next_live()):
            self._outbox.sent(message.name, now)
            self._send("counts", message.payload, now, message)
        rate_hz = self._config.mqtt.replay_hz
        self._budget = min(rate_hz * _REPLAY_BURST_S, self._budget + (now - self._budget_s) * rate_hz)
        self._budget_s = now
        # the other half of the window stays free for live messages
        while self._up and self._budget >= 1 and len(self._flying) < max(1, window // 2):
            saved = self._outbox.next_saved(now)
            if saved is None:
                return
            self._budget -= 1
            self._send("counts", saved.payload, now, saved, replayed=True)

    def _send(
        self, kind: str, payload: bytes, now: float, message: Message | None = None, *, replayed: bool = False
    ) -> Acked:
        receipt = self._link.send(kind, payload, retain=kind != "counts")
        self._flying[receipt] = _Flight(message, now, replayed)
        return receipt

    def _say(self, now: float) -> None:
        """Publish the state if the broker does not know it."""
        status = self._status
        if status and self._outbox.trouble and status.state == "ready":
            status = Status("degraded", f"outbox: {self._outbox.trouble}")
        if self._up and status and status != self._said:
            self._said = status
            self._say_receipt = self._send("state", self._about.state(*status), now)

    def _send_health(self, now: float) -> None:
        self._health_s = now + self._config.publish.health_s
        t, synced = self._around.utc()
        outbox = self._outbox
        backlog = Backlog(
            messages=outbox.messages,
            bytes=outbox.bytes,
            oldest_s=outbox.oldest_s(now, t.timestamp() if synced else None),
            dropped=outbox.dropped,
            first=outbox.first(now),
        )
        health = self._vitals.report(t, now, backlog, max(0, self._ups - 1))
        self._send("health", health.to_json(), now)
