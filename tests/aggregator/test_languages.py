"""Every text of the page in every language."""

import ast
import re
from collections.abc import Iterator
from datetime import date
from itertools import chain
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from jinja2 import nodes

from aggregator.analysis.summary import DeviceState
from aggregator.web import language
from aggregator.web.language import CATALOGUES, LANGUAGES, PerLanguage, choose, current, day_text, span_text
from aggregator.web.templates import ENVIRONMENT
from aggregator.web.text import REASONS, device_status, faults, marked

OTHERS = sorted(LANGUAGES.keys() - {"en"})
WEB = Path(language.__file__).parent
TEMPLATES = sorted((WEB / "templates").glob("*.html"))
LOOKED_UP = {"_": 0, "N_": 0, "ngettext": 0, "day_text": 1}
"""Function -> position of its text."""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call, by the last part of its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", getattr(node.func, "id", "")), node


def template_calls(file: Path) -> Iterator[tuple[str, nodes.Call]]:
    """The same of a template."""
    for node in ENVIRONMENT.parse(file.read_text()).find_all(nodes.Call):
        yield getattr(node.node, "name", ""), node


def texts() -> set[str | tuple[str, str]]:
    """What code and templates look up. From their syntax trees: babel's own extractor misses what is in f-strings."""
    found: set[str | tuple[str, str]] = set()
    for each in (calls(ast.parse(file.read_text())) for file in WEB.glob("*.py")), map(template_calls, TEMPLATES):
        for name, call in chain.from_iterable(each):
            if name in LOOKED_UP:
                constants = (ast.Constant, nodes.Const)
                words = [word.value for word in call.args[LOOKED_UP[name] :] if isinstance(word, constants)]
                if words:
                    found.add(tuple(words[:2]) if name == "ngettext" else words[0])
    return found


@pytest.fixture
def speak():
    """`speak(code)`: the texts of this test are in that language."""
    before = current.set("en")
    yield current.set
    current.reset(before)


@pytest.mark.parametrize("code", OTHERS)
def test_catalogues_are_complete_and_current(code):
    """A text that the code has and the catalogue has not, or the other way round, or that is marked as fuzzy."""
    with (CATALOGUES / code / "LC_MESSAGES" / "messages.po").open("rb") as file:
        catalogue = {message.id: message for message in read_po(file, locale=code) if message.id}
    assert catalogue.keys() == texts()
    for text, message in catalogue.items():
        sources = text if isinstance(text, tuple) else (text,)
        for said in message.string if isinstance(text, tuple) else (message.string,):
            assert said, f"no translation: {text}"
            assert set(re.findall(r"{\w+}", said)) == set(re.findall(r"{\w+}", sources[-1])), text
        assert not message.fuzzy, text


def test_what_devices_say_by_themselves_is_in_the_words_of_edge():
    """A reason that edge words anew would be English in every language."""
    trees = [ast.parse(file.read_text()) for file in (WEB.parents[1] / "edge").rglob("*.py")]
    said = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}

    assert [reason for reason in REASONS if reason.removeprefix("ordered by ") not in said] == []


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        *(("stopped", reason, "angehalten|beendet|gestoppt") for reason in REASONS),
        ("degraded", "outbox: disk full", "Ausgang: disk full"),
        ("degraded", "the lens is dirty", ": the lens is dirty"),
        ("paused", "ordered by teacher", "von teacher"),
    ],
)
def test_what_is_wrong_with_a_device_is_told_in_the_language(speak, state, reason, words):
    """What the device says by itself is translated, what others wrote stays as it is, in a translated frame."""
    speak("de")

    told = device_status(DeviceState(state, reason)).text

    assert re.search(words, told)
    assert state not in told
    assert reason not in REASONS or reason not in told
    if state == "degraded":
        assert faults({"cam": DeviceState(state, reason)}, {}) == [f"cam: {told.partition(': ')[2]}"]


OPERATORS = {
    "_misled",
    "_foreign",
    "_local",
    "answer",
    "_logout",
    "warnings",
    "open_users",
    "check_certificate",
    "build",
}
"""Functions whose texts are for who sets the page up."""
ELSEWHERE = {*LOOKED_UP, "props", "classes", "style", "run_javascript", "add_head_html", "page", "add_argument"}
ELSEWHERE |= {"ConfigError", "CalendarError", "ValueError", "compile", "record", "change", "startswith", "removeprefix"}
ELSEWHERE |= {"info", "warning", "error", "exception"}
"""Functions whose texts nobody reads on a page."""
SHOWN = {"label", "button", "link", "input", "notify", "set_text", "notice", "StatusLine", "Headline", "top_line"}
SHOWN |= {"heading", "panel", "_password"}
NAMES = {"classpulse", "live", "silent", "paused", "fault", "/devices", "/users", "/account"}
CODES = {"not sent", "not confirmed", "ordered by MQTT", "ordered by {}", "ordered by "}
"""What the code itself compares."""
PHRASE = re.compile(r"[A-Za-z]{2,} [a-z]{2,}|[a-z]{3}[.:?](?: |$)|>\s*[a-z]{3,}\s*<")


