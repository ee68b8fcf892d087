"""What the page shows and says, without a browser."""

import re
import sqlite3
import threading
import time
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest
from msgspec import UNSET, structs

from aggregator.analysis.mix import Estimator, Mix, Moment
from aggregator.analysis.summary import DeviceState
from aggregator.config import AggregatorConfig, AttentionConfig, MqttConfig, PageConfig, StoreConfig
from aggregator.ingest.batch import RawMessage, read
from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import Batch, StoreError, StoreUnavailableError
from aggregator.web.app import STORE_S, address, check_certificate, open_users, opened, warnings
from aggregator.web.audit import Entry
from aggregator.web.auth import LOCAL
from aggregator.web.charts import PALETTE, group_colours, groups_table, labels_table, timeline
from aggregator.web.language import span_text
from aggregator.web.reader import BY_MQTT, RoomReader
from aggregator.web.style import Unconnected
from aggregator.web.text import device_status, facts, mix_hint
from aggregator.web.users import User, Users
from contract.labels import EMOTIONS
from contract.message import State, instant, utc
from contract.topics import Device, Room
from service.config import ConfigError
from tests.health import health_at

NOW = 1_795_000_000.0
ROOM = Room("school", "r1")
OFF = AttentionConfig(enabled=False)


def say(store, device, word, at=NOW):
    """Note a device's state."""
    state = State(state=word, reason="", version="1", model="3f9c1a77", min_faces=5, boot="9f3a2c41")
    store.commit(Batch(states={device: (state, at)}))


def tell_time(store, device, at, faces=UNSET):
    """Note a device's health, which came at NOW and says that it is `at`."""
    store.commit(Batch(healths={device: (health_at(at, faces=faces), NOW)}))


@pytest.fixture
def reader(store, device, keep, message, counted):
    """A room with a minute of frames: six happy, four neutral, one unsure."""
    say(store, device, "ready")
    keep(*(message(seq, counted(NOW - 60 + seq, 0, 0, 0, 6, 0, 0, 4, unsure=1)) for seq in range(60)))
    return RoomReader(store, Estimator({}), OFF)


def test_a_view_has_the_mix_of_the_last_minute_and_its_windows(reader):
    """Counts per frame, a moment per window, the state of the camera."""
    view = reader.view(ROOM, NOW)

    assert view.summary.recent.faces == pytest.approx(11)
    assert view.summary.recent.shares["happy"] == pytest.approx(0.6)
    assert paths(view.timeline)[COLOURS["pleasant"]].startswith("M")
    assert view.summary.devices == {"cam": DeviceState("ready", "")}
    assert view.summary.lesson_start <= instant(utc(NOW - 60))


def test_a_view_is_read_once_for_all_pages_and_then_again(reader, keep, message, counted):
    """Within a second the same view, after that what the store has by then."""
    first = reader.view(ROOM, NOW)
    keep(message(99, counted(NOW, 30)))

    assert reader.view(ROOM, NOW + 0.5) is first
    assert reader.view(ROOM, NOW + 2).summary.recent.faces != first.summary.recent.faces


def test_a_lesson_that_comes_late_is_whole_as_soon_as_it_is_read(store, device, keep, message, counted):
    """A camera that was offline sends its lesson at once: the headline must not say that it has just begun."""
    say(store, device, "ready")
    lesson = [message(seq, counted(NOW - 1500 + 10 * seq, 10)) for seq in range(150)]
    keep(*lesson[-3:])
    reader = RoomReader(store, Estimator({}), OFF)
    reader.view(ROOM, NOW)
    keep(*lesson[:-3])
    reader.view(ROOM, NOW + 9)

    begin = reader.view(ROOM, NOW + 11).summary.lesson_start

    assert begin == instant(utc(NOW - 1500))


def test_what_did_not_change_is_not_drawn_anew(reader, keep, message, counted):
    """A page is sent the timeline once in ten seconds: a half-filled window would be a step that jumps."""
    first = reader.view(ROOM, NOW + 0.5)
    keep(message(99, counted(NOW, 30)))

    assert reader.view(ROOM, NOW + 4).timeline == first.timeline
    assert reader.view(ROOM, NOW + 15).timeline != first.timeline


