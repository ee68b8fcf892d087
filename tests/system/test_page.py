"""The page in a real browser, with a real broker, daemon and store behind it."""

import contextlib
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import Batch
from contract.labels import EMOTIONS
from contract.message import FrameCounts, State, instant, utc
from contract.topics import Device
from tests.needs import need
from tests.system.broker import Mosquitto, free_port
from tests.system.instructor import CAMERA, PASSWORD, Classroom, Stage, frame

sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.system, pytest.mark.page, pytest.mark.broker]

PEOPLE = (
    ("anna", "teacher", "*"),
    ("ben", "teacher", "north/r202"),
    ("vera", "viewer", "*"),
    ("ada", "administrator", "*"),
)
SCREENSHOTS = Path(os.environ.get("CLASSPULSE_SCREENSHOTS", "var/screenshots"))


@pytest.fixture(scope="module")
def stage(tmp_path_factory, wait_until) -> Iterator[Stage]:
    """Broker, daemon and page with users: anna sees all rooms, ben another one, vera may only look, ada rules."""
    need("mosquitto")
    folder = tmp_path_factory.mktemp("page")
    broker = Mosquitto(folder / "mosquitto").start()
    made = Stage(folder, broker, free_port())
    for name, role, room in PEOPLE:
        made.command("user", "add", name, "--role", role, "--rooms", room, input=PASSWORD.encode())
    for word in ("run", "page"):
        made.start(word)
    made.broker = broker
    wait_until(made.answers, "the page", 60)
    yield made
    made.close()
    broker.stop()


@pytest.fixture(scope="module")
def classroom(stage) -> Iterator[Classroom]:
    """A device with twelve minutes behind it."""
    room = Classroom(stage.broker.port)
    room.say("ready")
    now = time.time()
    for at in range(-720, 0, 5):
        room.count(*(frame(now + at + tenth / 2) for tenth in range(10)))
    yield room
    room.close()


