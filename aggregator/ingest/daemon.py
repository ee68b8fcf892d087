"""The aggregator's loop: read, commit, acknowledge; then publish `stored`, summaries and events.

It drops, counts and logs what it cannot read, and stays up; only a store that can never be written ends it.
"""

import argparse
import logging
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from secrets import token_hex
from typing import TYPE_CHECKING, TypeVar, cast

from aggregator.analysis.cards import estimator_of
from aggregator.analysis.rooms import LONGEST_S, Rooms
from aggregator.config import AggregatorConfig
from aggregator.ingest.batch import Acknowledge, RawMessage, Source, read
from aggregator.ingest.boots import DuplicateDevices, Goodbyes
from aggregator.ingest.home_assistant import discovery
from aggregator.ingest.limits import Limits
from aggregator.ingest.metrics import IngestStats, serve
from aggregator.ingest.mqtt import MqttSource
from aggregator.ingest.sharding import Sharding, states_of
from aggregator.store.factory import open_store
from aggregator.store.types import Arrival, Batch, Committed, Store, StoreUnavailableError
from aggregator.store.windows import AHEAD_S
from contract.message import State, StateName, stored_to_json
from contract.topics import Device, Room, aggregator_state
from service.config import ConfigError, load
from service.notify import notify

if TYPE_CHECKING:
    from aggregator.store.postgresql import PostgresqlStore

log = logging.getLogger(__name__)
Result = TypeVar("Result")

_STORED_S = 0.3
"""A device's `stored` is published this often at most; what is not in it 0.7 s later goes to the device's disk."""
_PUBLISH_S = 0.5
"""Rooms are looked through this often, and may take half of it."""
_RETRY_S = 1.0
"""Between attempts to use a store that is unavailable."""
_LOG_S = 10.0
"""What is rejected is logged this often at most, with its number."""
_EXPIRE_S = 3600.0
_AGREED_S = 600.0
"""A device's synchronised clock must have agreed with ours so shortly before anything is deleted: ours may jump."""
_WATCHDOG_S = 2.0


