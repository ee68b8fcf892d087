"""Where lessons begin and end, what people say of them, and how they are listed."""

import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from aggregator.analysis.lesson import Planned, Span, spans
from aggregator.analysis.mix import Estimator
from aggregator.config import AggregatorConfig, AttentionConfig, LessonsConfig, MqttConfig, StoreConfig
from aggregator.ingest.batch import RawMessage, read
from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import Note, ReadOnlyError
from aggregator.web.app import keep_note
from aggregator.web.language import current
from aggregator.web.lessons import compare_html, lines, list_html, month_of
from aggregator.web.reader import RoomReader
from aggregator.web.report import ReportError, to_csv, to_html
from aggregator.web.report import read as read_report
from aggregator.web.text import marked, zone_text
from aggregator.web.timetable import CalendarError, Timetable, read_calendar
from contract.topics import Device, Room

ROOM = Room("school", "r1")
NOW = 1_795_000_000
BERLIN = ZoneInfo("Europe/Berlin")
WEEK = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//school//timetable//EN
BEGIN:VEVENT
UID:1
DTSTART:{day}T080000
DTEND:{day}T084500
RRULE:FREQ=DAILY;COUNT=3
SUMMARY:Physics 7b
END:VEVENT
END:VCALENDAR
"""


def windows(*ranges):
    """Starts of all windows in ranges of seconds."""
    return [start for begin, end in ranges for start in range(begin, end, 10)]


def note(at, kind, text="", author="anna"):
    """What anna says."""
    return Note(at, kind, text, author)


@pytest.mark.parametrize(
    ("starts", "planned", "notes", "found"),
    [
        ([(0, 2700), (3600, 6000)], [], [], [Span(0, 2700), Span(3600, 6000)]),
        ([(0, 6000)], [Planned(0, 2700, "Physics"), Planned(3000, 5700, "Latin")], [],
         [Span(0, 2700, "Physics"), Span(3000, 5700, "Latin")]),
        ([(0, 6000)], [], [note(2700, "begin")], [Span(0, 2700), Span(2700, 6000)]),
        ([(0, 3000)], [], [note(2700, "end")], [Span(0, 2700)]),
        ([(0, 6000)], [], [note(2700, "end")], [Span(0, 2700), Span(2700, 6000)]),
        ([(0, 6000)], [], [note(2700, "begin"), note(2703, "begin", author="ben")], [Span(0, 2700), Span(2710, 6000)]),
        ([(0, 2700)], [Planned(0, 2700, "Physics")], [note(100, "name", "Biology"), note(200, "name", "Art")],
         [Span(0, 2700, "Art")]),
        ([(0, 2700), (3000, 5000)], [Planned(3000, 6000, "")], [note(3120, "name", "Art")],
         [Span(0, 2700), Span(3000, 5000, "Art")]),
        ([(0, 100)], [], [], []),
    ],
    ids=["gap", "timetable", "begin", "end", "after-end", "two-at-once", "last-name", "name-of-the-next", "too-short"],
)  # fmt: skip
def test_a_lesson_begins_and_ends_by_gap_timetable_and_button(starts, planned, notes, found):
    """A moment between two presses of the same button is no lesson."""
    assert spans(windows(*starts), planned, notes) == found


def test_notes_are_kept_with_who_wrote_them_and_forgotten_with_their_day(store):
    """Two people who press at once are both kept."""
    both = [note(NOW, "mark", "group work"), note(NOW, "mark", "group work", "ben")]
    for each in both:
        store.add_note(ROOM, each)

    assert store.notes(ROOM, NOW - 10, NOW + 10) == both
    assert store.notes(Room("school", "r2"), 0, NOW + 10) == []
    store.expire(NOW + 91 * 86400, 90)
    assert store.notes(ROOM, 0, NOW + 10) == []


def test_teachers_who_press_at_the_same_moment_are_all_kept(config, store):
    """Each with a connection of its own, as the page does it: the store lets one write after the other."""
    people = [note(NOW + number, "mark", "test", f"teacher-{number}") for number in range(8)]
    ready = threading.Barrier(len(people))

    def press(each):
        ready.wait()
        keep_note(config, ROOM, each)

    with ThreadPoolExecutor(len(people)) as pool:
        list(pool.map(press, people))

    assert store.notes(ROOM, NOW, NOW + 10) == people


def test_a_store_of_before_has_no_notes(store):
    """The page may be newer than the daemon that made the file."""
    store._db.execute("DROP TABLE notes")

    assert store.notes(ROOM, 0, NOW) == []


def test_a_store_that_is_read_only_refuses_a_note(store, tmp_path):
    """And says so, so that the page can."""
    reader = SqliteStore(tmp_path / "store.sqlite", writable=False)

    with reader, pytest.raises(ReadOnlyError, match="this user cannot write it"):
        reader.add_note(ROOM, note(NOW, "mark", "lost?"))


def test_a_week_is_of_the_sites_zone_in_summer_and_winter():
    """Eight o'clock stays eight o'clock when clocks change: 25 October 2026 is the day."""
    config = LessonsConfig(timetable={"school/r1": ("Fri 08:00-08:45 Physics 7b", "Mon 08:00-08:45")})
    start, end = (datetime(2026, 10, day, tzinfo=BERLIN).timestamp() for day in (23, 27))

    found = Timetable(config, BERLIN).planned(ROOM, start, end)

    assert [f"{datetime.fromtimestamp(each.start, BERLIN):%a %H:%M}" for each in found] == ["Fri 08:00", "Mon 08:00"]
    assert [each.name for each in found] == ["Physics 7b", ""]
    assert found[1].start - found[0].start == 3 * 86400 + 3600


@pytest.mark.parametrize("line", ["Monday 08:00-08:45", "Mon 8-9 Physics", "Mon 08:00-25:00"])
def test_a_line_that_is_no_lesson_is_refused_with_the_start(line):
    """Named, with an example."""
    with pytest.raises(ValueError, match="is none like 'Mon 08:00-08:45"):
        LessonsConfig(timetable={"school/r1": (line,)})


def test_a_calendar_repeats_its_lessons_in_the_sites_zone(tmp_path):
    """A time without a zone is the site's."""
    (tmp_path / "week.ics").write_text(WEEK.format(day=f"{datetime.now(BERLIN):%Y%m%d}"))

    found = read_calendar(str(tmp_path / "week.ics"), BERLIN)

    assert {each.name for each in found} == {"Physics 7b"}
    assert {f"{datetime.fromtimestamp(each.start, BERLIN):%H:%M}" for each in found} == {"08:00"}
    assert len(found) >= 2