@pytest.fixture(scope="module")
def chromium():
    """A browser."""
    need("chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A new visitor's page; anything that its console calls an error fails the test."""
    context = chromium.new_context(viewport={"width": 1366, "height": 768})
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    errors = []
    opened.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert [line for line in errors if not re.search("40[134]|429", line)] == []


def log_in(page, stage, name="anna", password=PASSWORD):
    """Fill in the form."""
    page.goto(stage.address)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.keyboard.press("Enter")


def keep(page, name):
    """Leave a screenshot for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def enter(page, stage, path="/room/north/r101", name="anna"):
    """Log in and open a room."""
    log_in(page, stage, name)
    page.get_by_role("heading", name="classpulse").wait_for()
    page.goto(stage.address + path)


def test_an_instructor_logs_in_and_finds_the_room(stage, classroom, page):
    """The login leads to the overview, the overview to the room."""
    log_in(page, stage)

    live, deadline = page.get_by_text("● live").first, time.monotonic() + 60
    while not live.is_visible() and time.monotonic() < deadline:
        classroom.count(frame(time.time()))
        page.wait_for_timeout(500)
    live.wait_for()
    keep(page, "overview")
    page.get_by_text("north / r101").click()
    page.get_by_text("Bar: estimated share.").wait_for()
    page.locator(".mix th").first.wait_for()
    classroom.count(frame(time.time()))
    page.get_by_text("● live").wait_for()
    keep(page, "room")


def test_a_published_message_shows_without_a_reload(stage, classroom, page):
    """Faces that were never there before appear on the open page."""
    classroom.count(frame(time.time()))
    enter(page, stage)
    page.get_by_text("Bar: estimated share.").wait_for()
    figure = page.locator(".fact.big .figure")

    deadline = time.monotonic() + 20
    while figure.inner_text() in ("", "\N{EN DASH}", "26", "27") and time.monotonic() < deadline:
        classroom.count(*(frame(time.time() - tenth / 10, people=60) for tenth in range(10)))
        page.wait_for_timeout(500)

    assert int(figure.inner_text()) > 27


def test_pause_reaches_the_device_and_its_answer_the_page(stage, classroom, page, wait_until):
    """The button publishes `pause` on the device's `set` topic; its `paused` turns the button into resume."""
    enter(page, stage)
    before = len(classroom.orders)

    page.get_by_role("button", name="pause cam1").click()
    wait_until(lambda: "pause" in classroom.orders[before:], "the order")
    classroom.say("paused", "ordered by MQTT")

    page.get_by_role("button", name="resume cam1").wait_for()
    page.get_by_text("paused by anna").first.wait_for()
    assert "grayscale" in page.locator(".timeline-panel svg").first.evaluate("svg => getComputedStyle(svg).filter")
    keep(page, "paused")
    (last,) = stage.command("audit", capture_output=True, text=True).stdout.splitlines()[-1:]
    assert last.endswith("  anna  127.0.0.1  pause  north/r101/cam1  sent")
    classroom.say("ready")
    page.get_by_role("button", name="pause cam1").wait_for()


def test_a_viewer_sees_a_room_and_has_no_buttons(stage, classroom, page):
    """Nor does the page of users open."""
    enter(page, stage, name="vera")

    page.get_by_text("cam1").first.wait_for()
    assert page.get_by_role("button", name="cam1").count() == 0
    assert page.request.get(stage.address + "/users").status == 403


def test_an_administrator_adds_limits_and_removes_a_user(stage, classroom, chromium, page):
    """Who is limited sees the room no more, on the open page too; who is removed is logged out."""
    enter(page, stage, "/users", "ada")
    page.wait_for_function("document.title === 'users - classpulse'")
    form = page.locator(".form", has_text="A new user")
    form.get_by_label("name", exact=True).fill("carl")
    form.get_by_label("new password").fill("short")
    form.get_by_label("rooms:").fill("north/r101")
    form.get_by_role("button", name="add").click()
    page.get_by_text("a password has 10 to 1000 characters").wait_for()
    form.get_by_label("new password").fill(PASSWORD)
    form.get_by_role("button", name="add").click()
    carl = page.locator(".form").filter(has=page.get_by_role("heading", name="carl"))
    carl.wait_for()
    keep(page, "users")

    context = chromium.new_context()
    theirs = context.new_page()
    log_in(theirs, stage, "carl")
    theirs.get_by_text("north / r101").wait_for()
    carl.get_by_label("rooms:").fill("north/r202")
    page.get_by_role("button", name="save carl").click()
    theirs.get_by_text("No data received yet from a room that you may see.").wait_for()
    page.get_by_role("button", name="remove carl").click()
    page.get_by_role("dialog").get_by_role("button", name="remove").click()
    theirs.get_by_label("Password").wait_for()
    context.close()

    page.get_by_role("button", name="remove ada").click()
    page.get_by_role("dialog").get_by_role("button", name="remove").click()
    page.get_by_text("another administrator has to remove you").wait_for()
    assert "ada  127.0.0.1  user removed  carl" in stage.command("audit", capture_output=True, text=True).stdout


def test_people_change_their_own_password(stage, classroom, page):
    """With the old one; then they log in again."""
    stage.command("user", "add", "dora", "--rooms", "*", input=PASSWORD.encode())
    enter(page, stage, "/account", "dora")
    page.wait_for_function("document.title === 'your password - classpulse'")

    def change(old, new, again):
        for label, value in (("current", old), ("new password, at", new), ("new password again", again)):
            page.get_by_label(label).fill(value)
        page.get_by_role("button", name="change password").click()

    change(PASSWORD, "another password", "another passwort")
    page.get_by_text("The two new passwords differ.").wait_for()
    change("wrong password", "another password", "another password")
    page.get_by_text("The current password is wrong.").wait_for()
    keep(page, "account")
    change(PASSWORD, "another password", "another password")

    page.get_by_role("button", name="Log in").wait_for()
    log_in(page, stage, "dora", "another password")
    page.get_by_role("heading", name="classpulse").wait_for()


def test_the_devices_page_shows_faults_first(stage, classroom, chromium, page):
    """With what each camera last said; on a phone, in the dark, nothing reaches over the edge."""
    classroom.say("degraded", "the disk is full", device=Device("north", "r555", "cam9"))
    classroom.say("ready")
    classroom.report(rate_hz=4.9, temperature_c=61.2, outbox_messages=7, outbox_oldest_s=30.0)
    enter(page, stage, "/devices")

    page.locator("tr", has_text="r101").get_by_text("4.9/s").wait_for()
    page.wait_for_function("document.title === 'devices - classpulse'")
    keep(page, "devices")
    assert page.locator("tbody .status").first.get_attribute("class") == "status fault"
    row = page.locator("tr", has_text="r101").inner_text()
    assert all(text in row for text in ("61 °C", "7, oldest 30 seconds", "ready"))
    assert "▲ degraded: the disk is full" in page.locator("tr", has_text="cam9").inner_text()

    context = chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    phone = context.new_page()
    enter(phone, stage, "/devices")
    phone.locator("tr", has_text="r101").get_by_text("4.9/s").wait_for()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    keep(phone, "devices-phone-dark")
    context.close()


def test_an_address_that_nothing_is_at_has_our_page(stage, classroom, page):
    """And the status says so; a room that one may not see is forbidden."""
    log_in(page, stage, "ben")
    page.get_by_text("No data received yet").wait_for()

    assert page.goto(stage.address + "/nowhere").status == 404
    page.get_by_role("heading", name="No such page").wait_for()
    page.get_by_role("link", name="rooms").click()
    page.get_by_text("No data received yet").wait_for()
    assert page.goto(stage.address + "/room/north/Über").status == 404
    assert page.goto(stage.address + "/report/north/r202?start=soon").status == 404
    assert page.goto(stage.address + "/room/north/r101").status == 403


def mood(at, sad, people=25):
    """A class in which so many look sad, and the others neutral."""
    counts = dict.fromkeys(EMOTIONS, 0) | {"sad": sad, "neutral": people - sad}
    expected = {label: round(0.7 * counts[label] + 0.3 * people / 7, 2) for label in EMOTIONS}
    return FrameCounts(t=instant(utc(at)), faces=people, unsure=0, counts=counts, expected=expected)


NEWS_FIRST = """() => {
    const news = [...document.querySelectorAll('a.panel')].map(each => !!each.querySelector('.event'));
    const many = news.filter(each => each).length;
    return news.slice(0, many).every(each => each) && document.title === `(${many}) classpulse` }"""


def test_a_change_that_lasts_is_the_headline_until_it_is_seen(stage, classroom, page):
    """In the room, on the tab, and first among the rooms; "seen" puts it back."""
    changed(classroom, Device("north", "r909", "cam1"))
    enter(page, stage, "/room/north/r909")
    headline = page.locator(".head .headline")
    page.locator(".head .headline", has_text=re.compile(r"Since \d\d:\d\d more unpleasant expressions")).wait_for()
    page.wait_for_function("document.title === '(1) north / r909'")
    page.get_by_text("All seven expressions").click()
    page.locator("details th", has_text="sad").wait_for()
    keep(page, "event")
    page.goto(stage.address)
    page.locator("a.panel", has_text="r909").locator(".headline.event").wait_for()
    page.wait_for_function(NEWS_FIRST)
    keep(page, "overview-event")
    page.get_by_label("find a room").fill("r101")
    page.locator("a.panel", has_text="r909").wait_for(state="hidden")
    page.get_by_label("find a room").fill("")

    page.locator("a.panel", has_text="r909").click()
    page.get_by_role("button", name="seen").click()

    page.locator(".head .headline", has_text="Steady for").wait_for()
    page.wait_for_function("document.title === 'north / r909'")
    page.locator(".events-panel", has_text="more unpleasant expressions").wait_for()
    assert "event" not in headline.get_attribute("class")


def test_the_lesson_report_is_a_click_away(stage, classroom, page):
    """The link leads to the page that the command writes, of the lesson so far."""
    enter(page, stage)

    with page.expect_popup() as popup:
        page.get_by_role("link", name="lesson report").click()

    report = popup.value
    report.get_by_text("Minute by minute").wait_for()
    keep(report, "report")
    with page.expect_download() as download:
        page.get_by_role("link", name="as CSV").click()
    assert download.value.suggested_filename.startswith("north-r101-")
    assert Path(download.value.path()).read_text().startswith("minute,frames,withheld,faces")


def test_what_a_teacher_notes_is_on_the_lesson_and_stays(stage, classroom, page, chromium):
    """Marks of any script, a name, an end, then the list and the comparison; a browser elsewhere has the same times."""
    device, now = Device("north", "r808", "cam1"), time.time()
    classroom.say("ready", device=device)
    for begin in (now - 5400, now - 1200):
        for at in range(0, 1190, 10):
            classroom.count(*(mood(begin + at + tenth, 2) for tenth in range(0, 10, 2)), device=device)
    enter(page, stage, "/room/north/r808")
    text, told = page.get_by_label("such as group work"), page.locator(".told")

    for typed in ("<b>group</b> work", "שלום"):
        text.fill(typed)
        page.get_by_role("button", name="mark now").click()
        told.get_by_text(typed, exact=True).wait_for()
    classroom.count(mood(time.time(), 2), device=device)
    text.fill("Physics 7b")
    page.get_by_role("button", name="name lesson").click()
    page.get_by_role("heading", name="The lesson Physics 7b").wait_for()
    text.evaluate("box => box.removeAttribute('maxlength')")
    text.fill("x" * 10_000)
    page.get_by_role("button", name="mark now").click()
    page.get_by_text("this has 10,000 characters").wait_for()
    text.fill("")
    page.get_by_role("button", name="the last ten minutes").click()
    page.get_by_role("button", name="the whole lesson").click()
    keep(page, "room-marks")
    axis = page.locator(".times span").all_inner_texts()
    page.get_by_role("button", name="end lesson").click()
    page.locator(".head .headline", has_text="The lesson ended at").wait_for()

    page.get_by_role("link", name="all lessons of this room").click()
    page.get_by_text("Physics 7b").first.wait_for()
    keep(page, "lessons")
    for box in page.get_by_role("checkbox").all():
        box.check()
    page.get_by_role("button", name="compare the two").click()
    page.locator("path.line.second").first.wait_for(state="attached")
    keep(page, "compare")
    cookies = page.context.cookies()
    elsewhere = chromium.new_context(timezone_id="Asia/Tokyo")
    elsewhere.add_cookies(cookies)
    there = elsewhere.new_page()
    there.goto(stage.address + "/room/north/r808")
    there.locator(".times span").first.wait_for()
    assert set(axis) & set(there.locator(".times span").all_inner_texts())
    elsewhere.close()


def test_the_report_fits_a_phone_and_two_sheets(stage, classroom, page):
    """390 px and no wider, dark where the browser is; as PDF two pages of A4 at most, and paper is white."""
    enter(page, stage, f"/report/north/r101?start={int(time.time()) - 900}&end={int(time.time())}")
    page.get_by_text("Minute by minute").wait_for()
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 844})

    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 19, 20)"
    keep(page, "report-phone")
    pdf = page.pdf(path=SCREENSHOTS / "report.pdf", format="A4")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 2
    page.emulate_media(media="print", color_scheme="dark")
    paper = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.median(paper) == 255