class Aggregator:
    """Everything between source and store; `run` it."""

    def __init__(
        self,
        config: AggregatorConfig,
        store: Store,
        source: Source,
        rooms: Rooms,
        sharding: Sharding | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`sharding`: of one aggregator of several, keeps `rooms` up to date; `clock`: seconds since 1970."""
        self._config = config
        self._store = store
        self._source = source
        self._rooms = rooms
        self._clock = clock
        self._sharding = sharding
        self._duplicates = DuplicateDevices()
        self._goodbyes = Goodbyes()
        self._limits = Limits(rooms.estimator.cards)
        self._clock_agreed_at = float("-inf")
        self._store_problem = ""
        self._state = own_state("ready")
        self._changed: dict[Device, None] = {}
        self._published_at: dict[Device, float] = {}
        self._unlogged: dict[str, tuple[int, str, str]] = {}
        self._done_at: dict[str, float] = {}
        self._discovered: dict[Room, frozenset[str]] = {}
        self._warned: set[Device] = set()
        self.stats = IngestStats()
        source.on_connected = self._on_connected

    def run(self) -> None:
        """Until SystemExit."""
        if self._sharding is None:
            self._until_available(self._restore)
        notify("READY=1")
        try:
            for messages, acknowledge in self._source.batches():
                if messages:
                    self._ingest(messages, acknowledge)
                self._other_duties()
        finally:
            self._set_state("stopped", "")

    def _restore(self) -> None:
        """Which rooms there are; they are read one after another, as time allows: all at once would take long."""
        known, devices = states_of(self._store.states()), self._store.devices()
        self._goodbyes.restore(known)
        self._rooms.expect({*known, *devices}, known)
        # a kill between commit and `stored` leaves devices that would wait for it until they send again
        self._changed.update(dict.fromkeys(devices))

    def _read_room(self, room: Room) -> None:
        """What the store has of it."""
        now = self._clock()
        begin, end = int(now) - LONGEST_S, int(now + AHEAD_S)
        windows = self._until_available(lambda: self._store.windows(room.site, room.room, begin, end))
        self._rooms.unread.remove(room)
        self._rooms.replace(windows, {}, now)

    def _ingest(self, messages: list[RawMessage], acknowledge: Acknowledge) -> None:
        batch = read(messages, self._limits)
        # before the commit: an aggregator that is killed in between tells it again after its restart
        for device, *boots in self._goodbyes.check(batch.said):
            self.stats.cuts[device] += 1
            text = "%s: boot %s ended without a goodbye before boot %s; what was taken in the last second may be lost"
            log.warning(text, device.identity, *boots)
        committed = self._until_available(lambda: self._store.commit(batch))
        acknowledge([each.position for each in batch.rejected])
        self._account(batch, committed)

    def _until_available(self, use: Callable[[], Result]) -> Result:
        """Nothing is acknowledged while the store is unavailable: the broker and the devices keep it."""
        while True:
            try:
                result = use()
            except StoreUnavailableError as error:
                self.stats.store_failures += 1
                self._update_state(str(error))
                self._source.serve(_RETRY_S)
                self._feed_watchdog()
            else:
                self._update_state("")
                return result

    def _account(self, batch: Batch, committed: Committed) -> None:
        self.stats.batches += 1
        self.stats.messages += committed.fresh
        self.stats.duplicates += committed.duplicates
        self._changed.update(dict.fromkeys(committed.devices))
        if self._sharding is None:
            newest = [(each.device, each.newest) for each in batch.counts if each.message.synced]
            states = {device: state for device, (state, _) in batch.states.items()}
            self._rooms.add(committed.windows, newest, states, self._clock())
        for device, number in committed.lost.items():
            self.stats.lost[device] += number
            log.error("%s: %d messages are lost: not stored, and the device has them no more", device.identity, number)
        for rejected in batch.rejected:
            self._count(rejected.reason, rejected.topic, rejected.text)
        for arrival in batch.counts:
            self._check_clock(arrival)
        if self._config.amqp:
            self._check_confirm(batch)
        for device in self._duplicates.check(batch.counts):
            log.error("%s is two devices: two daemons take frames under this id at the same time", device.identity)

    def _check_clock(self, arrival: Arrival) -> None:
        """With our clock far ahead, retention would delete good windows: a device has to agree with it first."""
        ahead_s = arrival.newest - arrival.received
        if arrival.message.synced and ahead_s > AHEAD_S:
            text = f"its newest frame is {ahead_s / 3600:.1f} hours in the future"
            self._count("ahead", arrival.device.topic("counts"), text)
        elif arrival.message.synced and ahead_s > -AHEAD_S:
            self._clock_agreed_at = arrival.received

    def _check_confirm(self, batch: Batch) -> None:
        """Name devices that keep everything until a `stored` that never comes."""
        for device, (health, _) in batch.healths.items():
            if health.confirm == "stored" and device not in self._warned:
                self._warned.add(device)
                log.error('%s needs [outbox] confirm = "puback": a cluster publishes no `stored`', device.identity)

    def _count(self, reason: str, topic: str, text: str) -> None:
        self.stats.reasons[reason] += 1
        self._unlogged[reason] = self._unlogged.get(reason, (0, "", ""))[0] + 1, topic, text

    def _other_duties(self) -> None:
        self._feed_watchdog()
        self._update_state(self._store_problem)
        if self._source.connected:
            self._publish_stored()
        if self._source.connected and self._due("publish", _PUBLISH_S):
            if self._sharding:
                self._sharding.refresh(self._clock())
            self._publish_rooms()
        if self._unlogged and self._due("log", _LOG_S):
            for reason, (number, topic, text) in self._unlogged.items():
                log.warning("%d x %s, the last on %.200r: %.400r", number, reason, topic, text)
            self._unlogged.clear()
        if 0 <= self._clock() - self._clock_agreed_at < _AGREED_S and self._due("expire", _EXPIRE_S):
            self._delete_expired()

    def _feed_watchdog(self) -> None:
        if self._due("watchdog", _WATCHDOG_S):
            notify("WATCHDOG=1")

    def _due(self, duty: str, every_s: float) -> bool:
        """Whether it is time again for a duty that is done every so many seconds."""
        now = time.monotonic()
        if now - self._done_at.get(duty, float("-inf")) < every_s:
            return False
        self._done_at[duty] = now
        return True

    def _publish_stored(self) -> None:
        """To the devices for which it may have changed; what cannot be read now is published later."""
        now = time.monotonic()
        due = [device for device in self._changed if now - self._published_at.get(device, float("-inf")) >= _STORED_S]
        try:
            for device in due:
                payload = stored_to_json(self._store.stored(device))
                # QoS 0 costs a third, and devices ask for no more: a lost one is followed by the next
                self._source.publish(device.topic("stored"), payload, retain=True, qos=0)
                self._published_at[device] = now
                del self._changed[device]
        except StoreUnavailableError as error:
            self._update_state(str(error))
        else:
            self._update_state("" if due else self._store_problem)

    def _publish_rooms(self) -> None:
        """Summaries and events, as far as time allows: after a restart hundreds of lessons are added up anew."""
        deadline = time.monotonic() + _PUBLISH_S / 2
        # most of it: they have no summary yet
        while self._rooms.unread and time.monotonic() < deadline - _PUBLISH_S / 10:
            self._read_room(next(iter(self._rooms.unread)))
        for summary in self._rooms.due(self._clock(), self._config.summary.every_s):
            payload = b"" if summary.over else summary.to_json()  # a retained topic is cleared by an empty payload
            self._source.publish(summary.where.topic("summary"), payload, retain=True)
            self.stats.rooms[summary.where] = self._clock(), summary.recent
            if self._config.home_assistant.enabled:
                self._discover(summary.where, frozenset(summary.devices))
            if time.monotonic() > deadline:
                return
        for found in self._rooms.events(self._clock()):
            for room, event in found:
                self._source.publish(room.topic("events"), event.to_json(room), retain=False)
            if time.monotonic() > deadline:
                return

    def _discover(self, room: Room, devices: frozenset[str]) -> None:
        """Tell Home Assistant of a room, once for each connection and whenever its devices are others."""
        if self._discovered.get(room) != devices:
            self._discovered[room] = devices
            groups, prefix = self._rooms.estimator.groups, self._config.home_assistant.prefix
            told = discovery(room, sorted(devices), groups, prefix, self._config.site)
            self._source.publish(*told, retain=True)

    def _delete_expired(self) -> None:
        try:
            deleted = self._store.expire(self._clock(), self._config.store.retention_days)
        except StoreUnavailableError as error:
            log.warning("nothing expired is deleted this hour: %s", error)
        else:
            log.log(logging.INFO if deleted else logging.DEBUG, "deleted %d windows older than retention_days", deleted)

    def _update_state(self, store_problem: str) -> None:
        self._store_problem = store_problem
        problem = store_problem or self._source.problem
        self._set_state("degraded" if problem else "ready", problem)

    def _set_state(self, state: StateName, reason: str) -> None:
        if (state, reason) == (self._state.state, self._state.reason):
            return
        log.log(logging.WARNING if state == "degraded" else logging.INFO, "%s %s", state, reason)
        self._state = own_state(state, reason, self._state.boot)
        self._publish_state()

    def _on_connected(self) -> None:
        self._discovered.clear()  # a broker that lost its retained messages has none of them
        self._publish_state()

    def _publish_state(self) -> None:
        if self._config.amqp:  # one of several: the topic is of a site's only one
            return
        self._source.publish(aggregator_state(self._config.site), self._state.to_json(), retain=True)


def own_state(state: StateName, reason: str = "", boot: str = "") -> State:
    """The aggregator's own state, in the form that devices use."""
    boot = boot or token_hex(4)
    return State(state=state, reason=reason[:1000], version=version("classpulse"), model=None, min_faces=0, boot=boot)


def open_source(config: AggregatorConfig) -> Source:
    """A cluster's queues with `[amqp]`, an MQTT broker without.

    Raises:
        ConfigError: If its client library is not installed.
        OSError: If a credential cannot be read.
    """
    if config.amqp is None:
        lost = aggregator_state(config.site), own_state("lost").to_json()
        return MqttSource(config.mqtt, config.credentials, lost)
    try:
        from aggregator.ingest.amqp import AmqpSource  # noqa: PLC0415 - an extra, see below
    except ImportError as error:
        raise ConfigError(f"[amqp] needs pip install 'classpulse[aggregator,cluster]': {error}") from error
    return AmqpSource(config.amqp, config.credentials)


def configure(_parser: argparse.ArgumentParser) -> None:
    """It has no arguments of its own."""


def run(arguments: argparse.Namespace) -> int:
    """Store and publish until told to stop."""
    run_daemon(load(arguments.config, AggregatorConfig))
    return os.EX_OK


def run_daemon(config: AggregatorConfig) -> None:
    """The daemon, until SystemExit.

    Raises:
        ConfigError: If a client library that the configuration asks for is not installed.
        StoreError: If the store cannot be used.
        OSError: If a credential cannot be read.
    """
    rooms = Rooms(estimator_of(config), config.attention)
    with open_store(config) as store, open_source(config) as source:
        sharding = Sharding(cast("PostgresqlStore", store), rooms) if config.postgresql else None
        aggregator = Aggregator(config, store, source, rooms, sharding)
        serve(config, aggregator.stats)
        aggregator.run()
