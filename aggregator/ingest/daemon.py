"""The aggregator's loop: read, commit, acknowledge, then tell devices what is stored and everybody how the rooms are.

It drops, counts and logs what it cannot read, and stays up; only a store that can never be written ends it.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import cast

from aggregator.analysis.live import Live
from aggregator.config import AggregatorConfig
from aggregator.ingest.alerts import Alerts
from aggregator.ingest.batch import AHEAD_S, Batch, Complaint, Item, read
from aggregator.ingest.following import Alone, Dealt, Following, Shared
from aggregator.ingest.home_assistant import discovery
from aggregator.ingest.metrics import Tally, serve
from aggregator.ingest.source import Source, open_source
from aggregator.ingest.twins import Twins
from aggregator.store.types import Committed, Store, StoreUnavailableError, open_store
from contract.card import ModelCard, ModelCardError
from contract.card import read as read_card
from contract.message import State, StateName, stored_to_json
from contract.topics import Device, Room, aggregator_state
from service.notify import notify

log = logging.getLogger(__name__)

_STORED_S = 5.0
"""A device is told what is stored this often at most."""
_TELL_S = 0.5
"""Devices and rooms are looked through this often; rooms may take half of it."""
_RETRY_S = 1.0
"""Between attempts to commit while the store cannot be written."""
_COMPLAIN_S = 10.0
"""What is dropped is logged this often at most, with its number."""
_EXPIRE_S = 3600.0
_WATCHDOG_S = 2.0


class Pace:
    """Says when it is time again."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._last = float("-inf")

    def due(self) -> bool:
        """Whether `span_s` seconds have passed since it last was."""
        now = time.monotonic()
        if now - self._last < self._span_s:
            return False
        self._last = now
        return True