def test_a_report_of_somebody_elses_room_is_refused(stage, classroom, page):
    """As its page is; and nonsense is no report."""
    log_in(page, stage, "ben")
    page.get_by_text("No data received yet").wait_for()

    def status(path):
        return page.request.get(stage.address + path).status

    assert status("/report/north/r101?start=0&end=3600") == 403
    assert status("/table/north/r101?start=0&end=3600") == 403
    assert status("/lessons/north/r101") == 403
    assert status("/compare/north/r101?lesson=0-60&lesson=60-120") == 403
    assert status("/compare/north/r202?lesson=x") == 404
    assert status("/report/north/r202?start=0&end=999999999") == 404
    assert status("/report/north/r202?start=3600&end=0") == 404
    assert status("/report/north/%3Cb%3E?start=0&end=3600") in (403, 404)


def test_a_room_of_somebody_else_is_refused(stage, classroom, page):
    """Ben's overview does not have anna's room, and its address shows nothing of it."""
    log_in(page, stage, "ben")
    page.get_by_text("No data received yet from a room that you may see.").wait_for()

    page.goto(stage.address + "/room/north/r101")

    page.get_by_text("You may not see this room.").wait_for()
    assert page.get_by_text("cam1").count() == 0
    assert page.locator("svg").count() == 0