@pytest.mark.parametrize(
    ("content", "word", "german"),
    [(b"\xff\x00 no calendar", "no calendar", "kein lesbarer Kalender"),
     (b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:nonsense\n", "no calendar", "kein lesbarer Kalender"),
     (WEEK.format(day="20200101").replace("DAILY;COUNT=3", "SECO\n NDLY").encode(), "FREQ=SECONDLY", "kein lesbarer"),
     (b"x" * 2_000_001, "more than 2 MB", "mehr als 2 MB"), (None, "No such file", "nicht erreichbar")],
    ids=["bytes", "broken", "endless", "huge", "missing"],
)  # fmt: skip
def test_a_calendar_that_cannot_be_used_is_told(tmp_path, content, word, german):
    """Where the person looks, in the person's language; the lessons go on by the gap."""
    path = tmp_path / "calendar.ics"
    if content is not None:
        path.write_bytes(content)
    timetable = Timetable(LessonsConfig(calendar={"school/r1": str(path)}), UTC)
    timetable.planned(ROOM, NOW, NOW + 100)

    timetable._pool.shutdown()
    timetable.planned(ROOM, NOW, NOW + 100)

    assert word in timetable.problem(ROOM)
    assert "calendar.ics" in timetable.problem(ROOM)
    assert timetable.problem(Room("school", "r2")) == ""
    before = current.set("de")
    assert german in timetable.problem(ROOM)
    current.reset(before)


def test_an_address_that_nobody_answers_holds_up_no_page(free_address):
    """The page asks for the plan and has it at once, empty."""
    timetable = Timetable(LessonsConfig(calendar={"school/r1": free_address}), UTC)

    began = time.monotonic()
    assert timetable.planned(ROOM, NOW, NOW + 100) == []
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("answer", "word"),
    [(b"HTTP/1.0 404 Not Found\r\n\r\n", "Not Found"), (b"SSH-2.0-OpenSSH\r\n", "SSH-2.0"), (b"", "closed connection"),
     (None, "Connection refused")],
    ids=["404", "no-http", "closed", "refused"],
)  # fmt: skip
def test_why_an_address_gives_no_calendar_is_told(answer, word):
    """In the words of whoever refused, without those of the library."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x.ics"

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        if answer is None:
            server.close()
        else:
            threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(CalendarError, match=word) as told:
            read_calendar(address, UTC)

    assert "urlopen" not in str(told.value)
    assert "Errno" not in str(told.value)


@pytest.fixture
def free_address():
    """An address of the documentation's network, where nobody is. Source: RFC 5737."""
    return "http://192.0.2.1/calendar.ics"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [(" group work\n", "group work"), ("<b>x</b>", "<b>x</b>"), ("שלום", "שלום"), ("a\u202egnp.exe", "agnp.exe"),
     ("a\x00b\u2028c", "a b c"), ("x" * 80, "x" * 80)],
)  # fmt: skip
def test_a_mark_is_one_line_that_turns_nothing_around(typed, kept):
    """Text of any script is kept as it is; overrides of direction and control characters are not."""
    assert marked(typed) == kept


