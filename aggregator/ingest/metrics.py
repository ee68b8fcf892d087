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
Labels = tuple[str, ...]
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
        outcomes = {"counted": stats.messages, "duplicate": stats.duplicates, **stats.reasons}
        yield _counter("messages", "Messages from devices", "outcome", told={(key,): n for key, n in outcomes.items()})
        yield _counter("batches", "Transactions committed", told={(): stats.batches})
        yield _counter("store_failures", "Transactions tried again", told={(): stats.store_failures})
        lost, cuts = ({_labels(device): n for device, n in each.copy().items()} for each in (stats.lost, stats.cuts))
        yield _counter("lost_messages", "Neither stored nor kept by the device", *_DEVICE, told=lost)
        yield _counter("device_cuts", "Ends without a goodbye, which may cost the last second", *_DEVICE, told=cuts)
        yield from _room_metrics(stats.rooms.copy(), self._now())
        try:
            devices = {_labels(device): status for device, status in self._read().items()}
        except StoreError as error:
            log.warning("metrics without devices: %s", error)
            devices = {}
            readable = 0.0
        else:
            readable = 1.0
        yield _gauge("store_readable", "1, or 0 with no figures of devices", told={(): readable})
        yield from _state_metrics(devices, self._now())
        yield from _health_metrics({labels: each.health for labels, each in devices.items() if each.health})


def _room_metrics(rooms: Mapping[Room, tuple[float, Mix | None]], now: float) -> Iterator[Metric]:
    """The last minute of each room; of one that another worker summarises by now, nothing."""
    mixes: dict[Labels, Mix] = {
        (room.site, room.room): mix for room, (at, mix) in rooms.items() if mix and now - at <= _STALE_S
    }
    faces = {labels: mix.faces for labels, mix in mixes.items()}
    shares = {
        (*labels, group): share for labels, mix in mixes.items() for group, (share, _, _) in (mix.groups or {}).items()
    }
    yield _gauge("room_faces", "Faces per frame, last minute", "site", "room", told=faces)
    yield _gauge("room_share", "Share of a group of expressions, last minute", "site", "room", "group", told=shares)


def _state_metrics(devices: Mapping[Labels, DeviceStatus], now: float) -> Iterator[Metric]:
    silent = {labels: max(0.0, now - max(each.state_at, each.health_at)) for labels, each in devices.items()}
    said = {labels: each.state for labels, each in devices.items() if each.state}
    states = {(*labels, name): float(each.state == name) for labels, each in said.items() for name in STATES}
    versions = {(*labels, each.version, each.model or ""): 1.0 for labels, each in said.items()}
    yield _gauge("device_silent_seconds", "Time since the device's last state or health", *_DEVICE, told=silent)
    yield _gauge("device_state", "1 for the state that the device is in", *_DEVICE, "state", told=states)
    yield _gauge("device_info", "What runs there", *_DEVICE, "version", "model", told=versions)


def _health_metrics(healths: Mapping[Labels, Health]) -> Iterator[Metric]:
    latency = {
        (*labels, stage, quantile): ms / 1000
        for labels, health in healths.items()
        for stage in _STAGES & health.latency_ms.keys()
        for quantile, ms in zip(("0.5", "0.99"), health.latency_ms[stage], strict=True)
    }
    lost = {
        (*labels, reason): health.outbox_dropped[reason]
        for labels, health in healths.items()
        for reason in _REASONS & health.outbox_dropped.keys()
    }
    throttled = {labels: _flags(each.throttled) for labels, each in healths.items() if each.throttled is not None}
    ends = {labels: each.certificate_end for labels, each in healths.items() if each.certificate_end}
    until = {labels: datetime.fromisoformat(end).timestamp() for labels, end in ends.items()}
    yield _gauge("device_latency_seconds", "Latency of a stage", *_DEVICE, "stage", "quantile", told=latency)
    yield _counter("device_outbox_dropped", "Messages given up", *_DEVICE, "reason", told=lost)
    yield _gauge("device_throttled", "The Pi's get_throttled flags", *_DEVICE, told=throttled)
    meaning = "When the device's certificate ends, seconds since 1970"
    yield _gauge("device_certificate_end_timestamp_seconds", meaning, *_DEVICE, told=until)
    for key, (family, name, meaning) in _HEALTH.items():
        known = {labels: value for labels, each in healths.items() if (value := getattr(each, key)) is not None}
        yield _filled(family(f"classpulse_device_{name}", meaning, labels=_DEVICE), known)


def _gauge(name: str, meaning: str, *labels: str, told: Mapping[Labels, float]) -> Metric:
    return _filled(GaugeMetricFamily(f"classpulse_{name}", meaning, labels=labels), told)


def _counter(name: str, meaning: str, *labels: str, told: Mapping[Labels, float]) -> Metric:
    return _filled(CounterMetricFamily(f"classpulse_{name}", meaning, labels=labels), told)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, told: Mapping[Labels, float]) -> Metric:
    for labels, value in told.items():
        family.add_metric(labels, value)
    return family


def _labels(device: Device) -> Labels:
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