def test_a_room_without_data_says_so(stage, classroom, page):
    """An address is no reason to show an empty chart."""
    enter(page, stage, "/room/north/nowhere")

    page.get_by_text("No data received yet from this room.").wait_for()


def test_markup_from_a_device_is_text(stage, classroom, page):
    """A reason is what a device says, and nothing that it says runs."""
    classroom.say("degraded", "<img src=x onerror=alert(1)>", device=Device("north", "r102", "cam1"))
    enter(page, stage, "/room/north/r102")

    page.get_by_text("degraded: <img src=x onerror=alert(1)>").wait_for()
    page.goto(stage.address)
    page.get_by_text("cam1: <img src=x onerror=alert(1)>").wait_for()

    assert page.locator("img").count() == 0


def test_a_device_of_another_schema_changes_nothing(stage, classroom, page):
    """Nothing of its room can be read by this aggregator; the others go on."""
    foreign = Device("north", "r303", "cam1")
    classroom.shout(foreign.topic("state"), '{"schema": 2, "state": "ready"}')
    classroom.shout(foreign.topic("counts"), '{"schema": 2, "boot": "00000001", "seq": 0}')
    classroom.count(frame(time.time()))

    enter(page, stage, "/room/north/r303")
    page.get_by_text("No data received yet from this room.").wait_for()
    page.goto(stage.address)
    page.get_by_text("north / r101").wait_for()

    assert page.get_by_text("r303").count() == 0