def test_a_clock_set_back_does_not_freeze_the_page(reader, store):
    """A view of the future is thrown away, and what comes in is read at once."""
    future = reader.view(ROOM, NOW + 3600)
    say(store, Device("school", "r2", "cam"), "ready")

    assert reader.view(ROOM, NOW) is not future
    assert reader.rooms(NOW) == [ROOM, Room("school", "r2")]


@pytest.mark.parametrize("step_s", [3600, -3600, 400 * 86400])
def test_a_clock_that_steps_and_comes_back_changes_nothing(reader, step_s):
    """Of the page's own machine: the room, its lesson and what is lost are as they were."""
    before = reader.view(ROOM, NOW)
    for now in (NOW + step_s, NOW + step_s + 1):
        reader.view(ROOM, now)
        reader.lost(now)

    after = reader.view(ROOM, NOW + 1)

    assert after.status.kind == "live"
    assert after.summary.lesson == before.summary.lesson
    assert after.course == before.course
    assert reader.listing(LOCAL, NOW + 1) == [ROOM]


class Away:
    """A store that cannot be reached as long as `away`; counts how often somebody tried."""

    def __init__(self, store):
        self.store, self.away, self.tried = store, True, 0

    def states(self):
        """What devices said, or the error."""
        self.tried += 1
        if self.away:
            raise StoreUnavailableError("the database is away")
        return self.store.states()

    def recent(self, since):
        """The windows; `states` is always asked first."""
        return self.store.recent(since)

    def __getattr__(self, name):
        return getattr(self.store, name)


def test_a_store_that_is_away_is_not_asked_by_every_page(reader, store):
    """Each page is told at once, the store is asked every ten seconds, and the pages go on when it is back."""
    away = Away(store)
    pages = RoomReader(away, Estimator({}), OFF)
    for page in range(200):
        with pytest.raises(StoreError, match="away"):
            pages.view(ROOM, NOW + page / 100)
    assert away.tried == 1

    away.away = False
    with pytest.raises(StoreError, match="away"):
        pages.rooms(NOW + 9)
    assert pages.rooms(NOW + 11) == [ROOM]
    assert pages.view(ROOM, NOW + 11).summary.lesson is not None


def test_a_store_that_was_away_is_asked_at_once_after_a_clock_was_set_back(reader, store):
    """Else nobody would ask it for as long as the clock was ahead."""
    away = Away(store)
    pages = RoomReader(away, Estimator({}), OFF)
    with pytest.raises(StoreError, match="away"):
        pages.rooms(NOW + 3600)
    away.away = False

    assert pages.rooms(NOW) == [ROOM]


def test_rooms_are_those_that_spoke(reader, store):
    """Each once, in order."""
    say(store, Device("school", "a1", "x"), "lost")
    say(store, Device("school", "a1", "y"), "ready")

    assert reader.rooms(NOW + 5) == [Room("school", "a1"), ROOM]


def test_a_room_without_frames_has_an_empty_view(store, device):
    """A camera that only said that it is ready."""
    say(store, device, "ready")

    view = RoomReader(store, Estimator({}), OFF).view(ROOM, NOW)

    assert (view.summary.recent, view.summary.lesson, view.events) == (None, None, [])
    assert view.status.kind == "silent"
    assert facts(view.summary, None, UTC, view.large)["start of lesson"] == "\N{EN DASH}"


def test_a_room_says_how_many_faces_are_large_enough_to_read(store, device):
    """As its devices said last; nothing of one that says nothing, or is gone."""
    faces = {"found": 40.2, "small": 26, "unsure": 3, "read": 11.2}
    said = []
    for word, told in (("ready", faces), ("lost", faces), ("ready", UNSET)):
        say(store, device, word)
        tell_time(store, device, NOW, told)
        said.append(RoomReader(store, Estimator({}), OFF).view(ROOM, NOW).large)

    assert said == ["14 of 40", "\N{EN DASH}", "\N{EN DASH}"]


