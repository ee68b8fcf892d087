"""The first page: every room that the user may see; first those with news, then those with a fault."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from nicegui import ui
from starlette.requests import Request

from aggregator.web.headline import Headline
from aggregator.web.reader import RoomReader, RoomView
from aggregator.web.style import keep_fresh, show_headline, show_status, top_line
from aggregator.web.users import User
from contract.topics import Room


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
    with ui.element("div").classes("top"):
        wanted = ui.input("find a room").props("clearable dense outlined")
    with ui.element("main").classes("rooms"):
        no_rooms = ui.label("No data received yet from a room that you may see.").classes("panel")
        place = ui.element("div").classes("contents")

    def update(user: User) -> None:
        now = time.time()
        views = {room: reader.view(room, now) for room in reader.rooms(now) if user.may_see(room)}
        heads = {room: reader.headline(view, user) for room, view in views.items()}
        no_rooms.set_visibility(not views)
        for room in panels.keys() - views.keys():
            panels.pop(room).link.delete()
        with place:
            panels.update((room, _panel(room)) for room in views if room not in panels)
        for room, panel in panels.items():
            panel.show(views[room], heads[room])
            panel.link.set_visibility((wanted.value or "").strip().lower() in f"{room.site} / {room.room}")
        order = sorted(views, key=lambda room: (heads[room].event is None, views[room].status.kind != "fault", room))
        if order != shown:
            shown[:] = order
            for position, room in enumerate(order):
                panels[room].link.move(place, position)
        news = sum(head.event is not None for head in heads.values())
        ui.page_title(f"({news}) classpulse" if news else "classpulse")

    keep_fresh(request, store_error, update)


def _panel(room: Room) -> _Panel:
    with ui.link(target=f"/room/{room.site}/{room.room}").classes("panel") as link:
        ui.label(f"{room.site} / {room.room}").classes("name")
        status, sentence, detail = ui.label(), ui.label(), ui.label().classes("caption")

    def show(view: RoomView, head: Headline) -> None:
        recent = view.summary.recent
        show_status(status, view.status)
        show_headline(sentence, head)
        detail.set_text(f"{recent.faces:.0f} faces" if recent else "")

    return _Panel(link, show)
