"""The first page: every room that the user may see; first those with news, then those with a fault."""

import time

from nicegui import ui
from starlette.requests import Request

from aggregator.web.language import _
from aggregator.web.reader import RoomReader
from aggregator.web.style import button, keep_fresh, show_title, top_line
from aggregator.web.templates import render
from aggregator.web.users import User
from contract.topics import Room

MOST = 60
"""Rooms that are shown at once; those with news and faults come first, and the others are found by name."""


def overview(reader: RoomReader, request: Request) -> None:
    """Build the page."""
    store_error = top_line(request)
    links, inside, shown = dict[Room, ui.link](), dict[Room, ui.html](), list[Room]()
    most = MOST
    with ui.element("div").classes("top"):
        wanted = ui.input(_("find a room")).props("clearable dense outlined")
    with ui.element("main").classes("rooms"):
        no_rooms = ui.label(_("No data received yet from a room that you may see.")).classes("panel")
        place = ui.element("div").classes("contents")
    more = button(flat=True)

    def update(user: User) -> None:
        now = time.time()
        rooms, text = reader.listing(user, now), (wanted.value or "").strip().lower()
        found = [room for room in rooms if text in f"{room.site} / {room.room}".lower()] if text else rooms
        order = found[:most]
        no_rooms.set_visibility(not rooms)
        more.set_visibility(len(found) > most)
        more.set_text(_("{shown} of {all} rooms: show more").format(shown=most, all=len(found)))
        for room in links.keys() - set(order):
            links.pop(room).delete()
        for room in order:
            if room not in links:
                with place, ui.link(target=f"/room/{room.site}/{room.room}").classes("panel") as links[room]:
                    inside[room] = ui.html(sanitize=False).classes("contents")
            view = reader.view(room, now, whole=False)
            head, recent = reader.headline(view, user), view.summary.recent
            inside[room].set_content(render("card.html", room=room, status=view.status, head=head, recent=recent))
        if order != shown:
            shown[:] = order
            for position, room in enumerate(order):
                links[room].move(place, position)
        news = sum(reader.has_news(room, user, now) for room in rooms)
        show_title(f"({news}) classpulse" if news else "classpulse")

    def show_more() -> None:
        nonlocal most
        most += MOST

    more.on_click(show_more)
    keep_fresh(request, store_error, update)