def test_frames_ten_years_ahead_change_nothing(reader, store, device, message, counted, item):
    """A device whose clock is wrong, and says it is synchronised, stays out of now and of the lesson."""
    before = reader.view(ROOM, NOW)
    ahead = message(0, counted(NOW + 10 * 365 * 86400, 50), boot="00000002")
    store.commit(read([item(device, ahead)]))

    after = reader.view(ROOM, NOW + 2)

    assert after.summary.lesson.faces == pytest.approx(before.summary.lesson.faces)
    assert after.status.kind == "live"


@pytest.mark.parametrize(("off_s", "text"), [(10 * 31557600, "10 years ahead"), (-3 * 3600, "3 hours behind")])
def test_a_wrong_clock_is_told(reader, store, device, off_s, text):
    """Frames that nobody sees have a reason that the room's page gives; a camera that is gone has another."""
    tell_time(store, device, NOW + off_s)

    view = reader.view(ROOM, NOW + 2)
    assert view.status.text == f"cam: its clock is {text}, so its data has the wrong time"
    assert device_status(DeviceState("ready", ""), view.clock_errors["cam"]).kind == "fault"
    say(store, device, "lost")
    assert reader.view(ROOM, NOW + 4).clock_errors == {}


def test_a_clock_that_is_a_little_off_is_none(reader, store, device):
    """Health comes every 30 s and may come late."""
    tell_time(store, device, NOW - 45)

    assert reader.view(ROOM, NOW + 2).clock_errors == {}


def test_the_newest_frame_is_known_to_the_second(reader, keep, message, counted):
    """A window that does not grow has no new frame, though its ten seconds have not passed."""
    keep(message(98, counted(NOW + 0.3, 1)))
    first = reader.view(ROOM, NOW + 1)

    assert first.summary.age_s == pytest.approx(0)
    assert reader.view(ROOM, NOW + 8).summary.age_s == pytest.approx(7)
    keep(message(99, counted(NOW + 8.5, 1)))
    assert reader.view(ROOM, NOW + 9).summary.age_s == pytest.approx(0)
    assert reader.view(ROOM, NOW + 29).summary.age_s == pytest.approx(20)


@pytest.mark.parametrize(
    ("word", "late_s", "kind"),
    [
        ("ready", 0, "live"),
        ("ready", 120, "silent"),
        ("paused", 0, "paused"),
        ("lost", 0, "fault"),
        ("degraded", 0, "fault"),
        ("degraded", 120, "fault"),
    ],
)
def test_a_room_stands_as_its_cameras_say(reader, store, device, word, late_s, kind):
    """And as its frames show."""
    say(store, device, word)

    assert reader.view(ROOM, NOW + 2 + late_s).status.kind == kind


def test_who_paused_a_camera_is_told(store, device):
    """The device knows of an order by MQTT only; one by a schedule is nobody's."""
    state = State(state="paused", reason=BY_MQTT, version="1", model=None, min_faces=5, boot="9f3a2c41")
    store.commit(Batch(states={device: (state, NOW)}))
    anna = Entry("", "anna", "10.0.0.1", "pause", device.identity)

    assert RoomReader(store, Estimator({}), OFF).view(ROOM, NOW).status.text == "paused by MQTT"
    reader = RoomReader(store, Estimator({}), OFF, {device: anna}.get)
    assert reader.view(ROOM, NOW).status.text == "paused by anna"
    assert reader.devices(NOW)[device].state.reason == "ordered by anna"
    other = structs.replace(state, reason="schedule")
    store.commit(Batch(states={device: (other, NOW + 5)}))
    assert reader.view(ROOM, NOW + 10).status.text == "paused: schedule"


def test_every_state_of_a_device_has_a_word():
    """Also one that this code does not know."""
    assert device_status(DeviceState("ready", "")).text == "ready"
    assert device_status(DeviceState("lost", "")).kind == "fault"
    assert device_status(DeviceState("asleep", "<b>")).text == "asleep: <b>"


def test_the_palette_has_every_label_once():
    """No label without a colour, no colour twice."""
    assert set(PALETTE) == set(EMOTIONS)
    assert len(set(PALETTE.values())) == len(EMOTIONS)


def cells(table):
    """Label -> its share, arrow and bar."""
    rows = re.findall(
        r"<th scope=row>(\w+)</th><td>([^<]*)</td><td class=trend>(.?)</td><td class=track>(.*?)</td>", table
    )
    return {label: (share.replace("\N{NO-BREAK SPACE}", " "), arrow, bar) for label, share, arrow, bar in rows}