@pytest.mark.parametrize(("typed", "word"), [("x" * 10_000, "10,000 characters"), ("\u202e \n", "Write something")])
def test_a_mark_that_cannot_be_kept_is_refused_in_words(typed, word):
    """Too long, or nothing."""
    with pytest.raises(ValueError, match=word):
        marked(typed)


@pytest.fixture
def config(tmp_path):
    """Of a site in Berlin."""
    path = tmp_path / "store.sqlite"
    return AggregatorConfig("school", MqttConfig("localhost"), store=StoreConfig(path), time_zone="Europe/Berlin")


@pytest.fixture
def taught(store, message, counted):
    """Two lessons, a week apart, each of half an hour with a frame in ten seconds; the second changes half-way."""
    device = Device("school", "r1", "cam")
    for number, begin in enumerate((NOW - 7 * 86400, NOW)):
        frames = [
            counted(begin + at, 0, 0, 0, 4, 8 if number and at > 900 else 0, 0, 8 if number and at > 900 else 16)
            for at in range(0, 1800, 10)
        ]
        sent = [message(seq, *frames[at : at + 60], boot=f"0000000{number}") for seq, at in enumerate((0, 60, 120))]
        store.commit(read([RawMessage(device.topic("counts"), each.to_json(), NOW) for each in sent]))
    return store


NOVEMBER = month_of("2026-11", NOW, BERLIN)


def test_a_month_is_added_up_once_and_without_the_others(config, taught, message, counted):
    """Whichever is looked at first; each leads to the months beside it, and what is no month is told."""
    timetable, october = Timetable(config.lessons, config.zone), month_of("2026-10", NOW, BERLIN)
    device, began = Device("school", "r1", "cam"), NOW - 30 * 86400
    sent = message(0, *(counted(began + at, 4) for at in range(0, 600, 10)), boot="00000009")
    taught.commit(read([RawMessage(device.topic("counts"), sent.to_json(), began + 600)]))

    november, _ = lines(config, timetable, ROOM, NOVEMBER, NOW + 4000)
    older, notes = lines(config, timetable, ROOM, october, NOW + 4000)

    assert [line.start for line in older] == [began]
    assert len(taught.lessons(ROOM)) == 3
    assert lines(config, timetable, ROOM, NOVEMBER, NOW + 4000)[0] == [*older, *november]
    page = list_html(ROOM, october, (older, notes), "", config)
    assert re.findall(r"month=([\d-]+)", page) == ["2026-09", "2026-11"]
    assert "October 2026" in page
    empty = list_html(ROOM, month_of("2026-09", NOW, BERLIN), ([], []), "", config)
    assert "No lesson in this month." in empty
    for nonsense in ("2026-13", "x", "9999-12"):
        with pytest.raises(ReportError):
            month_of(nonsense, NOW, BERLIN)


def test_the_list_has_every_lesson_with_name_and_what_happened(config, taught):
    """Newest first; markup in a name is text; the lesson a week ago is offered for comparison."""
    taught.add_note(ROOM, note(NOW + 5, "name", "<b>Physics</b> 7b"))
    found = lines(config, Timetable(config.lessons, config.zone), ROOM, NOVEMBER, NOW + 4000)

    page = list_html(ROOM, NOVEMBER, found, "▲ The timetable cannot be read now: x", config)

    assert [line.start for line in found[0]] == [NOW - 7 * 86400, NOW]
    assert [len(line.events) for line in found[0]] == [0, 1]
    assert "<bdi>&lt;b&gt;Physics&lt;/b&gt; 7b</bdi>" in page
    assert "<b>Physics" not in page
    assert "compare with last" in page
    assert "more unpleasant" in page
    assert "The timetable cannot be read now" in page


