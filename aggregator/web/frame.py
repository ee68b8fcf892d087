"""What every page has: the top line, the theme, the style, and the end of the session."""

from collections.abc import Callable

from nicegui import ui
from starlette.requests import Request

from aggregator.store.types import StoreError
from aggregator.web.auth import LOCAL
from aggregator.web.style import CSS
from aggregator.web.users import User

REFRESH_S = 1.0
"""A page looks for news this often."""
NO_STORE = "▲ The store cannot be read: what is shown is old, if anything is."
_THEMES = {"dark": True, "light": False}


def user_of(request: Request) -> User | None:
    """Who looks; None once the session has ended."""
    user: User | None = request.state.who()
    return user


def frame(request: Request, title: str, *, back: bool) -> ui.label:
    """The top line: title, theme, log out; and below it a hidden one for `keep_fresh`."""
    ui.add_css(CSS)
    dark = ui.dark_mode(_THEMES.get(request.cookies.get("theme", "")))
    with ui.element("header").classes("top"):
        if back:
            ui.link("← rooms", "/")
        ui.label(title).props("role=heading aria-level=1").style("font-size: 1.9rem; font-weight: 700")
        ui.element("div").classes("grow")
        ui.button("dark / light", on_click=lambda: _switch(dark)).props("flat no-caps").classes("act")
        if user_of(request) is not LOCAL:
            with ui.element("form").props('method=post action="/logout"'):
                ui.button("log out").props("flat no-caps type=submit").classes("act")
    trouble = ui.label(NO_STORE).classes("standing top trouble").props("role=alert")
    trouble.set_visibility(False)
    return trouble


def keep_fresh(request: Request, trouble: ui.label, update: Callable[[User], None]) -> None:
    """Call `update` now and every REFRESH_S seconds while the session lasts; then lead to the login.

    As long as the store cannot be read, `trouble` says so.
    """

    def tick() -> None:
        user = user_of(request)
        if user is None:
            timer.deactivate()
            ui.navigate.to("/login")
        else:
            show(user)

    def show(user: User) -> None:
        try:
            update(user)
            trouble.set_visibility(False)
        except StoreError:
            trouble.set_visibility(True)

    user = user_of(request)
    if user is not None:
        show(user)
    timer = ui.timer(REFRESH_S, tick, immediate=False)


def _switch(dark: ui.dark_mode) -> None:
    """Dark, then light; the browser keeps the choice for this site."""
    dark.value = not dark.value
    theme = "dark" if dark.value else "light"
    ui.run_javascript(f'document.cookie = "theme={theme}; path=/; max-age=31536000; samesite=strict"')
