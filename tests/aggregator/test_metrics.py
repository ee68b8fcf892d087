"""Figures for Prometheus."""

import json
import re
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from aggregator.analysis.mix import Mix
from aggregator.config import AggregatorConfig, MetricsConfig, MqttConfig, StoreConfig
from aggregator.ingest import metrics
from aggregator.ingest.metrics import IngestStats, Metrics
from aggregator.store.types import Batch, StoreUnavailableError
from contract.message import Health, State, instant, utc
from contract.topics import Device, Room
from tests.system.broker import free_port

NOW = 1_795_000_000.0
DEVICE = Device("school", "r1", "cam")


@pytest.fixture
def fleet(store, device):
    """A store with one device that said everything that it can say."""
    health = Health(
        t=instant(utc(NOW)),
        boot="9f3a2c41",
        uptime_s=60.0,
        rate_hz=4.5,
        frame_age_s=None,
        latency_ms={"detect": (50.0, 80.0)},
        dropped_frames=3,
        outbox_messages=2,
        outbox_bytes=600,
        outbox_oldest_s=1.5,
        outbox_dropped={"age": 7},
        outbox_first={"9f3a2c41": 0},
        confirm="stored",
        reconnects=1,
        temperature_c=51.5,
        throttled="0x50000",
        rss_bytes=10**8,
        certificate_end=instant(utc(NOW + 86400)),
    )
    state = State(state="paused", reason="", version="1.2", model="3f9c1a77", min_faces=5, boot="9f3a2c41")
    store.commit(Batch(states={device: (state, NOW - 30)}, healths={device: (health, NOW - 20)}))
    return store


def samples(text):
    """(name, labels without who) -> value."""
    who = {"site": "school", "room": "r1", "device": "cam"}
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            rest = {key: value for key, value in sample.labels.items() if who.get(key) != value}
            found[sample.name, tuple(sorted(rest.values()))] = sample.value
    return found


def test_the_fleet_and_the_daemon_are_told(fleet):
    """Every field of health under its unit, the state as a one, silence by the aggregator's clock."""
    stats = IngestStats(
        messages=10,
        duplicates=2,
        batches=4,
        reasons=Counter(json=1),
        lost=Counter({DEVICE: 3}),
        cuts=Counter({DEVICE: 2}),
    )

    told = samples(generate_latest(Metrics(stats, fleet.states, lambda: NOW)).decode())

    assert told["classpulse_messages_total", ("counted",)] == 10
    assert told["classpulse_messages_total", ("json",)] == 1
    assert told["classpulse_lost_messages_total", ()] == 3
    assert told["classpulse_device_cuts_total", ()] == 2
    assert told["classpulse_device_frames_per_second", ()] == 4.5
    assert told["classpulse_device_latency_seconds", ("0.99", "detect")] == 0.08
    assert told["classpulse_device_certificate_end_timestamp_seconds", ()] == NOW + 86400
    assert told["classpulse_device_outbox_dropped_total", ("age",)] == 7
    assert told["classpulse_device_state", ("paused",)] == 1
    assert told["classpulse_device_state", ("lost",)] == 0
    assert told["classpulse_device_silent_seconds", ()] == 20
    assert told["classpulse_device_throttled", ()] == 0x50000
    assert ("classpulse_device_frame_age_seconds", ()) not in told


def test_a_device_cannot_make_up_series(store, device, fleet):
    """Each new label would be a series that Prometheus keeps for months: 68,000 of them in a fuzz."""
    before = len(samples(generate_latest(Metrics(IngestStats(), fleet.states, lambda: NOW)).decode()))
    health = fleet.states()[device].health
    invented = replace(
        health,
        latency_ms={f"stage {number}": (1.0, 2.0) for number in range(500)} | dict(health.latency_ms),
        outbox_dropped={f"reason {number}": 1 for number in range(500)} | dict(health.outbox_dropped),
    )
    store.commit(Batch(healths={device: (invented, NOW)}))

    assert len(samples(generate_latest(Metrics(IngestStats(), fleet.states, lambda: NOW)).decode())) == before


MIX = Mix(
    frames=60, withheld=0.0, faces=20.0, unsure=0.1, counts=None, estimate=None, groups={"pleasant": (0.3, 0.2, 0.4)}
)


def test_each_room_has_its_mood(fleet):
    """Its groups and faces, as long as this daemon summarises it and there are frames."""
    rooms = {
        Room("school", "r1"): (NOW - 10, MIX),
        Room("school", "empty"): (NOW - 10, None),
        Room("school", "left"): (NOW - 3600, MIX),
    }

    told = samples(generate_latest(Metrics(IngestStats(rooms=rooms), fleet.states, lambda: NOW)).decode())

    assert told["classpulse_room_share", ("pleasant",)] == pytest.approx(0.3)
    assert told["classpulse_room_faces", ()] == 20
    assert not any({"empty", "left"} & set(labels) for _, labels in told)


def test_without_the_store_the_daemons_own_figures_are_told(fleet):
    """When it is needed most, the scrape must not fail."""

    def away():
        raise StoreUnavailableError("the disk is gone")

    told = samples(generate_latest(Metrics(IngestStats(messages=10), away, lambda: NOW)).decode())

    assert told["classpulse_messages_total", ("counted",)] == 10
    assert told["classpulse_store_readable", ()] == 0
    assert samples(generate_latest(Metrics(IngestStats(), fleet.states, lambda: NOW)).decode())[
        "classpulse_store_readable", ()
    ]


def test_metrics_are_served_only_where_the_configuration_has_a_port(tmp_path, fleet):
    """And by a thread, from the store's file."""
    mqtt, store = MqttConfig(host="127.0.0.1"), StoreConfig(path=tmp_path / "store.sqlite")
    port = free_port()

    metrics.serve(AggregatorConfig(site="school", mqtt=mqtt, store=store), IngestStats())
    metrics.serve(
        AggregatorConfig(site="school", mqtt=mqtt, store=store, metrics=MetricsConfig(port=port)), IngestStats()
    )

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert 'device="cam"' in answer.read().decode()


DASHBOARD = Path(__file__).parents[2] / "grafana" / "dashboards" / "classpulse.json"


def test_the_dashboard_shows_only_metrics_that_exist(fleet):
    """A renamed metric would leave an empty panel that nobody notices."""
    stats = IngestStats(reasons=Counter(json=1), rooms={Room("school", "r1"): (NOW, MIX)})
    families = text_string_to_metric_families(generate_latest(Metrics(stats, fleet.states, lambda: NOW)).decode())
    known = {sample.name for family in families for sample in family.samples}
    dashboard = json.loads(DASHBOARD.read_text())

    asked = {
        name for panel in dashboard["panels"] for name in re.findall(r"classpulse_\w+", panel["targets"][0]["expr"])
    }
    assert len(asked) >= 10
    assert asked <= known
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_dashboard_keeps_sites_apart():
    """In every panel and legend: two sites may have a room of the same name; the daemon's own figures by instance."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        (target,) = panel["targets"]
        kept = set(re.findall(r"by \(([^)]*)\)", target["expr"])[:1] or ["site"])
        assert any(name in ("site", "instance") for names in kept for name in names.split(", ")), panel["title"]
        assert re.search(r"\{\{(site|instance)\}\}", target["legendFormat"]), panel["title"]
