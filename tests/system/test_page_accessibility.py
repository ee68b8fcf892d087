"""WCAG 2.2 AA, as far as axe-core can tell, on every page in light and dark; and what a screen reader hears.

Source of the rules: axe-core (Deque Systems), which the package axe-playwright-python carries.
"""

import re
import shutil
import time
from importlib.resources import files

import pytest

from tests.needs import need
from tests.system.broker import Mosquitto, free_port
from tests.system.instructor import PASSWORD, Classroom, Stage, frame

sync_api = pytest.importorskip("playwright.sync_api")
axe_playwright = pytest.importorskip("axe_playwright_python")

pytestmark = [pytest.mark.system, pytest.mark.page, pytest.mark.broker]

AXE = files(axe_playwright).joinpath("axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PAGES = {
    "login": ("/login", "Log in"),
    "rooms": ("/", "north / r101"),
    "room": ("/room/north/r101", "Bar: estimated share."),
    "devices": ("/devices", "cam1"),
    "password": ("/account", "change password"),
    "users": ("/users", "A new user"),
    "no such page": ("/nowhere", "No such page"),
    "report": ("/report/north/r101?start={begin}&end={end}", "Minute by minute"),
    "lessons": ("/lessons/north/r101", "compare the two that are ticked"),
    "comparison": ("/compare/north/r101?lesson={begin}-{middle}&lesson={middle}-{end}", "Two lessons over one another"),
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory, wait_until):
    """A class and an administrator."""
    need("mosquitto", "chromium")
    folder = tmp_path_factory.mktemp("accessible")
    broker = Mosquitto(folder / "mosquitto").start()
    made = Stage(folder, broker, free_port())
    made.command("user", "add", "ada", "--role", "administrator", "--rooms", "*", input=PASSWORD.encode())
    for word in ("run", "page"):
        made.start(word)
    wait_until(made.answers, "the page", 60)
    room = Classroom(broker.port)
    room.say("ready")
    room.report(rate_hz=5.0)
    for ago in range(600, 60, -20):
        room.count(*(frame(time.time() - ago + second) for second in range(0, 20, 2)))
    made.classroom = room
    yield made
    room.close()
    made.close()
    broker.stop()


@pytest.fixture(scope="module", params=["light", "dark"])
def page(request, stage):
    """Ada's page in one of the themes; a class is in front of the camera."""
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        context = chromium.new_context(color_scheme=request.param, reduced_motion="reduce", bypass_csp=True)
        opened = context.new_page()
        opened.set_default_timeout(30_000)
        opened.goto(f"{stage.address}/login")
        opened.get_by_label("Name").fill("ada")
        opened.get_by_label("Password").fill(PASSWORD)
        opened.keyboard.press("Enter")
        opened.get_by_role("heading", name="classpulse").wait_for()
        yield opened
        chromium.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_breaks_no_rule(stage, page, name):
    """None that axe-core knows of."""
    path, text = PAGES[name]
    now = time.time()
    stage.classroom.count(*(frame(now - second) for second in range(60, 0, -2)))
    begin = int(now) - 600
    page.goto(stage.address + path.format(begin=begin, middle=begin + 300, end=begin + 600))
    page.get_by_text(text).first.wait_for()
    page.wait_for_timeout(300)

    page.evaluate(AXE)
    found = page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)["violations"]

    assert [f"{each['id']}: {each['help']}: {node['html'][:200]}" for each in found for node in each["nodes"]] == []


def test_a_screen_reader_hears_words_only(stage, page):
    """No template's source and no milliseconds since 1970: what is in the tree is what is on the page."""
    page.goto(f"{stage.address}/room/north/r101")
    page.get_by_text("Bar: estimated share.").wait_for()

    heard = re.sub(r"/url: .*", "", page.locator("body").aria_snapshot())

    assert "north / r101" in heard
    assert [word for word in ("<", "{", "=>", str(int(time.time()))[:6]) if word in heard] == [], heard
