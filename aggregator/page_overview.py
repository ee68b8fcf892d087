"""The first page: every room that the user may see, and how it is doing."""

import time

from nicegui import ui
from starlette.requests import Request

from aggregator.page_feed import Feed
from aggregator.page_frame import frame, keep_fresh
from aggregator.page_words import leading, standing
from aggregator.users import User
from contract.topics import Room

Line = tuple[Room, str, str, str, str]
"""Room, kind, standing, mix, faces: what a panel shows."""


def overview(feed: Feed, request: Request) -> None:
    """Build the page."""
    frame(request, "classpulse", back=False)
    shown: list[list[Line]] = [[]]

    @ui.refreshable
    def rooms() -> None:
        if not shown[0]:
            ui.label("No room that you may see has spoken yet.").classes("panel")
        for line in shown[0]:
            _panel(line)

    def update(user: User) -> None:
        lines = [_line(feed, room) for room in feed.rooms(time.time()) if user.may_see(room)]
        if lines != shown[0]:
            shown[0] = lines
            rooms.refresh()

    with ui.element("main").classes("rooms"):
        rooms()
    keep_fresh(request, update)


def _line(feed: Feed, room: Room) -> Line:
    view = feed.view(room, time.time())
    summary, how = view.summary, standing(view)
    mix = ", ".join(f"{label} {100 * share:.0f} %" for label, share in leading(summary.recent))
    faces = f"{summary.recent.faces:.0f} faces" if summary.recent else ""
    return room, how.kind, f"{how.mark} {how.text}", mix, faces


def _panel(line: Line) -> None:
    room, kind, how, mix, faces = line
    with ui.link(target=f"/room/{room.site}/{room.room}").classes("panel"):
        ui.label(f"{room.site} / {room.room}").classes("name")
        ui.label(how).classes(f"standing {kind}")
        ui.label(mix or "no mix").classes("mix")
        ui.label(faces or "nobody in view").classes("caption")