def test_the_mix_is_shown_in_percent_with_arrows(reader):
    """A row per label; an arrow from five points of trend on; without an estimate no interval."""
    rows = cells(labels_table(reader.view(ROOM, NOW).summary.recent, {"happy": 0.06, "sad": -0.06, "neutral": -0.04}))

    assert list(rows) == list(PALETTE)
    assert [rows[label][:2] for label in ("happy", "neutral", "sad")] == [("60 %", "▲"), ("40 %", ""), ("0 %", "▼")]
    assert "width:60.0%" in rows["happy"][2]
    assert "interval" not in rows["happy"][2]


def test_the_mix_has_the_interval_and_the_raw_counts_on_its_bars():
    """Where the true share may lie, and what was counted."""
    bar = cells(labels_table(MIX, None))["sad"][2]

    assert "left:31.4%;width:20.6%" in bar
    assert 'class=raw style="left:14.3%"' in bar


def test_groups_are_shown_with_their_interval_and_trend():
    """Against the lesson; without an estimate there is no interval."""
    lesson = structs.replace(MIX, groups={"pleasant": (0.5, 0, 1), "neutral": (0.19, 0, 1), "unpleasant": (0.31, 0, 1)})

    rows = cells(groups_table(MIX, lesson, COLOURS))

    assert [(name, *row[:2]) for name, row in rows.items()] == [
        ("pleasant", "20 %", "▼"),
        ("neutral", "20 %", ""),
        ("unpleasant", "60 %", "▲"),
    ]
    assert "left:55.0%;width:15.0%" in rows["unpleasant"][2]
    counted = structs.replace(MIX, estimate=None)
    assert "interval" not in groups_table(counted, None, COLOURS)
    assert list(cells(groups_table(None, None, COLOURS))) == list(COLOURS)


ANNA, BEN = User("anna", "", ("*",)), User("ben", "", ("*",))


def rooms_with(store, message, counted, spans):
    """A device per room: `spans` has for each room the (seconds before NOW, happy, sad) of its frames."""
    for number, frames in enumerate(spans):
        device = Device("school", f"r{number}", "cam")
        say(store, device, "ready")
        sent = [
            message(seq, counted(NOW + at, 0, 0, 0, happy, sad, 0, 20 - happy - sad))
            for seq, (at, happy, sad) in enumerate(frames)
        ]
        items = [RawMessage(device.topic("counts"), each.to_json(), NOW) for each in sent]
        store.commit(read(items))


class Counting:
    """A store that counts how often each method is called."""

    def __init__(self, store):
        self.store, self.calls = store, []

    def __getattr__(self, name):
        self.calls.append(name)
        return getattr(self.store, name)


def test_a_second_of_many_rooms_is_read_at_once(store, message, counted, monkeypatch):
    """Two statements for forty rooms; a room by itself is read for its lesson only."""
    monkeypatch.setattr("aggregator.web.reader._EXAMINE_S", 60)
    rooms_with(store, message, counted, [[(-5, 6, 0)]] * 40)
    counting = Counting(store)
    reader = RoomReader(counting, Estimator({}), OFF)
    reader.listing(LOCAL, NOW)
    counting.calls.clear()

    for room in reader.listing(LOCAL, NOW + 1):
        assert reader.view(room, NOW + 1, whole=False).summary.recent.faces == 20

    assert counting.calls == ["states", "recent"]


def test_rooms_with_news_come_first_then_those_with_a_fault(store, message, counted, monkeypatch):
    """Whoever has seen the event finds the room at its place again."""
    monkeypatch.setattr("aggregator.web.reader._EXAMINE_S", 60)
    steady, moved = ([(at, 10, 0) for at in range(-900, 0, 5)] for _ in range(2))
    moved[120:] = [(at, 0, 10) for at, _, _ in moved[120:]]
    rooms_with(store, message, counted, [steady, steady, moved])
    say(store, Device("school", "r1", "cam"), "lost")
    reader = RoomReader(store, Estimator({}), AttentionConfig())
    anna = User("anna", "", ("*",))

    assert [room.room for room in reader.listing(anna, NOW)] == ["r2", "r1", "r0"]

    reader.mark_seen(reader.view(Room("school", "r2"), NOW), anna)
    assert [room.room for room in reader.listing(anna, NOW)] == ["r1", "r0", "r2"]
    assert [room.room for room in reader.listing(User("ben", "", ("school/r0",)), NOW)] == ["r0"]


