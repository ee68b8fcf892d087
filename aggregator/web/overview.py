"""The first page: every room that the user may see, and how it is doing."""

import time
from collections.abc import Callable

from nicegui import ui
from starlette.requests import Request

from aggregator.web.reader import RoomReader, RoomView
from aggregator.web.style import keep_fresh, show_status, top_line
from aggregator.web.text import largest_shares, room_status
from aggregator.web.users import User
from contract.topics import Room


def overview(reader: RoomReader, request: Request) -> None:
    """Build the page."""
    store_error = top_line(request, "classpulse", back=False)
    panels: dict[Room, Callable[[RoomView], None]] = {}
    with ui.element("main").classes("rooms"):
        no_rooms = ui.label("No data received yet from a room that you may see.").classes("panel")
        place = ui.element("div").classes("contents")

    def update(user: User) -> None:
        now = time.time()
        rooms = [room for room in reader.rooms(now) if user.may_see(room)]
        if rooms != list(panels):
            no_rooms.set_visibility(not rooms)
            place.clear()
            panels.clear()
            with place:
                panels.update((room, _panel(room)) for room in rooms)
        for room, show in panels.items():
            show(reader.view(room, now))

    keep_fresh(request, store_error, update)


def _panel(room: Room) -> Callable[[RoomView], None]:
    """One room, as a link to its page; what shows a view in it."""
    with ui.link(target=f"/room/{room.site}/{room.room}").classes("panel"):
        ui.label(f"{room.site} / {room.room}").classes("name")
        status, mix, detail = ui.label(), ui.label().classes("largest"), ui.label().classes("caption")

    def show(view: RoomView) -> None:
        recent = view.summary.recent
        shares, intervals = largest_shares(recent)
        faces = f"{recent.faces:.0f} faces" if recent else "no data in the last minute"
        show_status(status, room_status(view.summary, view.clock_errors))
        mix.set_text(shares)
        mix.set_visibility(bool(shares))
        detail.set_text(f"{faces}; 90 % interval: {intervals}" if intervals else faces)

    return show
