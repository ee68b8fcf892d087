"""`classpulse-aggregator watch`: the rooms as a live table in a terminal, from what the broker has for everybody."""

import argparse
import logging
import time
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
from contract.message import MessageError
from contract.topics import ROOT
from service.config import load

log = logging.getLogger(__name__)

_BLOCKS = " ▁▂▃▄▅▆▇█"
_REFRESH_S = 0.25
_STALE_S = 15.0
"""A room without a frame for so long is shown dimmed."""
_CAPTION = f"{', '.join(EMOTIONS)}: % of faces in the last minute; uns: unsure faces; hid: frames with too few faces"

Rooms = dict[str, Summary]
"""By topic."""


def take(rooms: Rooms, topic: str, payload: bytes) -> None:
    """One message of the broker; what cannot be read is left out, and an empty one ends a room."""
    try:
        rooms[topic] = Summary.from_json(payload)
    except MessageError:
        if not payload:
            rooms.pop(topic, None)


def table(rooms: Rooms, now: float) -> Table:
    """One row per room; `now` in seconds since 1970."""
    drawn = Table(box=None, padding=(0, 1, 0, 0), caption=_CAPTION)
    for name in ("room", "cameras"):
        drawn.add_column(name)
    for name in ("faces", *(label[:3] for label in EMOTIONS), "uns", "hid", "age"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for _, summary in sorted(rooms.items()):
        age_s = now - datetime.fromisoformat(summary.newest).timestamp() if summary.newest else float("inf")
        drawn.add_row(*_row(summary, age_s), style="dim" if age_s > _STALE_S else None)
    return drawn


def _row(summary: Summary, age_s: float) -> list[str]:
    recent = summary.recent
    shares = recent.shares if recent else None
    return [
        f"{summary.site}/{summary.room}",
        _cameras(summary),
        f"{recent.faces:.0f}" if recent and recent.withheld < 1 else "-",
        *(_share(shares[label]) if shares else "-" for label in EMOTIONS),
        *((f"{recent.unsure:.0%}", f"{recent.withheld:.0%}") if recent else "--"),
        f"{age_s:.1f}s" if age_s < 60 else f"{age_s / 60:.0f}min" if summary.newest else "-",
    ]


def _cameras(summary: Summary) -> str:
    """Their states. What a device says is shown as it is: neither rich's markup nor the terminal's own works in it."""
    devices = summary.devices.items()
    said = ", ".join(f"{name} {each.state}" + (f" ({each.reason})" if each.reason else "") for name, each in devices)
    return escape("".join(each if each.isprintable() else "?" for each in said))


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
    rooms, end = Rooms(), time.monotonic() + (arguments.seconds or float("inf"))
    client = _client(config, credentials, rooms)
    client.connect(config.host, config.port, config.keepalive_s)
    client.loop_start()
    try:
        with Live(table(rooms, time.time()), auto_refresh=False) as screen:
            while time.monotonic() < end:
                screen.update(table(rooms.copy(), time.time()), refresh=True)  # paho's thread goes on
                time.sleep(_REFRESH_S)
    finally:
        client.disconnect()
        client.loop_stop()
    return 0 if rooms else 1


def _client(config: MqttConfig, credentials: Path, rooms: Rooms) -> paho.Client:
    """A client without a session: it needs nothing that it missed."""

    def on_connect(client: paho.Client, _data: object, _flags: object, code: ReasonCode, _more: object) -> None:
        if code.is_failure:
            log.error("the broker refused the connection: %s", code)
        client.subscribe(f"{ROOT}/+/+/summary")

    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.on_connect = on_connect
    client.on_message = lambda _client, _data, message: take(rooms, message.topic, bytes(message.payload))
    authentication(config, credentials)(client)
    return client