def test_a_wrong_password_is_refused_and_then_slowed_down(stage, page):
    """After five wrong passwords even the right one has to wait."""
    for _ in range(5):
        log_in(page, stage, "eve", "wrong password")
        page.get_by_text("Name or password is wrong.").wait_for()

    log_in(page, stage, "eve", "wrong password")

    page.get_by_text("Too many wrong passwords").wait_for()


@pytest.mark.parametrize(("theme", "width", "height"), [("light", 390, 844), ("dark", 390, 844), ("light", 844, 390)])
def test_the_page_fits_a_phone(stage, classroom, chromium, theme, width, height):
    """Nothing reaches over the right edge, upright or lying, in either theme."""
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    phone = context.new_page()

    enter(phone, stage)
    phone.locator(".mix th").first.wait_for()
    classroom.count(frame(time.time()))
    phone.get_by_text("Bar: estimated share.").wait_for()
    phone.wait_for_timeout(500)

    assert phone.evaluate("document.documentElement.scrollWidth") <= width
    assert phone.evaluate("document.body.classList.contains('body--dark')") == (theme == "dark")
    assert phone.get_by_role("button", name="end lesson").is_visible()
    keep(phone, f"phone-{theme}-{width}")
    context.close()


def changed(classroom, device):
    """Twenty minutes of a class that became sad seven minutes ago."""
    now = time.time()
    classroom.say("ready", device=device)
    for at in range(-1200, 0, 10):
        sad = 2 if at < -420 else 14
        classroom.count(*(mood(now + at + tenth, sad) for tenth in range(0, 10, 2)), device=device)


def test_the_keyboard_is_enough(stage, classroom, page):
    """A teacher's tasks from the login to the report, with a focus that can be seen and that stays where it is."""
    device = Device("north", "r707", "cam1")
    changed(classroom, device)
    page.goto(stage.address)
    page.wait_for_function("document.activeElement.id === 'name'")
    page.keyboard.type("anna")
    tab_to(page, "password")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_text("north / r707").wait_for()
    tab_to(page, "north / r707")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="seen").wait_for()

    tab_to(page, "seen")
    page.keyboard.press("Space")
    page.locator(".head .headline", has_text="Steady for").wait_for()
    tab_to(page, "All seven expressions")
    page.keyboard.press("Enter")
    page.locator("details th", has_text="sad").wait_for()
    tab_to(page, "pause")
    page.keyboard.press("Enter")
    page.get_by_text("pause sent to cam1").wait_for()
    classroom.say("paused", "ordered by MQTT", device=device)
    page.get_by_role("button", name="resume cam1").wait_for()
    assert focused(page).startswith("resume")
    page.keyboard.press("Space")
    page.get_by_text("resume sent to cam1").wait_for()
    classroom.say("ready", device=device)
    tab_to(page, "such as group work")
    page.keyboard.type("group work")
    tab_to(page, "mark now")
    page.keyboard.press("Enter")
    page.locator(".told").get_by_text("group work", exact=True).wait_for()
    tab_to(page, "dark / light")
    page.keyboard.press("Enter")
    page.locator("body.body--dark").wait_for()
    page.wait_for_timeout(500)
    keep(page, "room-dark")
    tab_to(page, "all lessons of this room")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Lessons of north / r707").wait_for()
    tab_to(page, time.strftime("%d %b"))
    page.keyboard.press("Space")
    assert page.get_by_role("checkbox").is_checked()
    tab_to(page, time.strftime("%d %b"))
    page.keyboard.press("Enter")
    page.get_by_text("Minute by minute").wait_for()


