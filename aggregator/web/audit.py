"""Who ordered what at the page, and who was refused: a file of JSON lines a day (UTC), kept for KEEP_DAYS days."""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec

from aggregator.web.text import one_line
from contract.message import instant, utc
from contract.topics import Device

log = logging.getLogger(__name__)
journal = logging.getLogger("classpulse.audit")

KEEP_DAYS = 30
REFUSED = "login refused"
MOST_REFUSED = 500
"""Lines of a day about refused logins; of a flood from everywhere the rest is in the journal alone."""


class Entry(msgspec.Struct, frozen=True):
    """One line."""

    t: str
    """When, as in messages."""
    user: str
    address: str
    """The browser's."""
    action: str
    """login, login refused, pause, resume, or what was done with a user."""
    target: str = ""
    """The device's identity, or the user's name."""
    outcome: str = ""
    """What came of an order, or how many passwords were wrong in a row."""

    @property
    def reached(self) -> bool:
        """Whether this is an order that its device may have got."""
        return self.action in ("pause", "resume") and self.outcome != "not sent"


class AuditLog:
    """The folder; what is written to it is in the journal, too."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since 1970."""
        self._folder = folder
        self._clock = clock
        self._writing = threading.Lock()
        known = list(self.entries())
        self._orders = {entry.target: entry for entry in known if entry.reached}
        self._refused = Counter(entry.t[:10] for entry in known if entry.action == REFUSED)

    def record(self, user: str, address: str, action: str, target: str = "", outcome: str = "") -> None:
        """Note it; where the folder cannot be written only the journal has it."""
        more = "".join(f" {name}={value!r}" for name, value in (("target", target), ("outcome", outcome)) if value)
        journal.info("%s name=%r address=%s%s", action, user, address, more)
        self._keep(Entry(instant(utc(self._clock())), user, address, action, target, outcome))

    def refused(self, name: str, address: str, reason: str, told: int) -> None:
        """Note a refused login: each in the journal, here those with `told`, as Checked has it."""
        journal.warning("%s name=%r address=%s reason=%s", REFUSED, name, address, reason)
        entry = Entry(instant(utc(self._clock())), one_line(name), address, REFUSED, outcome=f"{told} wrong")
        if told and self._refused[entry.t[:10]] < MOST_REFUSED:
            self._refused[entry.t[:10]] += 1
            self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        target, now = entry.target, datetime.fromisoformat(entry.t)
        with self._writing:
            if entry.reached:
                self._orders[target] = entry
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                for path in self._files():
                    if path.stem < f"{now - timedelta(days=KEEP_DAYS):%Y-%m-%d}":
                        path.unlink()
                today = self._folder / f"{now:%Y-%m-%d}.jsonl"
                with open(today, "ab", opener=partial(os.open, mode=0o600)) as file:
                    file.write(msgspec.json.encode(entry) + b"\n")
            except OSError as error:
                log.warning("%s: %s: the journal alone has the last order", self._folder, error.strerror)

    def entries(self) -> Iterator[Entry]:
        """All of them, oldest first; a line that was only half written is left out."""
        for path in self._files():
            for line in path.read_bytes().splitlines():
                try:
                    yield msgspec.json.decode(line, type=Entry)
                except msgspec.DecodeError:
                    continue

    def paused_by(self, device: Device) -> Entry | None:
        """The order that paused the device, if the last one for it was given here and was a pause."""
        entry = self._orders.get(device.identity)
        return entry if entry and entry.action == "pause" else None

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("????-??-??.jsonl"))
