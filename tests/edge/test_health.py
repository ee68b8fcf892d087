"""Health says what was measured since the last report, and nothing that the machine does not tell."""

from datetime import UTC, datetime

import pytest
from msgspec import UNSET

from contract.message import Health
from edge.health import HealthMonitor, rss_bytes, temperature_c, throttled

T0 = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
EMPTY = {
    "outbox_messages": 0,
    "outbox_bytes": 0,
    "outbox_oldest_s": 0.0,
    "outbox_dropped": {},
    "outbox_first": {"0000000b": 7},
}


def monitor(now: float = 0.0) -> HealthMonitor:
    """Of a camera that has dropped three frames."""
    return HealthMonitor("0000000b", "stored", lambda: 3, now)


def test_the_end_of_the_certificate_is_told_where_there_is_one():
    """The aggregator tells it in the last two weeks; without one the field is left out."""
    it = monitor()
    without = it.report(T0, 1.0, **EMPTY, reconnects=0)
    it.certificate_end = "2026-11-30T00:00:00.000Z"

    assert b"certificate_end" not in without.to_json()
    assert it.report(T0, 2.0, **EMPTY, reconnects=0).certificate_end == "2026-11-30T00:00:00.000Z"


def test_rates_and_latencies_are_of_the_time_since_the_last_report():
    """A slow first minute does not colour the whole day."""
    it = monitor()
    for number in range(100):
        it.count_frame(number / 10, None)
        it.record("detect", 0.001 * number)
    first = it.report(T0, 10.0, **EMPTY, reconnects=0)
    it.count_frame(19.0, None)

    second = it.report(T0, 20.0, **EMPTY, reconnects=1)

    assert (first.rate_hz, first.frame_age_s, first.latency_ms) == (10.0, 0.1, {"detect": (50.0, 99.0)})
    assert (second.rate_hz, second.frame_age_s, second.latency_ms) == (0.1, 1.0, {})
    assert (second.dropped_frames, second.reconnects, second.uptime_s) == (3, 1, 20.0)


def test_durations_are_told_per_face():
    """Or the emotions' 0.01, 2.7, 4.7, 6.8 ms would tell 0, 1, 2, 3 faces."""
    it = monitor()
    it.record("emotions", 0.030, faces=10)

    assert it.report(T0, 1.0, **EMPTY, reconnects=0).latency_ms == {"emotions": (3.0, 3.0)}


def test_a_report_is_a_message():
    """What is reported can be read on the other side."""
    report = monitor().report(T0, 1.0, **EMPTY, reconnects=0)

    assert Health.from_json(report.to_json()) == report
    assert report.frame_age_s is None


def test_faces_are_means_of_the_frames_that_tell_of_them():
    """Frames with few faces tell of none; the next report begins anew."""
    it = monitor()
    for found, small in ((40, 26), (41, 27)):
        it.count_frame(1.0, {"found": found, "small": small, "unsure": 3, "read": 11})
    it.count_frame(2.0, None)

    first, second = (it.report(T0, now, **EMPTY, reconnects=0) for now in (10.0, 20.0))

    assert first.faces == {"found": 40.5, "small": 26.5, "unsure": 3.0, "read": 11.0}
    assert Health.from_json(first.to_json()) == first
    assert second.faces is UNSET
    assert b"faces" not in second.to_json()


def test_durations_are_bounded():
    """A broken clock of reports must not fill the memory."""
    it = monitor()
    for _ in range(10_000):
        it.record("detect", 1.0)

    assert len(it._durations["detect"]) == 4096


def test_temperature_and_throttling_are_read_where_a_pi_tells_them(tmp_path):
    """sysfs: millidegrees, and hexadecimal flags without a prefix."""
    thermal = tmp_path / "temp"
    thermal.write_text("48312\n")
    flags = tmp_path / "soc" / "soc:firmware" / "get_throttled"
    flags.parent.mkdir(parents=True)
    flags.write_text("50005\n")

    assert temperature_c(thermal) == 48.312
    assert throttled(tmp_path) == "0x50005"


@pytest.mark.parametrize("told", ["", "not hexadecimal\n"])
def test_flags_that_cannot_be_read_are_no_error(tmp_path, told):
    """A firmware that does not answer must not end the daemon."""
    flags = tmp_path / "soc" / "soc:firmware" / "get_throttled"
    flags.parent.mkdir(parents=True)
    flags.write_text(told)

    assert throttled(tmp_path) is None


def test_a_machine_that_tells_neither_is_no_error(tmp_path):
    """None, not a guess."""
    assert temperature_c(tmp_path / "temp") is None
    assert throttled(tmp_path) is None


def test_memory_is_that_of_this_process():
    """An interpreter with numpy takes more than 5 MB and less than 5 GB."""
    assert 5e6 < rss_bytes() < 5e9
