"""A page that says one thing and leads back: no such page, not for you, try later."""

from html import escape
from pathlib import Path
from string import Template

from starlette.responses import HTMLResponse

from aggregator.web.language import _, current, switch_html

_PAGE = Template(Path(__file__).with_name("notice.html").read_text())


def notice(root: str, title: str, text: str, status: int) -> HTMLResponse:
    """The answer; `root` is the path that the page is served below, "" for all of the site."""
    return HTMLResponse(
        _PAGE.substitute(
            root=escape(root),
            title=escape(title),
            text=escape(text),
            back=_("← rooms"),
            lang=current.get(),
            switch=switch_html(root),
        ),
        status,
    )
