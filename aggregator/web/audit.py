"""Who ordered what at the page: a file of JSON lines for each day (UTC), kept for KEEP_DAYS days."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import msgspec

from contract.message import instant, utc
from contract.topics import Device

log = logging.getLogger(__name__)
journal = logging.getLogger("classpulse.audit")

KEEP_DAYS = 30


class Entry(msgspec.Struct, frozen=True):
    """One line."""

    t: str
    """When, as in messages."""
    user: str
    address: str
    """The browser's."""
    action: str
    """login, pause, resume, or what was done with a user."""
    target: str = ""
    """The device's identity, or the user's name."""
    outcome: str = ""
    """What came of an order."""

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
        self._orders = {entry.target: entry for entry in self.entries() if entry.reached}

    def record(self, user: str, address: str, action: str, target: str = "", outcome: str = "") -> None:
        """Note it; where the folder cannot be written only the journal has it."""
        now = utc(self._clock())
        entry = Entry(instant(now), user, address, action, target, outcome)
        more = "".join(f" {name}={value!r}" for name, value in (("target", target), ("outcome", outcome)) if value)
        journal.info("%s name=%r address=%s%s", action, user, address, more)
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