FOCUSED = """() => { const at = document.activeElement, named = at.getAttribute('aria-label') || at.id;
    return at === document.body ? '' : at.innerText || at.closest('label')?.innerText || named || '' }"""
OUTLINE = "() => parseFloat(getComputedStyle(document.activeElement).outlineWidth)"


def focused(page):
    """What the element with the focus is called."""
    return page.evaluate(FOCUSED)


def tab_to(page, text):
    """Press Tab until the focused element has this text; wherever it stops, the focus can be seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if text in focused(page):
            assert page.evaluate(OUTLINE) >= 2, text
            return
    pytest.fail(f"Tab never reached {text}")


def test_an_event_sounds_once_somebody_has_allowed_it(stage, classroom, page):
    """Off at first; the click sounds, for a browser lets no page begin by itself; then the next event does.

    A page that is loaded again is silent, though its event is news to it.
    """
    device = Device("north", "r606", "cam1")
    page.add_init_script(
        "window.tones = 0; const start = OscillatorNode.prototype.start;"
        "OscillatorNode.prototype.start = function (at) { window.tones += 1; return start.call(this, at) }"
    )
    classroom.say("ready", device=device)
    enter(page, stage, "/room/north/r606")
    page.get_by_role("button", name="sound: off").click()
    page.get_by_role("button", name="sound: on").wait_for()
    page.wait_for_function("window.tones === 2 && window.chime.state === 'running'")

    changed(classroom, device)

    page.locator(".headline.event").wait_for()
    page.wait_for_function("window.tones === 4")
    page.get_by_role("button", name="sound: on").click()
    page.get_by_role("button", name="sound: off").wait_for()
    assert page.evaluate("window.tones") == 4
    page.reload()
    page.locator(".headline.event").wait_for()
    page.wait_for_function("window.did_handshake")
    page.wait_for_timeout(1500)
    assert page.evaluate("window.tones") == 0


def test_logging_out_ends_the_open_page(stage, classroom, chromium):
    """A second page of the same session is led to the login within seconds."""
    context = chromium.new_context()
    first, second = context.new_page(), context.new_page()
    enter(first, stage)
    second.goto(stage.address)

    second.get_by_role("button", name="log out").click()

    second.get_by_label("Password").wait_for()
    first.get_by_label("Password").wait_for()
    context.close()


@pytest.fixture
def store_and_page(tmp_path, wait_until):
    """A page without a daemon, on a store with one room; the store's path and the page's address."""
    made = Stage(tmp_path, Mosquitto(tmp_path / "mosquitto"), free_port())
    path = tmp_path / "store.sqlite"
    state = State(state="ready", reason="", version="1", model=None, min_faces=5, boot="00000001")
    with SqliteStore(path) as store:
        store.commit(Batch(states={CAMERA: (state, time.time())}))
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = DELETE")  # so that a writer can lock out readers
    made.start("page")
    wait_until(made.answers, "the page", 60)
    yield path, made.address
    made.close()


def test_a_store_that_cannot_be_read_is_told_and_found_again(store_and_page, page):
    """What is shown is old then, and nobody should take it for the class as it is now."""
    path, address = store_and_page
    page.goto(address)
    page.get_by_text("north / r101").wait_for()
    error = page.get_by_text("The store cannot be read")
    assert not error.is_visible()

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        error.wait_for(timeout=60_000)
        db.execute("ROLLBACK")

    error.wait_for(state="hidden", timeout=60_000)


def test_a_note_that_cannot_be_kept_is_told_and_not_lost(store_and_page, page):
    """The store cannot be written: the text stays in its field, and is kept the next time."""
    path, address = store_and_page
    page.goto(f"{address}/room/north/r101")
    text = page.get_by_label("such as group work")
    text.fill("group work")

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        page.get_by_role("button", name="mark now").click()
        page.get_by_text("Not kept: the store cannot be written now").wait_for(timeout=30_000)
        db.execute("ROLLBACK")
    assert text.input_value() == "group work"
    page.get_by_role("button", name="mark now").click()
    page.get_by_text("marked", exact=True).wait_for()

    with SqliteStore(path) as store:
        assert [note.text for note in store.notes(CAMERA.where, 0, time.time())] == ["group work"]


ROUTES = (
    "/",
    "/room/north/r101",
    "/room/north/%3Cscript%3E",
    "/_nicegui/anything.js",
    "/_nicegui_ws/socket.io/?EIO=4&transport=polling",
    "/report/north/r101?start=0&end=60",
    "/table/north/r101?start=0&end=60",
    "/lessons/north/r101",
    "/compare/north/r101?lesson=0-60&lesson=60-120",
    "/docs",
    "/openapi.json",
    "/logout",
    "/nowhere",
)


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_refuses_an_anonymous_visitor(stage, route):
    """Nothing but the login is served without a session, and that with the headers."""
    status, body = stage.get(route)

    assert status in (401, 405)
    assert "north" not in body


def test_pages_lead_an_anonymous_browser_to_the_login(stage):
    """A browser gets the form, which says nothing of what is behind it."""
    status, body = stage.get("/room/north/r101", Accept="text/html")

    assert status == 200
    assert "Password" in body
    assert "cam1" not in body


@pytest.mark.parametrize(
    ("browser", "words"),
    [
        ("hi-IN", ("नाम", "पासवर्ड", "पट्टी: अनुमानित हिस्सा", "अभी चिह्न लगाएँ", "चिह्न लगा", "रोका गया", "मिनट दर मिनट")),
        (
            "de-DE",
            ("Name", "Passwort", "Balken: geschätzter", "jetzt markieren", "markiert", "angehalten", "Minute für"),
        ),
        ("es-ES", ("Nombre", "Contraseña", "Barra: proporción", "marcar ahora", "marcado", "en pausa", "Minuto a")),
    ],
)
def test_the_page_is_in_the_browsers_language(chromium, stage, classroom, browser, words):
    """At the login, in the page, from its timer and its handlers, and in the report; until another one is chosen."""
    name, password, hint, mark, marked, paused, by_minute = words
    context = chromium.new_context(locale=browser, viewport={"width": 390, "height": 844})
    page, code = context.new_page(), browser[:2]
    classroom.say("ready")
    classroom.count(*(frame(time.time() - 5 + tenth / 2) for tenth in range(10)))
    page.goto(stage.address)
    assert page.locator("html").get_attribute("lang") == code
    keep(page, f"login-{code}")
    page.get_by_label(name).fill("anna")
    page.get_by_label(password).fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="classpulse").wait_for()
    page.goto(f"{stage.address}/room/north/r101")
    page.get_by_text(hint).wait_for()
    assert page.locator("html").get_attribute("lang") == code
    page.wait_for_function("window.did_handshake")
    page.locator(".lesson-panel input").fill("Physik 7b")
    page.get_by_role("button", name=mark).click()
    page.locator(".q-notification", has_text=marked).wait_for()
    keep(page, f"room-{code}")
    classroom.say("paused", "ordered by MQTT")
    page.locator(".cameras-panel", has_text=paused).wait_for()
    classroom.say("ready")
    page.goto(page.locator(".links a").first.evaluate("link => link.href"))
    page.get_by_text(by_minute).wait_for()
    keep(page, f"report-{code}")
    page.goto(f"{stage.address}/room/north/r101")
    page.get_by_role("link", name="English").click()
    page.get_by_text("Bar: estimated share.").wait_for()
    assert page.url.endswith("/room/north/r101")
    context.close()