def test_lessons_that_have_ended_are_kept_and_not_added_up_again(config, taught):
    """The list of a year is read in one statement; a frame that comes late is counted as long as it is of today."""
    timetable = Timetable(config.lessons, config.zone)
    first, _ = lines(config, timetable, ROOM, NOVEMBER, NOW + 4000)
    assert len(taught.lessons(ROOM)) == 2
    taught._db.execute("DELETE FROM windows WHERE start < ?", (NOW - 86400,))

    again, _ = lines(config, timetable, ROOM, NOVEMBER, NOW + 4000)

    assert again == first


def test_a_list_is_shown_though_it_cannot_be_kept(config, taught, caplog):
    """A store that only reads costs time, not the list."""
    taught._db.execute("DROP TABLE lessons")
    taught._db.execute("CREATE VIEW lessons AS SELECT 'school' AS site, 'r1' AS room, 0 AS start, 'x' AS line")

    assert len(lines(config, Timetable(config.lessons, config.zone), ROOM, NOVEMBER, NOW + 4000)[0]) == 2
    assert "is not kept" in caplog.text


def test_two_lessons_lie_over_one_another(config, taught):
    """A whole and a dashed line for each group, and both days."""
    chosen = [f"{begin}-{begin + 1800}" for begin in (NOW, NOW - 7 * 86400)]

    page = compare_html(config, ROOM, chosen)

    assert page.count('class="line first"') == page.count('class="line second"') == 3
    for wrong in (chosen[:1], [*chosen, chosen[0]], ["x-y", chosen[0]], [chosen[0], "5-605"]):
        with pytest.raises(ReportError):
            compare_html(config, ROOM, wrong)


def test_the_report_tells_marks_on_page_and_in_csv(config, taught):
    """A mark that a spreadsheet would run is text there."""
    taught.add_note(ROOM, note(NOW + 65, "mark", "=cmd()"))
    taught.add_note(ROOM, note(NOW + 125, "mark", "<script>x</script>"))
    lesson = read_report(config, ROOM, NOW, NOW + 1800)

    rows, page = to_csv(lesson).splitlines(), to_html(lesson, config.zone)

    assert rows[0].endswith(",marks")
    assert any(row.endswith(",'=cmd()") for row in rows)
    assert "<script>" not in page
    assert "&lt;script&gt;x&lt;/script&gt;</bdi> (anna)" in page
    assert "more unpleasant" in page.split("<h2>")[0]


def test_a_lesson_does_not_vanish_after_its_end(taught):
    """An hour later the page says when it ended, and shows it with its events."""
    reader = RoomReader(taught, Estimator({}), AttentionConfig(), timetable=Timetable(LessonsConfig(), UTC))

    view = reader.view(ROOM, NOW + 5400)

    assert view.headline(None).text.startswith("The lesson ended at ")
    assert view.span == Span(NOW, NOW + 1800)
    assert len(view.events) == 1
    assert "more unpleasant" in view.course


def test_a_button_and_a_name_are_on_the_page_at_the_next_look(taught):
    """The lesson begins anew; what was before stays in the list."""
    reader = RoomReader(taught, Estimator({}), AttentionConfig(), timetable=Timetable(LessonsConfig(), UTC))
    assert reader.view(ROOM, NOW + 1800).span.start == NOW
    for each in (note(NOW + 600, "begin"), note(NOW + 700, "name", "Physics 7b"), note(NOW + 800, "mark", "test")):
        taught.add_note(ROOM, each)

    reader.forget(ROOM)
    view = reader.view(ROOM, NOW + 1800)

    assert view.span == Span(NOW + 600, NOW + 1800, "Physics 7b")
    assert "<bdi>test</bdi> (anna)" in view.course
    taught.add_note(ROOM, note(NOW + 1700, "end"))
    reader.forget(ROOM)
    assert reader.view(ROOM, NOW + 1801).headline(None).text.startswith("The lesson ended at ")


def test_a_step_that_is_not_over_is_not_drawn(taught, store, message, counted):
    """Else the line would fall at its end, and rise again."""
    reader = RoomReader(taught, Estimator({}), AttentionConfig(), timetable=Timetable(LessonsConfig(), UTC))

    at = NOW + 1509  # steps of thirty seconds: NOW is 20 s into one
    drawn = reader.view(ROOM, at)._course[2]

    assert drawn[-1].start + 30 <= at


def test_the_zone_is_named():
    """Whatever the browser's is."""
    assert zone_text(BERLIN).startswith("Times are of Europe/Berlin (CE")
    assert zone_text(UTC) == "Times are UTC."
