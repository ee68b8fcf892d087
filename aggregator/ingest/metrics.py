"""Figures for Prometheus, served by the daemon: what it did, and the fleet's last words from the store.

Scrapes come in threads of their own, and each has its own view of the store.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aggregator.config import AggregatorConfig
from aggregator.store.types import Spoken, open_store
from contract.message import STATES, Health
from contract.topics import Device

log = logging.getLogger(__name__)

_WHO = ("site", "room", "device")
_GAUGES = {
    "rate_hz": ("classpulse_device_frames_per_second", "Frames published per second"),
    "frame_age_s": ("classpulse_device_frame_age_seconds", "Age of the newest frame when health was told"),
    "outbox_messages": ("classpulse_device_outbox_messages", "Messages that wait to be confirmed"),
    "outbox_bytes": ("classpulse_device_outbox_bytes", "Their size"),
    "outbox_oldest_s": ("classpulse_device_outbox_oldest_seconds", "Age of the oldest of them"),
    "temperature_c": ("classpulse_device_temperature_celsius", "Temperature of the processor"),
    "rss_bytes": ("classpulse_device_resident_bytes", "Memory of the daemon"),
    "uptime_s": ("classpulse_device_uptime_seconds", "Time since the daemon's start"),
}
"""Field of Health -> metric and its meaning."""
_COUNTERS = {
    "dropped_frames": ("classpulse_device_dropped_frames", "Frames that a newer one replaced before they were read"),
    "reconnects": ("classpulse_device_reconnects", "Reconnections to the broker"),
}


@dataclass(slots=True)
class Tally:
    """What the daemon has done since its start."""

    messages: int = 0
    """Counted."""
    duplicates: int = 0
    batches: int = 0
    store_failures: int = 0
    complaints: Counter[str] = field(default_factory=Counter)
    """By reason; of these only `ahead` was not dropped."""


class Ingest(Collector):
    """The daemon's own tally as metrics."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now."""
        tally = self._tally
        messages = CounterMetricFamily("classpulse_messages", "Messages from devices", labels=("outcome",))
        messages.add_metric(("counted",), tally.messages)
        messages.add_metric(("duplicate",), tally.duplicates)
        for reason, count in dict(tally.complaints).items():
            messages.add_metric((reason,), count)
        yield messages
        yield CounterMetricFamily("classpulse_batches", "Transactions committed", value=tally.batches)
        yield CounterMetricFamily("classpulse_store_failures", "Transactions tried again", value=tally.store_failures)


class Fleet(Collector):
    """The devices' last words as metrics. `read` gives them, `now` seconds since 1970."""

    def __init__(self, read: Callable[[], Mapping[Device, Spoken]], now: Callable[[], float]) -> None:
        self._read = read
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now."""
        spoken = self._read()
        healths = {device: said.health for device, said in spoken.items() if said.health}
        yield from _states(spoken)
        yield self._ages(spoken)
        for key, (name, meaning) in _GAUGES.items():
            yield _family(GaugeMetricFamily(name, meaning, labels=_WHO), key, healths)
        for key, (name, meaning) in _COUNTERS.items():
            yield _family(CounterMetricFamily(name, meaning, labels=_WHO), key, healths)
        yield from _details(healths)

    def _ages(self, spoken: Mapping[Device, Spoken]) -> Metric:
        """Since when nothing was heard: a device that cannot say so is the one to look at."""
        ages = GaugeMetricFamily(
            "classpulse_device_silent_seconds", "Time since the device's last state or health", labels=_WHO
        )
        for device, said in spoken.items():
            ages.add_metric(_who(device), max(0.0, self._now() - max(said.state_at, said.health_at)))
        return ages


def _states(spoken: Mapping[Device, Spoken]) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        "classpulse_device_state", "1 for the state that the device is in", labels=(*_WHO, "state")
    )
    versions = GaugeMetricFamily("classpulse_device_info", "What runs there", labels=(*_WHO, "version", "model"))
    for device, said in spoken.items():
        if said.state:
            for state in STATES:
                states.add_metric((*_who(device), state), float(said.state.state == state))
            versions.add_metric((*_who(device), said.state.version, said.state.model or ""), 1.0)
    yield states
    yield versions


def _details(healths: Mapping[Device, Health]) -> Iterator[Metric]:
    latency = GaugeMetricFamily(
        "classpulse_device_latency_seconds", "Latency of a stage", labels=(*_WHO, "stage", "quantile")
    )
    lost = CounterMetricFamily("classpulse_device_outbox_dropped", "Messages given up", labels=(*_WHO, "reason"))
    throttled = GaugeMetricFamily("classpulse_device_throttled", "The Pi's get_throttled flags", labels=_WHO)
    for device, health in healths.items():
        for stage, (median, high) in health.latency_ms.items():
            latency.add_metric((*_who(device), stage, "0.5"), median / 1000)
            latency.add_metric((*_who(device), stage, "0.99"), high / 1000)
        for reason, count in health.outbox_dropped.items():
            lost.add_metric((*_who(device), reason), count)
        if health.throttled is not None:
            throttled.add_metric(_who(device), _flags(health.throttled))
    yield from (latency, lost, throttled)


def _family(
    family: GaugeMetricFamily | CounterMetricFamily, key: str, healths: Mapping[Device, Health]
) -> GaugeMetricFamily | CounterMetricFamily:
    for device, health in healths.items():
        value = getattr(health, key)
        if value is not None:
            family.add_metric(_who(device), value)
    return family


def _who(device: Device) -> tuple[str, str, str]:
    return device.site, device.room, device.device


def _flags(throttled: str) -> float:
    try:
        return float(int(throttled, 16))
    except ValueError:
        return float("nan")


def registry(tally: Tally, read: Callable[[], Mapping[Device, Spoken]], now: Callable[[], float]) -> CollectorRegistry:
    """A registry with daemon and fleet in it."""
    made = CollectorRegistry()
    made.register(Ingest(tally))
    made.register(Fleet(read, now))
    return made


def serve(config: AggregatorConfig, tally: Tally) -> None:
    """Serve the metrics from a thread, if the configuration has a port for them.

    Raises:
        OSError: If the port is taken.
    """
    if not config.metrics.port:
        return

    def read() -> Mapping[Device, Spoken]:
        with open_store(config, writable=False) as store:
            return store.states()

    start_http_server(config.metrics.port, config.metrics.host, registry(tally, read, time.time))
    log.info("metrics at http://%s:%d/metrics", config.metrics.host, config.metrics.port)
