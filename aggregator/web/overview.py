"""The first page: every room that the user may see, and how it is doing."""

import time

from nicegui import ui
from starlette.requests import Request

from aggregator.web.feed import Feed, Glance
from aggregator.web.frame import frame, keep_fresh
from aggregator.web.text import leading, standing
from aggregator.web.users import User
from contract.topics import Room


def overview(feed: Feed, request: Request) -> None:
    """Build the page."""
    trouble = frame(request, "classpulse", back=False)
    panels: dict[Room, _Panel] = {}
    with ui.element("main").classes("rooms"):
        nobody = ui.label("No room that you may see has spoken yet.").classes("panel")
        place = ui.element("div").classes("contents")

    def update(user: User) -> None:
        now = time.time()
        rooms = [room for room in feed.rooms(now) if user.may_see(room)]
        if rooms != list(panels):
            nobody.set_visibility(not rooms)
            place.clear()
            panels.clear()
            with place:
                panels.update((room, _Panel(room)) for room in rooms)
        for room, panel in panels.items():
            panel.show(feed.glance(room, now))

    keep_fresh(request, trouble, update)


class _Panel:
    """One room, as a link to its page."""

    def __init__(self, room: Room) -> None:
        with ui.link(target=f"/room/{room.site}/{room.room}").classes("panel"):
            ui.label(f"{room.site} / {room.room}").classes("name")
            self._standing = ui.label().classes("standing")
            self._mix = ui.label().classes("mix")
            self._detail = ui.label().classes("caption")

    def show(self, glance: Glance) -> None:
        """Set the texts; the web framework sends those that changed."""
        how, recent = standing(glance), glance.summary.recent
        mix, intervals = leading(recent)
        faces = f"{recent.faces:.0f} faces" if recent else "no frame in the last minute"
        self._standing.set_text(f"{how.mark} {how.text}")
        self._standing.classes(replace=f"standing {how.kind}")
        self._mix.set_text(mix)
        self._mix.set_visibility(bool(mix))
        self._detail.set_text(f"{faces}; 9 times in 10 {intervals}" if intervals else faces)