class Aggregator:
    """Everything between source and store; `run` it."""

    def __init__(
        self,
        config: AggregatorConfig,
        store: Store,
        source: Source,
        live: Live,
        clock: Callable[[], float] = time.time,
        following: Following | None = None,
    ) -> None:
        """`clock`: seconds since 1970; `following` is what keeps `live` up to date, Alone if not given."""
        self._config = config
        self._store = store
        self._source = source
        self._live = live
        self._clock = clock
        self._following = following or Alone(store, live)
        self._twins = Twins()
        self._clock_agrees = False
        self._state = word("ready")
        self._unsaid: dict[Device, None] = {}
        self._said: dict[Device, float] = {}
        self._unlogged: dict[str, tuple[int, Complaint]] = {}
        self._watchdog, self._expire = Pace(_WATCHDOG_S), Pace(_EXPIRE_S)
        self._complain, self._tell = Pace(_COMPLAIN_S), Pace(_TELL_S)
        self._introduced: set[Room] = set()
        self._warned: set[Device] = set()
        self.tally = Tally()
        source.on_connected = self._say_state

    def run(self) -> None:
        """Until SystemExit."""
        self._following.begin(self._clock())
        # a kill between commit and `stored` leaves devices that would wait for the word until they send again
        self._unsaid.update(dict.fromkeys(self._store.devices()))
        notify("READY=1")
        try:
            for items, acknowledge in self._source.batches():
                self._take(items, acknowledge)
                self._other_duties()
        finally:
            self._set_state("stopped", "")

    def _take(self, items: list[Item], acknowledge: Callable[[Collection[int]], None]) -> None:
        if not items:
            return
        batch = read(items)
        committed = self._until_it_succeeds(lambda: self._store.commit(batch))
        acknowledge(batch.dropped)
        self._note(batch, committed)

    def _until_it_succeeds(self, write: Callable[[], Committed]) -> Committed:
        """Nothing is acknowledged while the store cannot be written: the broker and the devices keep it."""
        while True:
            try:
                result = write()
            except StoreUnavailableError as error:
                self.tally.store_failures += 1
                self._set_state("degraded", str(error))
                self._source.serve(_RETRY_S)
                self._alive()
            else:
                self._set_state("ready", "")
                return result

    def _note(self, batch: Batch, committed: Committed) -> None:
        self.tally.batches += 1
        self.tally.messages += committed.fresh
        self.tally.duplicates += committed.duplicates
        self._unsaid.update(dict.fromkeys(committed.devices))
        self._following.note(batch, committed.windows, self._clock())
        # With a clock far ahead, retention would forget everything: a device has to agree with ours first.
        self._clock_agrees |= any(
            arrival.message.synced and abs(arrival.received - arrival.newest) < AHEAD_S for arrival in batch.counts
        )
        for complaint in batch.complaints:
            self.tally.complaints[complaint.reason] += 1
            self._unlogged[complaint.reason] = self._unlogged.get(complaint.reason, (0,))[0] + 1, complaint
        if self._config.amqp:
            self._warn_of_waiting(batch)
        for device in self._twins.note(batch.counts):
            log.error("%s is two devices: two daemons take frames under this id at the same time", device.identity)

    def _warn_of_waiting(self, batch: Batch) -> None:
        """Of devices that keep everything for a word that never comes."""
        for device, (health, _) in batch.healths.items():
            if health.confirm == "stored" and device not in self._warned:
                self._warned.add(device)
                log.error('%s needs [outbox] confirm = "puback": a cluster does not tell `stored`', device.identity)

    def _other_duties(self) -> None:
        self._alive()
        if self._tell.due() and self._source.connected:
            self._tell_devices()
            self._following.refresh(self._clock())
            self._tell_rooms()
        if self._unlogged and self._complain.due():
            self._log_complaints()
        if self._clock_agrees and self._expire.due():
            self._forget()

    def _alive(self) -> None:
        if self._watchdog.due():
            notify("WATCHDOG=1")

    def _tell_devices(self) -> None:
        now = time.monotonic()
        for device in [device for device in self._unsaid if now - self._said.get(device, float("-inf")) >= _STORED_S]:
            self._source.publish(device.topic("stored"), stored_to_json(self._store.stored(device)), retain=True)
            self._said[device] = now
            del self._unsaid[device]

    def _tell_rooms(self) -> None:
        """Summaries and events, as far as time allows: after a restart hundreds of lessons are added up anew."""
        deadline = time.monotonic() + _TELL_S / 2
        for summary in self._live.due(self._clock()):
            self._source.publish(summary.room.topic("summary"), summary.to_json(), retain=True)
            self._introduce(summary.room)
            if time.monotonic() > deadline:
                return
        for found in self._live.events(self._clock()):
            for room, event in found:
                self._source.publish(room.topic("events"), event.to_json(room), retain=False)
            if time.monotonic() > deadline:
                return

    def _introduce(self, room: Room) -> None:
        """Tell Home Assistant of a room once, where it is asked for."""
        config = self._config.home_assistant
        if config.enabled and room not in self._introduced:
            self._introduced.add(room)
            self._source.publish(*discovery(room, config.prefix), retain=True)

    def _log_complaints(self) -> None:
        for reason, (number, last) in self._unlogged.items():
            log.warning("%d x %s, the last on %.200r: %.400r", number, reason, last.topic, last.text)
        self._unlogged.clear()

    def _forget(self) -> None:
        try:
            forgotten = self._store.expire(self._clock(), self._config.store.retention_days)
        except StoreUnavailableError as error:
            log.warning("nothing forgotten this hour: %s", error)
        else:
            log.log(logging.INFO if forgotten else logging.DEBUG, "%d windows are past retention", forgotten)

    def _set_state(self, state: StateName, reason: str) -> None:
        if (state, reason) == (self._state.state, self._state.reason):
            return
        log.log(logging.WARNING if state == "degraded" else logging.INFO, "%s %s", state, reason)
        self._state = word(state, reason, self._state.boot)
        self._say_state()

    def _say_state(self) -> None:
        if self._config.amqp:  # one of several: the topic is of a site's only one
            return
        self._source.publish(aggregator_state(self._config.site), self._state.to_json(), retain=True)


def word(state: StateName, reason: str = "", boot: str = "") -> State:
    """What the aggregator says of itself, in the form that devices use."""
    return State(
        state=state,
        reason=reason[:1000],
        version=version("classpulse"),
        model=None,
        min_faces=0,
        boot=boot or token_hex(4),
    )


def cards_in(folder: Path) -> dict[str, ModelCard]:
    """The model cards of a folder by the hash that messages carry; a file that is none is logged and left out."""
    cards = {}
    for path in sorted(folder.glob("*.json")):
        try:
            card = read_card(path)
        except ModelCardError as error:
            log.warning("not used as a model card: %s", error)
        else:
            cards[card.short] = card
    return cards


def run(config: AggregatorConfig) -> None:
    """The daemon, until SystemExit.

    Raises:
        ConfigError: If a client library that the configuration asks for is not installed.
        StoreError: If the store cannot be used.
        OSError: If a credential cannot be read.
    """
    cards: Mapping[str, ModelCard] = cards_in(config.models_dir)
    lost = aggregator_state(config.site), word("lost").to_json()
    live = Live(config.summary.every_s, cards, Alerts(config.attention, cards))
    with open_store(config) as store, open_source(config, lost) as source:
        following = Shared(cast("Dealt", store), live) if config.postgresql else Alone(store, live)
        aggregator = Aggregator(config, store, source, live, following=following)
        serve(config, aggregator.tally)
        aggregator.run()
