"""Pages without scripts that say one thing: the login; no such page, not for you, try later."""

from html import escape
from pathlib import Path
from string import Template

from starlette.responses import HTMLResponse

from aggregator.web.language import _, current, switch_html

_PAGE = Template(Path(__file__).with_name("plain.html").read_text())


def plain(root: str, title: str, body: str, status: int = 200) -> HTMLResponse:
    """A page with this HTML; `root` is the path that all are served below, "" for the whole site."""
    fields = {"title": escape(title), "body": body, "lang": current.get(), "switch": switch_html(root)}
    return HTMLResponse(_PAGE.substitute(fields), status)


def notice(root: str, title: str, text: str, status: int) -> HTMLResponse:
    """A page that says why there is nothing else to see, and leads back."""
    back = f'<a href="{escape(root)}/">{_("← rooms")}</a>'
    return plain(root, title, f"<h1>{escape(title)}</h1><p>{escape(text)}</p>{back}", status)
