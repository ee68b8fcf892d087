"""What every page has: the style sheet, the top line with theme and logout, and the refresh."""

from collections.abc import Callable
from pathlib import Path

from nicegui import Client, ui
from starlette.requests import Request

from aggregator.store.types import StoreError
from aggregator.web.auth import LOCAL
from aggregator.web.language import N_, _, current
from aggregator.web.templates import render
from aggregator.web.text import StatusLine
from aggregator.web.users import User

REFRESH_S = 1.0
"""A page looks for new data this often."""
_STORE_ERROR = N_("▲ The store cannot be read now. What you see may be out of date.")
_THEMES = {"dark": True, "light": False}


class Unconnected:
    """Pages that were loaded and whose web sockets have not come: a script that loads pages must not fill the memory.

    The web framework itself keeps each of them for a minute.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._clients: dict[str, Client] = {}

    def add(self, client: Client) -> None:
        """One more; the oldest goes if there are too many. A browser that was only slow loads it again by itself."""
        for forget in (client.on_connect, client.on_delete):
            forget(lambda: self._clients.pop(client.id, None))
        self._clients[client.id] = client
        if len(self._clients) > self._most:
            self._clients[next(iter(self._clients))].delete()


_UNCONNECTED = Unconnected(300)


def user_of(request: Request) -> User | None:
    """Who looks; None once the session has ended."""
    user: User | None = request.state.who()
    return user


def root_of(request: Request) -> str:
    """The path that the page is served below, "" for all of the site."""
    root: str = request.scope.get("root_path", "")
    return root


def top_line(request: Request, title: str = "") -> ui.label:
    """The top line, of all rooms without a title; and below it a hidden label for `keep_fresh`."""
    _UNCONNECTED.add(ui.context.client)
    show_title(f"{title} - classpulse" if title else "classpulse")
    ui.add_head_html(f"<script>document.documentElement.lang = '{current.get()}'</script>")
    for sheet in ("page.css", "chart.css"):
        ui.add_css(Path(__file__).with_name(sheet))
    dark = ui.dark_mode(_THEMES.get(request.cookies.get("theme", "")))

    def switch() -> None:
        """Dark, then light; the browser keeps the choice for this site."""
        dark.value = not dark.value
        theme = "dark" if dark.value else "light"
        ui.run_javascript(f'document.cookie = "theme={theme}; path=/; max-age=31536000; samesite=strict"')

    user = user_of(request)
    with ui.element("header").classes("top"):
        if title:
            ui.link(_("← rooms"), "/")
        heading(title or "classpulse", classes="title", level=1)
        ui.element("div").classes("grow")
        ui.link(_("devices"), "/devices")
        if user is not None and user is not LOCAL:
            if user.role == "administrator":
                ui.link(_("users"), "/users")
            ui.link(user.name, "/account").props(f'title="{_("your password")}"')
        ui.html(render("languages.html", root=root_of(request)), sanitize=False)
        button(_("dark / light"), switch, flat=True)
        if user is not LOCAL:
            with ui.element("form").props(f'method=post action="{root_of(request)}/logout"'):
                button(_("log out"), flat=True).props("type=submit")
    store_error = ui.label(_(_STORE_ERROR)).classes("status top fault").props("role=alert")
    store_error.set_visibility(False)
    return store_error


def heading(text: str = "", *, classes: str = "caption", level: int = 2) -> ui.label:
    """A heading, which a screen reader finds."""
    return ui.label(text).props(f"role=heading aria-level={level}").classes(classes)


def panel(text: str = "", *, classes: str = "") -> ui.element:
    """A card of the page; open it with `with`. It begins with a heading, if there is a text."""
    with ui.element("section").classes(f"panel {classes}") as section:
        if text:
            heading(text)
    return section


def button(text: str = "", on_click: Callable[[], object] | None = None, *, flat: bool = False) -> ui.button:
    """A button; a flat one is for what is seldom wanted."""
    return ui.button(text, on_click=on_click).props(f"no-caps {'flat' if flat else 'outline'}").classes("act")


def show_title(title: str) -> None:
    """Set the title of the browser's tab, if it is another one by now."""
    if ui.context.client.title != title:
        ui.page_title(title)


def show_status(label: ui.label, status: StatusLine, more_classes: str = "") -> None:
    """Set text and colour; the web framework sends what changed."""
    label.set_text(str(status))
    label.classes(replace=f"status {more_classes} {status.kind}")


def keep_fresh(request: Request, store_error: ui.label, update: Callable[[User], None]) -> None:
    """Call `update` now and every REFRESH_S seconds while the session lasts; then go to the login.

    As long as the store cannot be read, `store_error` is visible.
    """

    def tick() -> None:
        user = user_of(request)
        if user is None:
            timer.deactivate()
            ui.navigate.to("/login")
            return
        try:
            update(user)
            store_error.set_visibility(False)
        except StoreError:
            store_error.set_visibility(True)

    timer = ui.timer(REFRESH_S, tick, immediate=False)
    tick()
