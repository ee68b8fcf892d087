"""The first page: every room that the user may see; first those with news, then those with a fault."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from nicegui import ui
from starlette.requests import Request

from aggregator.web.headline import Headline
from aggregator.web.language import _
from aggregator.web.reader import RoomReader, RoomView
from aggregator.web.style import keep_fresh, show_headline, show_status, top_line
from aggregator.web.users import User
from contract.topics import Room

MOST = 60
"""Rooms that are shown at once; those with news and faults come first, and the others are found by name."""


@dataclass(frozen=True, slots=True)
class _Panel:
    """One room, as a link to its page."""

    link: ui.link
    show: Callable[[RoomView, Headline], None]


def overview(reader: RoomReader, request: Request) -> None:
    """Build the page."""
    store_error = top_line(request, "classpulse", back=False)
    panels: dict[Room, _Panel] = {}
    shown: list[Room] = []
    most = MOST
    with ui.element("div").classes("top"):
        wanted = ui.input(_("find a room")).props("clearable dense outlined")
    with ui.element("main").classes("rooms"):
        no_rooms = ui.label(_("No data received yet from a room that you may see.")).classes("panel")
        place = ui.element("div").classes("contents")
    more = ui.button().props("flat no-caps").classes("act")

    def update(user: User) -> None:
        now = time.time()
        rooms, text = reader.listing(user, now), (wanted.value or "").strip().lower()
        found = [room for room in rooms if text in f"{room.site} / {room.room}".lower()] if text else rooms
        order = found[:most]
        no_rooms.set_visibility(not rooms)
        more.set_visibility(len(found) > most)
        more.set_text(_("{shown} of {all} rooms: show more").format(shown=most, all=len(found)))
        for room in panels.keys() - set(order):
            panels.pop(room).link.delete()
        with place:
            panels.update((room, _panel(room)) for room in order if room not in panels)
        for room in order:
            view = reader.view(room, now, whole=False)
            panels[room].show(view, reader.headline(view, user))
        if order != shown:
            shown[:] = order
            for position, room in enumerate(order):
                panels[room].link.move(place, position)
        news = sum(reader.has_news(room, user, now) for room in rooms)
        ui.page_title(f"({news}) classpulse" if news else "classpulse")

    def show_more() -> None:
        nonlocal most
        most += MOST

    more.on_click(show_more)
    keep_fresh(request, store_error, update)


def _panel(room: Room) -> _Panel:
    with ui.link(target=f"/room/{room.site}/{room.room}").classes("panel") as link:
        ui.label(f"{room.site} / {room.room}").classes("name")
        status, sentence, detail = ui.label(), ui.label(), ui.label().classes("caption")

    def show(view: RoomView, head: Headline) -> None:
        recent = view.summary.recent
        show_status(status, view.status)
        show_headline(sentence, head)
        detail.set_text(_("{number} faces").format(number=round(recent.faces)) if recent else "")

    return _Panel(link, show)
