"""Figures for Prometheus, served by the daemon: what it did, and the last status of every device from the store.

Scrapes come in threads of their own, and each opens the store for itself.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aggregator.analysis.mix import Mix
from aggregator.config import AggregatorConfig
from aggregator.store.factory import open_store
from aggregator.store.types import DeviceStatus, StoreError
from contract.message import STATES, Health
from contract.topics import Device, Room

log = logging.getLogger(__name__)

_STAGES = {"capture", "detect", "crop", "emotions", "publish"}
_REASONS = {"size", "age", "disk", "corrupt"}
"""Labels from devices: no others, for each would be a series that Prometheus keeps."""
_STALE_S = 330.0
"""Every room is summarised again within five minutes, whatever [summary] says."""
_DEVICE = ("site", "room", "device")
_HEALTH = {
    "rate_hz": (GaugeMetricFamily, "frames_per_second", "Frames published per second"),
    "frame_age_s": (GaugeMetricFamily, "frame_age_seconds", "Age of the newest frame when health was sent"),
    "outbox_messages": (GaugeMetricFamily, "outbox_messages", "Messages that wait to be confirmed"),
    "outbox_bytes": (GaugeMetricFamily, "outbox_bytes", "Their size"),
    "outbox_oldest_s": (GaugeMetricFamily, "outbox_oldest_seconds", "Age of the oldest of them"),
    "temperature_c": (GaugeMetricFamily, "temperature_celsius", "Temperature of the processor"),
    "rss_bytes": (GaugeMetricFamily, "resident_bytes", "Memory of the daemon"),
    "uptime_s": (GaugeMetricFamily, "uptime_seconds", "Time since the daemon's start"),
    "dropped_frames": (CounterMetricFamily, "dropped_frames", "Frames that a newer one replaced before they were read"),
    "reconnects": (CounterMetricFamily, "reconnects", "Reconnections to the broker"),
}
"""Field of Health -> kind of metric, its name after `classpulse_device_`, and its meaning."""


@dataclass(slots=True)
class IngestStats:
    """What the daemon has done since its start."""

    messages: int = 0
    """Counted."""
    duplicates: int = 0
    batches: int = 0
    store_failures: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Messages by the reason of their rejection; and `ahead`, which are counted all the same."""
    lost: Counter[Device] = field(default_factory=Counter)
    """Messages that will never come."""
    cuts: Counter[Device] = field(default_factory=Counter)
    """Daemons that ended without a goodbye."""
    rooms: dict[Room, tuple[float, Mix | None]] = field(default_factory=dict)
    """When a room was last summarised, seconds since 1970, and its last minute then."""


