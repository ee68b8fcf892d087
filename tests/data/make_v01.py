"""The files of v0.1/, written by version 0.1's own daemon and aggregator. Run in a checkout of that version.

    git worktree add ../old 718909f && cd ../old && make setup && apt-get install mosquitto
    .venv/bin/python ../classpulse/tests/data/make_v01.py ../classpulse/tests/data/v0.1

`outbox.sqlite` is what three starts of a device left unconfirmed, `store.sqlite` what the aggregator has of three
rooms. `expected.json` says what must be read in them; it is made of what the devices accepted, not of the two files.
"""

import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import astuple
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))  # version 0.1: its modules, and the tools of its tests

from aggregator.window import Key, Sums, add, fold

from contract.labels import EMOTIONS
from contract.message import CountsMessage, FacesOnly, FrameCounts, Health, State, Withheld, utc
from contract.topics import Device
from tests.system.aggregator.conftest import Sender
from tests.system.broker import Mosquitto, until
from tests.system.edge.lab import DEVICE, Lab

MODEL = "3f9c1a77"
_LOST = 5
_FIRST = "SELECT boot, min(id & 1099511627775) FROM boot JOIN message ON no = id >> 40 GROUP BY no"


def main() -> None:
    """Make the three files in the folder that the command line names."""
    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name) / "mosquitto").start()
        lab = Lab(Path(name), broker)
        try:
            lab.start_aggregator()
            rooms = publish_rooms(broker, float(int(time.time())))
            until(lambda: len(whole_ranges(lab)) == 3, "the messages of both rooms in the store")
            waiting = run_device(lab)
        finally:
            lab.close()
            broker.stop()
        stored, _ = lab.stored()
        came = [entry.message for entry in lab.accepted() if (entry.message.boot, entry.message.seq) in stored]
        windows = windows_of(
            [*((DEVICE, message) for message in came), *(pair for room in rooms for pair in room.published)]
        )
        for path in (lab.state / "outbox.sqlite", lab.store):
            with closing(sqlite3.connect(path)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copy(path, out / path.name)
    expected = {
        "outbox": [[message.boot, message.seq, message.to_json().decode()] for message in waiting],
        "outbox_stored_too": sum((message.boot, message.seq) in stored for message in waiting),
        "rooms": [room.expected() for room in rooms],
        "windows": [[*astuple(key), *flat(sums)] for key, sums in sorted(windows.items())],
    }
    (out / "expected.json").write_text(json.dumps(expected, indent=0) + "\n")


class Room(Sender):
    """A device that remembers what it published."""

    def __init__(self, broker: Mosquitto, device: Device, boot: str, state: State, health: Health) -> None:
        super().__init__(broker, device, boot)
        self.state, self.health = state, health
        self.published: list[tuple[Device, CountsMessage]] = []
        self.send(state.to_json(), "state")
        self.send(health.to_json(), "health")

    def publish(self, *frames: object, synced: bool = True) -> None:
        """Accept and send a message."""
        self.published.append((self.device, CountsMessage.from_json(self.accept(*frames, synced=synced))))

    def expected(self) -> dict[str, object]:
        """What a store must know of it."""
        return {
            "device": list(astuple(self.device)),
            "state": self.state.to_json().decode(),
            "health": self.health.to_json().decode(),
            "stored": {self.boot: min(set(range(self.seq + 1)) - {m.seq for _, m in self.published}) - 1},
            "messages": [message.to_json().decode() for _, message in self.published],
        }


def publish_rooms(broker: Mosquitto, now: float) -> list[Room]:
    """Two rooms; one has withheld frames, frames without emotions, an unset clock and messages that were lost."""
    rooms = []
    for number, (device, boot, word) in enumerate(
        (
            (Device("school", "r2", "cam"), "0000aaaa", "ready"),
            (Device("school", "hall", "front"), "0000bbbb", "paused"),
        )
    ):
        state = State(state=word, reason=f"reason {number}", version="0.1.0", model=MODEL, min_faces=5, boot=boot)
        rooms.append(Room(broker, device, boot, state, health(boot, number)))
        for step in range(12):
            rooms[-1].publish(counted(now + 3 * step, step))
    hall = rooms[1]
    hall.publish(Withheld(t=utc(now)), FacesOnly(t=utc(now + 11), faces=23))
    hall.publish(counted(now, 3), synced=False)
    hall.seq += _LOST  # what comes now is a range of its own
    hall.publish(counted(now + 1, 2))
    return rooms


def whole_ranges(lab: Lab) -> set[tuple[int, int]]:
    """The ranges in the store, once each is whole: two of one room, one of the other."""
    with closing(sqlite3.connect(f"file:{lab.store}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT boot_id, low, high FROM ranges").fetchall()
    whole = {(0, 11), (0, 13), (14 + _LOST, 14 + _LOST)}
    return {(boot, low) for boot, low, high in rows if (low, high) in whole}


def run_device(lab: Lab) -> list[CountsMessage]:
    """Three starts of the daemon, the second with a clock that is not set; of the first a part is confirmed.

    Returns what is not, in order.
    """
    lab.start_daemon("rate=4")
    until(lambda: any(boot not in {"0000aaaa", "0000bbbb"} for boot, _ in lab.stored()[0]), "the first message")
    time.sleep(7)  # `stored` comes every 5 s
    lab.kill_aggregator()
    time.sleep(2)
    lab.stop_daemon()
    lab.broker.stop()
    for clock, count in (({"synchronized": "/nowhere", "wait_s": 0.0}, 3), ({"synchronized": "/"}, 6)):
        wanted = lab.lines() + count
        lab.start_daemon("rate=4", clock=clock)
        until(lambda wanted=wanted: lab.lines() >= wanted, f"{count} messages")
        lab.stop_daemon()
    with closing(sqlite3.connect(lab.state / "outbox.sqlite")) as db:
        first = dict(db.execute(_FIRST).fetchall())
    messages = [entry.message for entry in lab.accepted()]
    if min(first.values()) or max(first.values()) == 0 or len(first) != 3:
        sys.exit(f"the outbox is not as wanted: {first}")
    return [message for message in messages if message.seq >= first[message.boot]]


def windows_of(messages: Iterable[tuple[Device, CountsMessage]]) -> dict[Key, Sums]:
    """Of messages, each once."""
    windows: dict[Key, Sums] = {}
    for device, message in messages:
        for key, sums in fold(device, message).items():
            add(windows, key, sums)
    return windows


def flat(sums: Sums) -> list[int]:
    """All its numbers, in the order of its fields."""
    return [sums.frames, sums.withheld, sums.faces, sums.unsure, *sums.counts, *sums.expected]


def counted(t: float, number: int) -> FrameCounts:
    """A frame of a class."""
    counts = {label: (number + place) % 4 for place, label in enumerate(EMOTIONS)}
    expected = {label: round(count * 0.93, 2) for label, count in counts.items()}
    return FrameCounts(t=utc(t), faces=sum(counts.values()) + 1, unsure=1, counts=counts, expected=expected)


def health(boot: str, number: int) -> Health:
    """The health of a device."""
    return Health(
        t=utc(1_795_000_000 + number),
        boot=boot,
        uptime_s=33.5,
        rate_hz=4.9,
        frame_age_s=None if number else 0.2,
        latency_ms={"detect": (40.1, 55.2), "publish": (0.3, 1.1)},
        dropped_frames=number,
        outbox_messages=3,
        outbox_bytes=990,
        outbox_oldest_s=1.5,
        outbox_dropped={"age": 2},
        outbox_first={boot: 0},
        confirm="stored",
        reconnects=number,
        temperature_c=None if number else 51.5,
        throttled=None if number else "0x50000",
        rss_bytes=101_000_000,
    )


if __name__ == "__main__":
    main()
