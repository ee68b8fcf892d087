"""Rules of what people see of a cluster: summaries, states, exports."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Self

import paho.mqtt.client as paho
import pytest
from pyarrow import parquet

from aggregator.analysis.summary import Summary
from contract.message import State
from contract.topics import Device, Room
from tests.cluster.fleet import Publisher, fleet_of

pytestmark = pytest.mark.timeout(600)
_EVERY_S = 2.0
"""The default of summary.every_s."""


class Listener:
    """Everybody's view: the summaries that arrive at one node."""

    def __init__(self, site: str, port: int) -> None:
        self.told: dict[Room, list[datetime]] = defaultdict(list)
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, f"listener-{site}")
        self._client.username_pw_set("guest", "guest")
        self._client.on_connect = lambda client, *_: client.subscribe(f"classpulse/1/{site}/+/summary", 1)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client, _data, message) -> None:
        summary = Summary.from_json(message.payload)
        self.told[summary.where].append(datetime.fromisoformat(summary.t))

    def number(self) -> int:
        """Rooms that were told of."""
        return len(self.told)

    def pauses(self) -> list[float]:
        """Seconds between a room's summaries."""
        return [
            (later - earlier).total_seconds()
            for times in self.told.values()
            for earlier, later in zip(sorted(times), sorted(times)[1:], strict=False)
        ]


def test_one_worker_tells_of_a_room_and_another_takes_over(site, wait_until):
    """Two workers deal the rooms between them: no summary comes twice, and none stays away when one is killed."""
    workers = site.at_work(2)
    with site.store() as store, fleet_of(site.name, 24, site.ports) as fleet:
        wait_until(lambda: len(holders(store)) == 2, "both workers have shards", 120)
        with Listener(site.name, site.ports[1]) as heard:
            wait_until(lambda: heard.number() == 12 and len(heard.pauses()) > 36, "summaries of all rooms", 120)
        assert min(heard.pauses()) > 0.8 * _EVERY_S
        assert sorted(holders(store).values()) == [32, 32]

        workers[0].kill9()

        wait_until(lambda: list(holders(store).values()) == [64], "one worker has all shards", 120)
        with Listener(site.name, site.ports[2]) as heard:
            wait_until(lambda: heard.number() == 12, "summaries of all rooms", 120)
        fleet.producing = False


def test_states_and_exports_come_from_the_database(site, wait_until, tmp_path):
    """A device's last will is its state in the store, and a report and an export read the same windows."""
    site.at_work(1)
    publisher = Publisher(Device(site.name, "room-0", "cam-0"), site.ports)
    for _ in range(30):
        publisher.accept()
    wait_until(lambda: publisher.step() or not publisher.waits, "PUBACKs", 120)
    publisher.leave()
    speak(publisher.device, site.ports[0], "ready")

    wait_until(lambda: state(site, publisher.device) == "ready", "state", 60)
    wait_until(lambda: site.windows({publisher.device.where}) == publisher.truth, "windows", 60)
    speak(publisher.device, site.ports[1], "lost")
    wait_until(lambda: state(site, publisher.device) == "lost", "state", 60)

    first = min(key.start for key in publisher.truth)
    span = ("--from", iso(first - 60), "--to", iso(first + 600))
    exported = site.command("export", *span, "--out", str(tmp_path / "windows.parquet"))
    reported = site.command("report", "--room", f"{site.name}/room-0", *span, "--out", str(tmp_path / "room.html"))

    assert exported.returncode == 0, exported.stderr
    assert reported.returncode == 0, reported.stderr
    assert parquet.read_table(tmp_path / "windows.parquet").num_rows == len(publisher.truth)
    assert "room-0" in (tmp_path / "room.html").read_text()


def test_nothing_stays_at_the_brokers_of_a_room_whose_camera_was_revoked(site, wait_until):
    """Who listens is told with an empty summary that it ended; who comes later hears nothing, at any node."""
    site.at_work(1)
    device, heard = Device(site.name, "room-0", "cam-0"), []
    with subscriber(site, site.ports[1], heard):
        speak(device, site.ports[0], "ready")
        wait_until(lambda: any(payload for payload, _ in heard), "a summary", 120)
        speak(device, site.ports[0], "lost")  # what the broker says for a client that it throws out
        wait_until(lambda: heard[-1][0] == b"", "the end of the summary", 150)  # workers read states once a minute
    for port in site.ports:
        late = []
        with subscriber(site, port, late):
            wait_until(lambda late=late: late, "the next summary", 60)
        assert set(late) == {(b"", False)}


@contextmanager
def subscriber(site, port, heard) -> Iterator[None]:
    """`heard` gets the payload of each summary, and whether a broker had retained it."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, f"subscriber-{site.name}-{port}")
    client.username_pw_set("guest", "guest")
    client.on_connect = lambda client, *_: client.subscribe(f"classpulse/1/{site.name}/+/summary", 1)
    client.on_message = lambda _client, _data, message: heard.append((bytes(message.payload), bool(message.retain)))
    client.connect("127.0.0.1", port)
    client.loop_start()
    yield
    client.disconnect()
    client.loop_stop()


def iso(at: int) -> str:
    """Local time, as a person writes it."""
    return datetime.fromtimestamp(at).astimezone().isoformat()


def holders(store) -> dict[int, int]:
    """Session -> the shards it holds."""
    rows = store._rows(
        "SELECT pid, count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY pid",
        0x636C7073 + 1,
    )
    return dict(rows)


def state(site, device: Device) -> str | None:
    """What the store knows of the device."""
    with site.store() as store:
        spoken = store.states().get(device)
    return spoken.state.state if spoken and spoken.state else None


def speak(device: Device, port: int, said: str) -> None:
    """Publish a state, retained, as a device does."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, device.client_id)
    client.username_pw_set("guest", "guest")
    client.connect("127.0.0.1", port)
    client.loop_start()
    payload = State(state=said, reason="", version="1", model=None, min_faces=5, boot="9f3a2c41").to_json()
    client.publish(device.topic("state"), payload, qos=1, retain=True).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()