def test_what_one_user_has_seen_is_news_for_another(store, device, keep, message, counted):
    """Until there is a newer event."""
    say(store, device, "ready")
    at = [NOW - 10 * (60 - index) for index in range(60)]
    keep(*(message(seq, counted(t, 0, 0, 0, *((6, 0) if seq < 30 else (0, 6)))) for seq, t in enumerate(at)))
    reader = RoomReader(store, Estimator({}), AttentionConfig())
    view = reader.view(ROOM, NOW)
    assert reader.headline(view, ANNA).event is not None

    reader.mark_seen(view, ANNA)

    assert reader.headline(view, ANNA).event is None
    assert reader.headline(view, BEN).event is not None


def test_an_empty_mix_is_shown_without_figures():
    """Nothing is known, which is not nought per cent."""
    assert {row[:2] for row in cells(labels_table(None, None)).values()} == {("\N{EN DASH}", "")}


def paths(drawn):
    """The paths of a timeline, the areas by colour and the line of faces."""
    return dict(re.findall(r'<path (?:fill|class)="([^"]*)" d="([^"]*)"/>', drawn))


def at(start, mix):
    """A moment."""
    return Moment(start, mix)


def test_the_timeline_breaks_where_windows_are_missing():
    """A gap is a gap, not a slope: each area ends at the axis, and the line stops."""
    drawn = paths(timeline([at(0, MIX), at(10, MIX), at(50, MIX)], 0, 100, 10, COLOURS, UTC))

    assert drawn[COLOURS["pleasant"]] == "M0.0 1000.0V0.0H100.0V0.0H200.0V1000M500.0 1000.0V0.0H600.0V1000"
    assert drawn["line"] == "M0.0 5.0V5.0H100.0V5.0H200.0M500.0 5.0V5.0H600.0"


def test_shares_are_stacked_and_a_withheld_moment_has_none():
    """Each group begins where the one above it ends; faces are drawn all the same."""
    nobody = structs.replace(MIX, estimate=None, groups=None, counts=None, withheld=1.0, faces=0.0)

    drawn = paths(timeline([at(0, MIX), at(10, nobody)], 0, 20, 10, COLOURS, UTC))

    assert drawn[COLOURS["pleasant"]] == "M0.0 1000.0V0.0H500.0V1000"
    assert drawn[COLOURS["unpleasant"]] == "M0.0 1000.0V400.0H500.0V1000"
    assert drawn["line"].endswith("V25.0H1000.0")


def test_a_step_that_began_before_the_lesson_is_drawn_from_its_begin():
    """Steps are whole minutes, lessons begin at any second: nothing reaches out of the chart."""
    drawn = paths(timeline([at(0, MIX), at(60, MIX)], 40, 100, 60, COLOURS, UTC))

    assert drawn["line"] == "M0.0 5.0V5.0H333.3V5.0H1000.0"


def test_an_empty_timeline_draws_nothing():
    """Browsers complain of a path that does not begin with a point."""
    assert set(paths(timeline([], 0, 100, 10, COLOURS, UTC)).values()) == {""}


def test_times_below_are_of_the_zone_of_the_site():
    """On whole minutes, few enough to be read."""
    assert re.findall(r">(\d\d:\d\d)<", timeline([], 30, 630, 10, COLOURS, UTC)) == [
        f"00:{minute:02}" for minute in range(1, 11)
    ]
    india = timezone(timedelta(hours=5, minutes=30))
    assert re.findall(r">(\d\d:\d\d)<", timeline([], 0, 2700, 60, COLOURS, india))[:2] == ["05:30", "05:35"]
    assert len(re.findall("<span style", timeline([], 0, 86400, 60, COLOURS, UTC))) <= 11


