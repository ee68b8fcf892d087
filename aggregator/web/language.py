"""The languages of the page: which one somebody reads, and its catalogue of texts. Texts in the code are English.

The language of a request stands in a context variable: timers and event handlers of a page inherit it, and everything
else (logs, commands, messages) stays English.
"""

import io
import re
from collections.abc import Callable
from contextvars import ContextVar
from datetime import date, timedelta
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Any, Generic, TypeVar

from babel.dates import format_date, format_timedelta
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

LANGUAGES = {"en": "English", "de": "Deutsch", "es": "Español", "hi": "हिन्दी"}
"""Code -> its own name. All are written from left to right."""
COOKIE = "language"
CATALOGUES = Path(__file__).with_name("locales")
_TAG = re.compile(r"([a-z]{2,3})[-\w]*\s*(?:;\s*q=([01](?:\.\d+)?))?")
_MOST_HEADER = 500
T = TypeVar("T")

current: ContextVar[str] = ContextVar("language", default="en")


def choose(cookie: str, accept: str) -> str:
    """The language of a request: what was chosen by the switch, or else what the header Accept-Language prefers."""
    if cookie in LANGUAGES:
        return cookie
    wanted = [(float(quality or 1), code) for code, quality in _TAG.findall(accept[:_MOST_HEADER].lower())]
    by_quality = sorted(wanted, key=lambda each: -each[0])
    return next((code for quality, code in by_quality if quality and code in LANGUAGES), "en")


@cache
def _catalogue(code: str) -> NullTranslations:
    if code == "en":
        return NullTranslations()
    compiled = io.BytesIO()
    with (CATALOGUES / code / "LC_MESSAGES" / "messages.po").open("rb") as file:
        write_mo(compiled, read_po(file, locale=code))
    compiled.seek(0)
    return GNUTranslations(compiled)


def _(text: str) -> str:
    """The text in the language of the request."""
    return text and _catalogue(current.get()).gettext(text)  # that of "" is the catalogue's head


def ngettext(one: str, many: str, number: int) -> str:
    """The same of a text for one and one for many."""
    return _catalogue(current.get()).ngettext(one, many, number)


def N_(text: str) -> str:  # noqa: N802 - gettext's name for it
    """Mark a text for the catalogues that is looked up later."""
    return text


def day_text(day: date, pattern: str) -> str:
    """A date by a pattern of Unicode's LDML, which is in the catalogues, too."""
    return format_date(day, _(pattern), locale=current.get())


def number_text(value: float, pattern: str = "#,##0") -> str:
    """A number by a pattern of Unicode's LDML."""
    return format_decimal(value, pattern, locale=current.get())


def span_text(seconds: float) -> str:
    """A length of time in the largest unit of which there are at least two, such as `14 minutes`."""
    return format_timedelta(timedelta(seconds=seconds), threshold=2, locale=current.get())


class PerLanguage(Generic[T]):
    """Decorates what is made once for each language that somebody reads, like a cached property."""

    def __init__(self, draw: Callable[[Any], T]) -> None:
        self._draw = draw

    def __get__(self, drawn: Any, _owner: object = None) -> T:
        made: dict[str, T] = drawn.__dict__.setdefault(f"_{self._draw.__name__}_in", {})
        code = current.get()
        if code not in made:
            made[code] = self._draw(drawn)
        return made[code]
