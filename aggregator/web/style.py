"""What every page has: the style sheet, the top line with theme and logout, and the refresh."""

from collections.abc import Callable
from pathlib import Path

from nicegui import Client, ui
from starlette.requests import Request

from aggregator.store.types import StoreError
from aggregator.web.auth import LOCAL
from aggregator.web.headline import Headline
from aggregator.web.language import N_, _, current, switch_html
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


def top_line(request: Request, title: str, *, back: bool) -> ui.label:
    """The top line: title, theme, log out; and below it a hidden label for `keep_fresh`."""
    _UNCONNECTED.add(ui.context.client)
    ui.add_head_html(f"<script>document.documentElement.lang = '{current.get()}'</script>")
    for sheet in ("page.css", "chart.css"):
        ui.add_css(Path(__file__).with_name(sheet))
    dark = ui.dark_mode(_THEMES.get(request.cookies.get("theme", "")))

    def switch() -> None:
        """Dark, then light; the browser keeps the choice for this site."""
        dark.value = not dark.value
        theme = "dark" if dark.value else "light"
        ui.run_javascript(f'document.cookie = "theme={theme}; path=/; max-age=31536000; samesite=strict"')

    with ui.element("header").classes("top"):
        if back:
            ui.link(_("← rooms"), "/")
        ui.label(title).props("role=heading aria-level=1").style("font-size: 1.9rem; font-weight: 700")
        ui.element("div").classes("grow")
        user = user_of(request)
        ui.link(_("devices"), "/devices")
        if user is not None and user is not LOCAL:
            if user.role == "administrator":
                ui.link(_("users"), "/users")
            ui.link(user.name, "/account").props(f'title="{_("your password")}"')
        ui.html(switch_html(root_of(request)), sanitize=False)
        ui.button(_("dark / light"), on_click=switch).props("flat no-caps").classes("act")
        if user is not LOCAL:
            with ui.element("form").props(f'method=post action="{root_of(request)}/logout"'):
                ui.button(_("log out")).props("flat no-caps type=submit").classes("act")
    store_error = ui.label(_(_STORE_ERROR)).classes("status top fault").props("role=alert")
    store_error.set_visibility(False)
    return store_error


def show_status(label: ui.label, status: StatusLine, more_classes: str = "") -> None:
    """Set text and colour; the web framework sends what changed."""
    label.set_text(str(status))
    label.classes(replace=f"status {more_classes} {status.kind}")


def show_headline(label: ui.label, head: Headline) -> None:
    """Set the sentence; marked if it is about an event."""
    label.set_text(head.text)
    label.classes(replace="headline event" if head.event else "headline")


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