class Metrics(Collector):
    """The daemon's own statistics, and the last status of every device."""

    def __init__(
        self, stats: IngestStats, read: Callable[[], Mapping[Device, DeviceStatus]], now: Callable[[], float]
    ) -> None:
        """`read` gives the status of all devices, `now` seconds since 1970."""
        self._stats = stats
        self._read = read
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now."""
        stats = self._stats
        messages = CounterMetricFamily("classpulse_messages", "Messages from devices", labels=("outcome",))
        for outcome, count in {"counted": stats.messages, "duplicate": stats.duplicates, **stats.reasons}.items():
            messages.add_metric((outcome,), count)
        yield messages
        yield CounterMetricFamily("classpulse_batches", "Transactions committed", value=stats.batches)
        yield CounterMetricFamily("classpulse_store_failures", "Transactions tried again", value=stats.store_failures)
        for name, meaning, counts in (
            ("classpulse_lost_messages", "Neither stored nor kept by the device", stats.lost),
            ("classpulse_device_cuts", "Ends without a goodbye, which may cost the last second", stats.cuts),
        ):
            family = CounterMetricFamily(name, meaning, labels=_DEVICE)
            for device, count in dict(counts).items():
                family.add_metric(_labels(device), count)
            yield family
        yield from _room_metrics(dict(stats.rooms), self._now())
        try:
            devices = self._read()
        except StoreError as error:
            log.warning("metrics without devices: %s", error)
            devices = {}
            readable = 0.0
        else:
            readable = 1.0
        yield GaugeMetricFamily("classpulse_store_readable", "1, or 0 with no figures of devices", value=readable)
        yield from _state_metrics(devices, self._now())
        yield from _health_metrics({_labels(device): each.health for device, each in devices.items() if each.health})


def _room_metrics(rooms: Mapping[Room, tuple[float, Mix | None]], now: float) -> Iterator[Metric]:
    """The last minute of each room; of one that another worker summarises by now, nothing."""
    faces = GaugeMetricFamily("classpulse_room_faces", "Faces per frame, last minute", labels=("site", "room"))
    shares = GaugeMetricFamily(
        "classpulse_room_share", "Share of a group of expressions, last minute", labels=("site", "room", "group")
    )
    for room, (at, mix) in rooms.items():
        if mix is None or now - at > _STALE_S:
            continue
        faces.add_metric((room.site, room.room), mix.faces)
        for group, (share, _, _) in (mix.groups or {}).items():
            shares.add_metric((room.site, room.room, group), share)
    yield from (faces, shares)


def _state_metrics(devices: Mapping[Device, DeviceStatus], now: float) -> Iterator[Metric]:
    silent = _gauge("silent_seconds", "Time since the device's last state or health")
    states = _gauge("state", "1 for the state that the device is in", "state")
    versions = _gauge("info", "What runs there", "version", "model")
    for device, status in devices.items():
        silent.add_metric(_labels(device), max(0.0, now - max(status.state_at, status.health_at)))
        if status.state:
            for state in STATES:
                states.add_metric((*_labels(device), state), float(status.state.state == state))
            versions.add_metric((*_labels(device), status.state.version, status.state.model or ""), 1.0)
    yield from (silent, states, versions)


def _health_metrics(healths: Mapping[tuple[str, str, str], Health]) -> Iterator[Metric]:
    latency = _gauge("latency_seconds", "Latency of a stage", "stage", "quantile")
    throttled = _gauge("throttled", "The Pi's get_throttled flags")
    ends = _gauge("certificate_end_timestamp_seconds", "When the device's certificate ends, seconds since 1970")
    lost = CounterMetricFamily("classpulse_device_outbox_dropped", "Messages given up", labels=(*_DEVICE, "reason"))
    for labels, health in healths.items():
        for stage in _STAGES & health.latency_ms.keys():
            median, high = health.latency_ms[stage]
            latency.add_metric((*labels, stage, "0.5"), median / 1000)
            latency.add_metric((*labels, stage, "0.99"), high / 1000)
        for reason in _REASONS & health.outbox_dropped.keys():
            lost.add_metric((*labels, reason), health.outbox_dropped[reason])
        if health.throttled is not None:
            throttled.add_metric(labels, _flags(health.throttled))
        if health.certificate_end:
            ends.add_metric(labels, datetime.fromisoformat(health.certificate_end).timestamp())
    yield from (latency, lost, throttled, ends)
    for key, (kind, name, meaning) in _HEALTH.items():
        family = kind(f"classpulse_device_{name}", meaning, labels=_DEVICE)
        for labels, health in healths.items():
            if getattr(health, key) is not None:
                family.add_metric(labels, getattr(health, key))
        yield family


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"classpulse_device_{name}", meaning, labels=(*_DEVICE, *labels))


def _labels(device: Device) -> tuple[str, str, str]:
    return device.site, device.room, device.device


def _flags(throttled: str) -> float:
    try:
        return float(int(throttled, 16))
    except ValueError:
        return float("nan")


def serve(config: AggregatorConfig, stats: IngestStats) -> None:
    """Serve the metrics from a thread, if the configuration has a port for them.

    Raises:
        OSError: If the port is taken.
    """
    if not config.metrics.port:
        return

    def read() -> Mapping[Device, DeviceStatus]:
        with open_store(config, writable=False) as store:
            return store.states()

    registry = CollectorRegistry()
    registry.register(Metrics(stats, read, time.time))
    start_http_server(config.metrics.port, config.metrics.host, registry)
    log.info("metrics at http://%s:%d/metrics", config.metrics.host, config.metrics.port)