MIX = Mix(
    frames=60,
    withheld=0.0,
    faces=20.0,
    unsure=0.1,
    counts=dict.fromkeys(EMOTIONS, 1.0),
    estimate=dict.fromkeys(EMOTIONS, (0.1, 0.0, 0.2)) | {"sad": (0.4, 0.314, 0.52)},
    groups={"pleasant": (0.2, 0.1, 0.3), "neutral": (0.2, 0.1, 0.3), "unpleasant": (0.6, 0.55, 0.7)},
)
COLOURS = group_colours(MIX.groups)


@pytest.mark.parametrize(
    ("mix", "word"),
    [
        (None, "No data"),
        (MIX, "90 % interval"),
        (structs.replace(MIX, estimate=None), "Raw counts"),
        (structs.replace(MIX, estimate=None, counts=None, withheld=1.0), "Not shown"),
        (structs.replace(MIX, estimate=None, counts=None), "switched off"),
        (structs.replace(MIX, estimate=None, counts=dict.fromkeys(EMOTIONS, 0.0)), "No faces"),
    ],
)
def test_an_empty_chart_says_why(mix, word):
    """And one that is not says how to read it."""
    assert word in mix_hint(mix)


def test_a_lasting_change_is_on_the_page(store, device, keep, message, counted):
    """As long as the lesson runs."""
    say(store, device, "ready")
    moods = [(6, 0)] * 90 + [(0, 6)] * 60 + [(6, 0)] * 60
    at = [NOW - 10 * (len(moods) - index) for index in range(len(moods))]
    keep(*(message(seq, counted(t, 0, 0, 0, *mood)) for seq, (t, mood) in enumerate(zip(at, moods, strict=True))))

    found = RoomReader(store, Estimator({}), AttentionConfig()).view(ROOM, NOW).events

    risen = [max(event.changes, key=lambda name: event.changes[name][1]) for event in found]
    assert risen == ["unpleasant", "pleasant"]
    assert RoomReader(store, Estimator({}), OFF).view(ROOM, NOW).events == []


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 seconds"), (300, "5 minutes"), (10**9, "32 years")])
def test_spans_are_told_in_a_fitting_unit(seconds, text):
    """Nobody reads 31,557,600 seconds."""
    assert span_text(seconds) == text


def test_the_page_is_not_open_to_others_without_users(tmp_path):
    """The start is refused, and says what to do."""
    config = PageConfig(host="0.0.0.0", users=tmp_path / "users.json")

    with pytest.raises(ConfigError, match=r"host = '0\.0\.0\.0' opens .* user add"):
        open_users(config)
    with pytest.raises(ConfigError, match=r"https_proxy = true opens .* user add"):
        open_users(replace(config, host="127.0.0.1", https_proxy=True))
    assert open_users(PageConfig(users=tmp_path / "users.json")) is None


def test_a_users_file_is_heeded_on_this_machine_too(tmp_path):
    """Even one from which the last user was removed; a broken one stops the start."""
    path = tmp_path / "users.json"
    users = Users(path)
    users.put("anna", "correct horse", ["*"])
    users.remove("anna")

    assert open_users(PageConfig(users=path)) is not None
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"users\.json"):
        open_users(PageConfig(users=path))


def test_a_page_for_others_without_https_is_warned_of(tmp_path):
    """Not on this machine, nor behind a proxy that speaks HTTPS, nor with a certificate."""
    Users(tmp_path / "users.json").put("anna", "correct horse", ["*"])
    config = PageConfig(users=tmp_path / "users.json")
    open_to_all = replace(config, host="0.0.0.0")

    assert list(warnings(config)) == []
    assert ["page.certificate" in warning for warning in warnings(open_to_all)] == [True]
    assert list(warnings(replace(open_to_all, https_proxy=True))) == []
    assert list(warnings(replace(open_to_all, certificate=Path("a.crt"), key=Path("a.key")))) == []


def test_a_certificate_needs_its_key_and_both_need_to_be_usable(tmp_path):
    """The start is refused with the names of the files."""
    (tmp_path / "page.crt").write_text("no certificate")
    with pytest.raises(ValueError, match="belong together"):
        PageConfig(certificate=tmp_path / "page.crt")

    for name in ("page.crt", "missing.crt"):
        with pytest.raises(ConfigError, match=rf"{name}, page\.key = .*page\.crt"):
            check_certificate(PageConfig(certificate=tmp_path / name, key=tmp_path / "page.crt"))


