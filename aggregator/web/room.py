"""One room: its mix now and over ten minutes, its cameras, and what has changed."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from nicegui import ui
from orjson import Fragment, dumps
from starlette.requests import Request

from aggregator.analysis.summary import Summary
from aggregator.store.types import StoreError
from aggregator.web.charts import PALETTE, mix_options, timeline_options
from aggregator.web.feed import Feed, RoomView
from aggregator.web.frame import frame, keep_fresh, user_of
from aggregator.web.orders import Orders
from aggregator.web.text import Standing, device_standing, event_text, facts, mix_hint, standing
from aggregator.web.users import User
from contract.topics import Device, Room

_CAPTIONS = ("faces", "unsure", "withheld", "lesson since", "faces in lesson")
_MOST_EVENTS = 6


class Drawings:
    """The charts of every room, written once for all pages that show them.

    As JSON, not as objects: of those the web framework would watch every number, and look through all of them again for
    every page at every update.
    """

    def __init__(self) -> None:
        self._mixes: dict[Room, tuple[RoomView, bytes, Fragment]] = {}
        self._timelines: dict[Room, tuple[RoomView, bytes, Fragment]] = {}

    def mix(self, view: RoomView) -> Fragment:
        """Options of the chart of the last minute; the same object as long as nothing changes."""
        return _drawn(self._mixes, view, lambda: mix_options(view.summary.recent, view.summary.trend))

    def timeline(self, view: RoomView) -> Fragment:
        """The same of the last ten minutes."""
        return _drawn(self._timelines, view, lambda: timeline_options(view.timeline))


def _drawn(
    last: dict[Room, tuple[RoomView, bytes, Fragment]], view: RoomView, options: Callable[[], dict[str, object]]
) -> Fragment:
    room = view.summary.room
    known = last.get(room)
    if known is None or known[0] is not view:
        text = dumps(options())
        known = view, text, known[2] if known and known[1] == text else Fragment(text)
        last[room] = known
    return known[2]


def room_page(feed: Feed, orders: Orders, drawings: Drawings, room: Room, request: Request) -> None:
    """Build the page, or refuse."""
    user = user_of(request)
    if user is None or not user.may_see(room):
        frame(request, "classpulse", back=True)
        ui.label("You may not see this room.").classes("panel")
        return
    trouble = frame(request, f"{room.site} / {room.room}", back=True)
    try:
        silent = room not in feed.rooms(time.time())
    except StoreError:
        silent = False  # nobody knows; the page says that the store cannot be read
    if silent:
        ui.label("This room has never spoken.").classes("panel")
        return
    how = ui.label().classes("standing top").props("role=status")
    with ui.element("main").classes("room"):
        panels: list[_Panel] = [
            _Mix(drawings),
            _Facts(),
            _Cameras(orders, room, request),
            _Timeline(drawings),
            _Events(),
        ]

    def update(_user: User) -> None:
        view = feed.view(room, time.time())
        word = standing(view.glance)
        how.set_text(f"{word.mark} {word.text}")
        how.classes(replace=f"standing top {word.kind}")
        for panel in panels:
            panel.show(view)

    keep_fresh(request, trouble, update)


class _Panel(Protocol):
    """A part of the page."""

    def show(self, view: RoomView) -> None:
        """Show this, if anything changed."""


class _Mix:
    """The current mix with its interval."""

    def __init__(self, drawings: Drawings) -> None:
        self._drawings = drawings
        with ui.element("section").classes("panel mix-panel"):
            _heading("The last minute")
            self._chart = ui.echart({}, renderer="svg").classes("mix-chart")
            self._hint = ui.label().classes("hint")

    def show(self, view: RoomView) -> None:
        """Draw, if anything changed."""
        _redraw(self._chart, self._drawings.mix(view))
        self._hint.set_text(mix_hint(view.summary.recent))


class _Facts:
    """Figures."""

    def __init__(self) -> None:
        self._figures: dict[str, ui.label] = {}
        with ui.element("section").classes("panel facts-panel"), ui.element("div").classes("facts"):
            for caption in _CAPTIONS:
                with ui.element("div").classes("fact big" if caption == "faces" else "fact"):
                    ui.label(caption).classes("caption")
                    self._figures[caption] = ui.label().classes("figure")
            with ui.element("div").classes("links"):
                self._links = {
                    "report": ui.link("lesson report", new_tab=True).classes("plain"),
                    "table": ui.link("as CSV").classes("plain"),
                }
            self._span: str | None = None

    def show(self, view: RoomView) -> None:
        """Set the figures."""
        self._link(view.summary)
        for caption, text in facts(view.summary, None).items():
            self._figures[caption].set_text(text)

    def _link(self, summary: Summary) -> None:
        """Lead to the report of the lesson so far; a link that changed every second would go to every page."""
        span = ""
        if summary.lesson_start:
            end = (summary.t.timestamp() // 60 + 1) * 60
            span = f"start={summary.lesson_start.timestamp():.0f}&end={end:.0f}"
        if span != self._span:
            self._span = span
            for route, link in self._links.items():
                link.props(f'href="/{route}/{summary.room.site}/{summary.room.room}?{span}"')
                link.set_visibility(bool(span))


class _Cameras:
    """The devices, each with pause and resume."""

    def __init__(self, orders: Orders, room: Room, request: Request) -> None:
        self._orders, self._room, self._request = orders, room, request
        self._shown: dict[str, Standing] = {}
        with ui.element("section").classes("panel cameras-panel"):
            _heading("Cameras")
            self._rows = ui.element("div")

    def show(self, view: RoomView) -> None:
        """Build the rows again when a device said something new."""
        devices = view.summary.devices.items()
        shown = {
            name: device_standing(state, reason, view.glance.clocks.get(name)) for name, (state, reason) in devices
        }
        if shown != self._shown:
            self._shown = shown
            self._rows.clear()
            with self._rows:
                for name, (state, _) in devices:
                    self._row(name, shown[name], "resume" if state == "paused" else "pause")

    def _row(self, name: str, how: Standing, order: str) -> None:
        with ui.element("div").classes("camera"):
            with ui.element("div").classes("who"):
                ui.label(name)
                ui.label(f"{how.mark} {how.text}").classes(f"standing {how.kind}")
            button = ui.button(order, on_click=lambda: self._send(name, order)).classes("act")
            button.props(f'no-caps outline aria-label="{order} {name}"')

    async def _send(self, name: str, order: str) -> None:
        user = user_of(self._request)
        if user is None or not user.may_see(self._room):
            ui.navigate.to("/login")
            return
        device = Device(self._room.site, self._room.room, name)
        if await asyncio.to_thread(self._orders.send, device, order):
            ui.notify(f"{order} sent to {name}", type="positive")
        else:
            ui.notify(f"The broker cannot be reached: {order} was not sent.", type="negative")


class _Timeline:
    """The last ten minutes."""

    def __init__(self, drawings: Drawings) -> None:
        self._drawings = drawings
        with ui.element("section").classes("panel timeline-panel"):
            _heading("The last ten minutes, and faces")
            self._chart = ui.echart({}, renderer="svg").classes("timeline-chart")
            with ui.element("div").classes("legend caption"):
                for label, colour in PALETTE.items():
                    with ui.element("span").style(f"--swatch: {colour}"):
                        ui.label(label).style("display: inline")

    def show(self, view: RoomView) -> None:
        """Draw, if anything changed."""
        _redraw(self._chart, self._drawings.timeline(view))


class _Events:
    """What the instructor should know."""

    def __init__(self) -> None:
        self._shown: tuple[str, ...] = ("",)
        with ui.element("section").classes("panel events-panel"):
            _heading("Changes that lasted")
            self._rows = ui.element("div").props("role=log aria-live=polite")

    def show(self, view: RoomView) -> None:
        """Build the lines again when there is a new one."""
        lines = tuple(event_text(event, None) for event in view.events[:_MOST_EVENTS])
        if lines != self._shown:
            self._shown = lines
            self._rows.clear()
            with self._rows:
                for line in lines or ("none in this lesson",):
                    ui.label(line).classes("event" if lines else "caption")


def _heading(text: str) -> None:
    ui.label(text).props("role=heading aria-level=2").classes("caption")


def _redraw(chart: ui.echart, options: Fragment) -> None:
    if chart.props["options"] is not options:
        chart.props["options"] = options
