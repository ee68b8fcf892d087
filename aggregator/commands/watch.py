"""`classpulse-aggregator watch`: the rooms as a live table in a terminal, from what the broker has for everybody."""

import argparse
import logging
import queue
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from aggregator.analysis.summary import Summary
from aggregator.config import AggregatorConfig, MqttConfig
from aggregator.ingest.mqtt import authentication
from contract.labels import EMOTIONS
from contract.message import CountsMessage, MessageError
from contract.topics import ROOT, Room, TopicError, every_device, parse
from service.config import load

log = logging.getLogger(__name__)

_BLOCKS = " ▁▂▃▄▅▆▇█"
_REFRESH_S = 0.25
_STALE_S = 15.0
"""A room without a frame for so long is shown dimmed."""
_CAPTION = f"{', '.join(EMOTIONS)}: % of faces in the last minute; uns: unsure faces; hid: frames with too few faces"


@dataclass(slots=True)
class Board:
    """What the table shows. The caller brings the time, in seconds since 1970."""

    summaries: dict[Room, Summary] = field(default_factory=dict)
    faces: dict[Room, dict[str, int | None]] = field(default_factory=dict)
    """Faces in each device's newest frame; None if it was withheld."""
    received_at: dict[Room, float] = field(default_factory=dict)
    """When the newest frame came."""

    def take(self, topic: str, payload: bytes, received: float) -> None:
        """One message of the broker; what cannot be read is left out: the aggregator logs it."""
        try:
            if topic.endswith("/summary"):
                summary = Summary.from_json(payload)
                self.summaries[summary.where] = summary
            else:
                device, _ = parse(topic)
                frame = CountsMessage.from_json(payload).frames[-1]
                shown = frame.faces if isinstance(frame.faces, int) else None
                self.faces.setdefault(device.where, {})[device.device] = shown
                self.received_at[device.where] = received
        except (MessageError, TopicError):
            return

    def table(self, now: float) -> Table:
        """One row per room."""
        table = Table(box=None, padding=(0, 1, 0, 0), caption=_CAPTION)
        for name in ("room", "cameras"):
            table.add_column(name)
        for name in ("faces", *(label[:3] for label in EMOTIONS), "uns", "hid", "age"):
            table.add_column(name, justify="right", no_wrap=True)
        for room in sorted({*self.summaries, *self.faces}, key=lambda room: (room.site, room.room)):
            age_s = self._age_s(room, now)
            stale = age_s is None or age_s > _STALE_S
            table.add_row(*self._row(room, age_s), style="dim" if stale else None)
        return table

    def _row(self, room: Room, age_s: float | None) -> list[str]:
        summary = self.summaries.get(room)
        recent = summary.recent if summary else None
        shares = recent.shares if recent else None
        return [
            f"{room.site}/{room.room}",
            _cameras(summary),
            self._faces(room),
            *(_share(shares[label]) if shares else "-" for label in EMOTIONS),
            *((f"{recent.unsure:.0%}", f"{recent.withheld:.0%}") if recent else "--"),
            "-" if age_s is None else f"{age_s:.1f}s" if age_s < 60 else f"{age_s / 60:.0f}min",
        ]

    def _faces(self, room: Room) -> str:
        shown = self.faces.get(room, {}).values()
        known = [faces for faces in shown if faces is not None]
        return str(sum(known)) if known else "hid" if shown else "-"

    def _age_s(self, room: Room, now: float) -> float | None:
        if room in self.received_at:
            return now - self.received_at[room]
        newest = self.summaries[room].newest if room in self.summaries else None
        return now - datetime.fromisoformat(newest).timestamp() if newest else None


def _cameras(summary: Summary | None) -> str:
    """Their states. What a device says is shown as it is: neither rich's markup nor the terminal's own works in it."""
    if summary is None:
        return "-"
    said = (
        f"{name} {each.state}" + (f" ({each.reason})" if each.reason else "") for name, each in summary.devices.items()
    )
    return escape("".join(each if each.isprintable() else "?" for each in ", ".join(said)))


def _share(share: float) -> str:
    """A block as high as the share, and the share; the number alone tells it too."""
    share = min(1.0, max(0.0, share))
    return f"{_BLOCKS[round(share * (len(_BLOCKS) - 1))]}{100 * share:.0f}"


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--broker", metavar="HOST[:PORT]", help="one without TLS, instead of the configuration's")
    parser.add_argument("--seconds", type=float, default=0.0, help="end after this time; 0 (default): never")


def run(arguments: argparse.Namespace) -> int:
    """Show the table until interrupted; 0, or 1 if nothing was received in `--seconds`."""
    if arguments.broker:
        host, _, port = arguments.broker.partition(":")
        config, credentials = MqttConfig(host=host, port=int(port or 1883), tls=False), Path()
    else:
        whole = load(arguments.config, AggregatorConfig)
        config, credentials = whole.mqtt, whole.credentials
    received: queue.SimpleQueue[tuple[str, bytes, float]] = queue.SimpleQueue()
    client = _client(config, credentials, received)
    client.connect(config.host, config.port, config.keepalive_s)
    client.loop_start()
    board, end = Board(), time.monotonic() + (arguments.seconds or float("inf"))
    try:
        with Live(board.table(time.time()), auto_refresh=False) as screen:
            while time.monotonic() < end:
                while not received.empty():
                    board.take(*received.get())
                screen.update(board.table(time.time()), refresh=True)
                time.sleep(_REFRESH_S)
    finally:
        client.disconnect()
        client.loop_stop()
    return 0 if board.summaries or board.faces else 1


def _client(
    config: MqttConfig, credentials: Path, received: queue.SimpleQueue[tuple[str, bytes, float]]
) -> paho.Client:
    """A client without a session: it needs nothing that it missed."""

    def on_connect(client: paho.Client, _data: object, _flags: object, code: ReasonCode, _more: object) -> None:
        if code.is_failure:
            log.error("the broker refused the connection: %s", code)
        client.subscribe([(f"{ROOT}/+/+/summary", 0), (every_device("counts"), 0)])

    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.on_connect = on_connect
    client.on_message = lambda _client, _data, each: received.put((each.topic, bytes(each.payload), time.time()))
    authentication(config, credentials)(client)
    return client