def test_a_store_of_a_newer_version_is_not_waited_for(tmp_path):
    """Nor one that is none of ours: neither will change by itself."""
    config = AggregatorConfig(site="school", mqtt=MqttConfig("127.0.0.1"), store=StoreConfig(tmp_path / "store.sqlite"))
    with SqliteStore(config.store.path), sqlite3.connect(config.store.path) as db:
        db.execute("PRAGMA user_version = 99")
    started = time.monotonic()

    with pytest.raises(StoreError, match="version 99"):
        opened(config)

    assert time.monotonic() - started < STORE_S / 2


def test_a_store_that_is_yet_to_be_made_is_waited_for(tmp_path):
    """The daemon may start at the same time: first there is no file, then an empty one, then the tables."""
    config = AggregatorConfig(site="school", mqtt=MqttConfig("127.0.0.1"), store=StoreConfig(tmp_path / "store.sqlite"))

    def make():
        time.sleep(0.5)
        config.store.path.touch()
        time.sleep(0.5)
        with SqliteStore(config.store.path):
            pass

    maker = threading.Thread(target=make)
    maker.start()
    with opened(config) as store:
        assert store.states() == {}
    maker.join()


def test_the_address_is_what_a_browser_takes():
    """Brackets around IPv6, https with a certificate; nobody can open 0.0.0.0 on another machine."""
    served = PageConfig(host="::1", port=1, certificate=Path("page.crt"), key=Path("page.key"))

    assert address(PageConfig()) == "http://127.0.0.1:8080/"
    assert address(served) == "https://[::1]:1/"
    assert address(PageConfig(path="/classpulse")) == "http://127.0.0.1:8080/classpulse/"
    assert re.fullmatch(r"http://(?!0\.0)[\d.]+:8080/", address(PageConfig(host="0.0.0.0")))


def config_with(**groups):
    """A configuration with these groups."""
    return AggregatorConfig(site="school", mqtt=MqttConfig("127.0.0.1"), groups=groups)


@pytest.mark.parametrize(
    "groups",
    [
        {"all": EMOTIONS[:6]},
        {"all": EMOTIONS, "more": ("happy",)},
        {"all": EMOTIONS, "none": ()},
        {"faces": EMOTIONS},
        {"happy": EMOTIONS},
        {"<b>": EMOTIONS},
        {"x" * 25: EMOTIONS},
    ],
)
def test_groups_that_cannot_be_used_are_refused(groups):
    """A label twice or nowhere, a name that means something else, markup."""
    with pytest.raises(ValueError, match=r"\[groups\]"):
        config_with(**groups)


def test_a_site_can_name_its_groups():
    """As it likes, in any language."""
    assert set(config_with(gut=("happy",), neutral=("neutral",), Übrige=EMOTIONS[:3] + EMOTIONS[4:6]).groups) == {
        "gut",
        "neutral",
        "Übrige",
    }


class Loaded:
    """A page as the web framework keeps it."""

    def __init__(self, number):
        self.id, self.handlers, self.deleted = str(number), {"connect": [], "delete": []}, False

    def on_connect(self, handler):
        """When its web socket comes."""
        self.handlers["connect"].append(handler)

    def on_delete(self, handler):
        """When it is forgotten."""
        self.handlers["delete"].append(handler)

    def delete(self):
        """Forget it."""
        self.deleted = True
        self.happen("delete")

    def happen(self, what):
        """Tell those who wait for it."""
        for handler in self.handlers[what]:
            handler()


def test_pages_without_a_web_socket_are_few():
    """The oldest goes; one whose web socket has come, or that is gone already, does not count."""
    pages, unconnected = [Loaded(number) for number in range(6)], Unconnected(3)
    for page in pages[:3]:
        unconnected.add(page)
    pages[0].happen("connect")
    pages[1].delete()

    for page in pages[3:]:
        unconnected.add(page)

    assert [page.deleted for page in pages] == [False, True, True, False, False, False]