def outside(node: ast.AST) -> Iterator[str]:
    """Texts for people that are in no catalogue: two words in a row, or anything that is shown directly."""
    if getattr(node, "name", "") in OPERATORS or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return
    if isinstance(node, ast.Call):
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called in ELSEWHERE:
            yield from outside(node.func)  # such as the button of `ui.button("…").props("…")`
            return
        if called in SHOWN:
            words = [str(each.value) for each in node.args if isinstance(each, ast.Constant) and each.value]
            yield from (word for word in words if re.search("[a-z]{3}", word) and word not in NAMES)
    if isinstance(node, ast.JoinedStr | ast.Constant):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
        if PHRASE.search(re.sub(r"<[^<>]*(?=>)|<[^>]*$|^[^<]*(?=>)", "<", text)) and text not in CODES:
            yield text
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)):
            yield from outside(child)


@pytest.mark.parametrize("file", sorted(WEB.glob("*.py")), ids=lambda file: file.name)
def test_no_text_stands_outside_the_catalogues(file):
    """What the page shows goes through `_`, `ngettext` or `day_text`."""
    if file.name not in {"audit.py", "commands.py"}:  # journal and MQTT
        assert list(outside(ast.parse(file.read_text()))) == []


@pytest.mark.parametrize(
    "source",
    [
        "ui.label('hello')",
        "ui.label('hello').classes('top')",
        "x = f'<p>Not <b>here</b> yet'",
        "x = '<td>hello</td>'",
        "ui.button(f'go to {x} now')",
    ],
)
def test_a_text_outside_is_found(source):
    """So that the test above can fail."""
    assert list(outside(ast.parse(source)))


def outside_of_template(source: str) -> list[str]:
    """Words of a template that are in no catalogue: between its tags, or in an attribute that is read out."""
    data = "{}".join(each.data for each in ENVIRONMENT.parse(source).find_all(nodes.TemplateData))
    read_out = re.findall(r'(?:aria-label|title|alt|placeholder)="([^"]*)"', data)
    between = re.split(r"<[^>]*>", re.sub(r"<style>.*</style>", "", data, flags=re.DOTALL))
    words = {word for text in read_out + between for word in re.findall("[a-z]{3,}", text)}
    return sorted(words - {"classpulse", "amp"})


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_no_text_of_a_template_stands_outside_the_catalogues(file):
    """The same of what is put around the page's figures."""
    assert outside_of_template(file.read_text()) == []


@pytest.mark.parametrize("source", ["<p>{{ x }}hello</p>", '<a href="{{ x }}" title="hello">{{ x }}</a>'])
def test_a_text_outside_in_a_template_is_found(source):
    """So that the test above can fail."""
    assert outside_of_template(source) == ["hello"]


@pytest.mark.parametrize(
    ("cookie", "accept", "code"),
    [
        ("", "", "en"),
        ("", "de-AT,de;q=0.9,en;q=0.8", "de"),
        ("", "fr, en;q=0.3, hi;q=0.7", "hi"),
        ("", "de;q=0, es-MX;q=0.1", "es"),
        ("", "fr", "en"),
        ("es", "de", "es"),
        ("../xx", "de", "de"),
        ("", "de;q=1.1.1;;,," * 1000, "de"),
    ],
)
def test_the_switch_goes_before_the_browser(cookie, accept, code):
    """And what is no language of ours is nobody's."""
    assert choose(cookie, accept) == code


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("en", ("14 minutes", "1,234 characters", "Friday, 27 November 2026", "1 faces.")),
        ("de", ("14 Minuten", "1.234 Zeichen", "Freitag, 27. November 2026", "1 Gesicht.")),
        ("es", ("14 minutos", "1.234 caracteres", "viernes, 27 de noviembre de 2026", "1 cara.")),
        ("hi", ("14 मिनट", "1,234 अक्षर", "शुक्रवार, 27 नवंबर 2026", "1 चेहरा।")),
    ],
)
def test_numbers_dates_and_plurals_are_the_languages(speak, code, words):
    """As Unicode's CLDR has them, through babel."""
    speak(code)
    with pytest.raises(ValueError, match=words[1]):
        marked("x" * 1234)
    one = language.ngettext("{number} faces.", "{number} faces.", 1).format(number=1)
    assert (span_text(14 * 60), day_text(date(2026, 11, 27), "EEEE, dd MMMM y"), one) == (words[0], words[2], words[3])


def test_what_is_drawn_is_drawn_once_for_each_language(speak):
    """Pages of one language share it."""

    class Drawn:
        times = 0

        @PerLanguage
        def text(self):
            self.times += 1
            return span_text(120)

    drawn = Drawn()
    assert [(speak(code), drawn.text)[1] for code in ("de", "hi", "de", "hi", "de")][:2] == ["2 Minuten", "2 मिनट"]
    assert drawn.times == 2
