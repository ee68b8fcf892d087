"""Lesson, report, CSV and Parquet."""

import csv
import io
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC
from xml.etree import ElementTree as ET

import pytest
from msgspec import structs
from pyarrow import parquet

from aggregator.analysis.lesson import lesson
from aggregator.analysis.mix import Estimator
from aggregator.commands.report import room_of, time_of
from aggregator.config import AttentionConfig
from aggregator.store.types import Batch
from aggregator.web.report import ReportError, to_csv, to_html
from contract.labels import EMOTIONS
from contract.message import FrameCounts, State, instant, utc
from contract.topics import Room

NOW = 1_795_000_000.0
START = int(NOW) // 60 * 60
ROOM = Room("school", "r1")


@pytest.fixture
def told(store, keep, message, counted):
    """Five minutes of eight happy and two sad, of which the third has no frame."""
    at = [START + second for second in range(0, 300, 5) if second // 60 != 2]
    keep(*(message(seq, counted(t, 0, 0, 0, 8, 2)) for seq, t in enumerate(at)))
    rows = store.windows("school", "r1", START, START + 300)
    return lesson(ROOM, START, START + 300, rows, Estimator({}), AttentionConfig())


def test_a_lesson_has_its_minutes_and_the_whole(told):
    """A minute without a frame is no minute."""
    assert [minute.start - START for minute in told.minutes] == [0, 60, 180, 240]
    assert told.whole.faces == pytest.approx(10)
    assert told.whole.shares["happy"] == pytest.approx(0.8)
    assert told.models == {"3f9c1a77": None}


def test_the_page_needs_nothing_else(told):
    """No script, no address to load from, well-formed plots, the figures in words."""
    page = to_html(told, UTC)

    for loaded in ("<script", "src=", "@import", "url(", "<link"):
        assert loaded not in page
    for plot in page.split("<svg")[1:]:
        ET.fromstring("<svg" + plot[: plot.index("</svg>")] + "</svg>")  # noqa: S314 - our own
    assert page.count("<svg") == 2
    assert "<b>10</b> faces" in page
    assert "80\N{NO-BREAK SPACE}%" in page


def test_faces_that_were_not_read_are_told_by_their_reason(told):
    """As many as the counts say, divided as the healths of that time said; nothing is guessed without them."""
    unsure = replace(told, whole=structs.replace(told.whole, faces=26.0, unsure=0.25))

    assert "too small" not in to_html(unsure, UTC)
    assert "20 of them large and clear enough to read (too small: 4, unclear: 2)" in to_html(
        replace(unsure, readings={"found": 13.0, "small": 2.0, "unsure": 1.0, "read": 10.0}), UTC
    )
    assert "too small" not in to_html(replace(told, readings={"found": 10, "small": 0, "unsure": 0, "read": 10}), UTC)


def test_a_lesson_without_frames_says_so(told):
    """A page all the same."""
    page = to_html(lesson(ROOM, START, START + 60, [], Estimator({}), AttentionConfig()), UTC)

    assert "No data was stored in this time." in page
    assert "<svg" not in page


def test_a_lesson_of_withheld_frames_has_no_shares(store, keep, message):
    """Faces and shares are unknown, and the page does not invent any."""
    keep(
        message(
            0, FrameCounts(t=instant(utc(NOW)), withheld=True), FrameCounts(t=instant(utc(NOW + 70)), withheld=True)
        )
    )
    rows = store.windows("school", "r1", START, START + 300)

    page = to_html(lesson(ROOM, START, START + 300, rows, Estimator({}), AttentionConfig()), UTC)

    assert "100\N{NO-BREAK SPACE}% of the frames were withheld" in page
    assert "<table>" not in page


def test_the_csv_has_a_line_per_minute(told):
    """Machine-readable: times in UTC, shares from 0 to 1, nothing where nothing is known."""
    lines = list(csv.DictReader(io.StringIO(to_csv(told))))

    assert [line["minute"] for line in lines] == [instant(utc(minute.start)) for minute in told.minutes]
    assert float(lines[0]["happy"]) == pytest.approx(0.8)
    assert lines[0]["happy_low"] == ""
    assert float(lines[0]["faces"]) == pytest.approx(10)
    assert float(lines[0]["pleasant"]) == pytest.approx(0.8)


@pytest.mark.parametrize("text", ["", "r1", "a/b/c", "a/<b>", "A/b"])
def test_what_is_no_room_is_refused(text):
    """With the text in the message."""
    with pytest.raises(ReportError, match="--room"):
        room_of(text)


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01T00:00", "99999-01-01"])
def test_what_is_no_time_is_refused(text):
    """The same."""
    with pytest.raises(ReportError):
        time_of(text)


def test_a_time_with_a_zone_is_that_time():
    """And one without is local."""
    assert time_of("1970-01-01T01:00+01:00") == 0


@pytest.fixture
def command(tmp_path, store, told):
    """Run `classpulse-aggregator …` on the store of these tests."""
    config = tmp_path / "aggregator.toml"
    config.write_text(
        f'site = "school"\nmodels_dir = "{tmp_path}"\n[mqtt]\nhost = "127.0.0.1"\n'
        f'[store]\npath = "{tmp_path / "store.sqlite"}"\n'
    )

    def run(*words):
        whole = [sys.executable, "-m", "aggregator", "--config", config, *words]
        return subprocess.run(whole, capture_output=True, text=True, check=False)

    return run


def test_the_report_command_writes_both_files(command, tmp_path):
    """The page and the CSV beside it."""
    span = ["--from", instant(utc(START)), "--to", instant(utc(START + 300))]

    ended = command("report", "--room", "school/r1", *span, "--out", str(tmp_path / "lesson.html"))

    assert ended.returncode == 0, ended.stderr
    assert "80\N{NO-BREAK SPACE}%" in (tmp_path / "lesson.html").read_text()
    assert (tmp_path / "lesson.csv").read_text().count("\n") == 5
    backwards = command("report", "--room", "school/r1", "--from", span[3], "--to", span[1])
    assert (backwards.returncode, "a day at most" in backwards.stderr) == (64, True)


def test_the_report_is_in_the_language_that_is_asked_for(command, tmp_path):
    """Its words, its date, and what a screen reader is told; the CSV stays the same for programs."""
    span = ["--from", instant(utc(START)), "--to", instant(utc(START + 300))]

    ended = command("report", "--room", "school/r1", *span, "--language", "hi", "--out", str(tmp_path / "hi.html"))

    assert ended.returncode == 0, ended.stderr
    page = (tmp_path / "hi.html").read_text()
    assert '<html lang="hi">' in page
    words = re.sub(
        r"<style>.*?</style>|<[^>]*>|school|r1\b|3f9c1a77|UTC|hi\.html|classpulse", " ", page, flags=re.DOTALL
    )
    assert re.findall("[A-Za-z]{2,}", words) == []
    assert (tmp_path / "hi.csv").read_text().startswith("minute,frames,withheld,faces,unsure,")


def test_a_store_needs_no_configuration_file(command, tmp_path):
    """A file that was copied from elsewhere: the configuration is not even looked for."""
    (tmp_path / "aggregator.toml").unlink()
    span = ["--from", instant(utc(START)), "--to", instant(utc(START + 300)), "--store", str(tmp_path / "store.sqlite")]

    reported = command("report", "--room", "school/r1", *span, "--out", str(tmp_path / "lesson.html"))
    exported = command("export", *span, "--out", str(tmp_path / "windows.parquet"))

    assert (reported.returncode, exported.returncode) == (0, 0), reported.stderr + exported.stderr
    assert command("report", "--room", "school/r1", *span[:4]).returncode == 78


def test_the_export_holds_every_window_and_sum(command, tmp_path, store, device):
    """What the store has is what the data team gets."""
    said = State(state="ready", reason="", version="1", model=None, min_faces=5, boot="9f3a2c41")
    store.commit(Batch(states={device: (said, NOW)}))
    out = tmp_path / "windows.parquet"
    ended = command("export", "--from", instant(utc(START)), "--to", instant(utc(START + 300)), "--out", str(out))

    assert ended.returncode == 0, ended.stderr
    rows = parquet.read_table(out).to_pylist()
    kept = store.windows("school", "r1", START, START + 300)
    assert len(rows) == len(kept) == 24
    assert sum(row["count_happy"] for row in rows) == 8 * 48
    assert sum(row["expected_sad"] for row in rows) == pytest.approx(1.9 * 48)
    assert {row["start"].timestamp() for row in rows} == {key.start for key, _ in kept}
    assert {f"count_{label}" for label in EMOTIONS} < rows[0].keys()
