"""One room: its mix now and over ten minutes, its cameras, and what has changed."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from msgspec import json
from nicegui import ui
from starlette.requests import Request

from aggregator.store.types import Note, ReadOnlyError, StoreError
from aggregator.web.audit import AuditLog
from aggregator.web.auth import address_of
from aggregator.web.commands import CommandSender, Outcome
from aggregator.web.headline import Headline
from aggregator.web.language import N_, _
from aggregator.web.reader import RoomReader, RoomView
from aggregator.web.style import button, heading, keep_fresh, panel, root_of, show_status, show_title, top_line, user_of
from aggregator.web.text import MOST_MARK, device_status, marked, mix_hint, zone_text
from aggregator.web.users import User
from contract.topics import Device, Room

log = logging.getLogger(__name__)

_NOTES = {"mark": N_("mark now"), "name": N_("name lesson"), "begin": N_("begin lesson"), "end": N_("end lesson")}
_NOTED = {"mark": N_("marked"), "name": N_("named"), "begin": N_("noted: lesson begin"), "end": N_("noted: lesson end")}
_CHIME = Path(__file__).with_name("chime.js").read_text()
_NOT_NOW = N_("Not kept: the store cannot be written now. Try again; your text is still here.")
_NEVER = N_("Not kept: this page may only read the store. Tell who runs it; your text is still here.")
Keep = Callable[[Room, Note], None]
"""Keeps a note in the store; may raise StoreError."""
Show = Callable[[RoomView], None]
"""Shows a view in a panel, if anything changed."""


def room_page(
    reader: RoomReader, commands: CommandSender, audit: AuditLog, keep: Keep, room: Room, request: Request
) -> None:
    """Build the page."""
    store_error = top_line(request, f"{room.site} / {room.room}")
    try:
        unknown = room not in reader.rooms(time.time())
    except StoreError:
        unknown = False  # nobody knows; the page says that the store cannot be read
    if unknown:
        ui.label(_("No data received yet from this room.")).classes("panel")
        return
    status = ui.label()
    show_head = _headline(reader, room, request)
    with ui.element("main").classes("room") as main:
        panels = (
            _mix(),
            _facts(root_of(request)),
            _cameras(commands, audit, room, request),
            _timeline(),
            _lesson(reader, keep, room, request),
            _events(),
        )
    ui.label(zone_text(reader.timetable.zone)).classes("hint top")

    def update(user: User) -> None:
        view = reader.view(room, time.time())
        show_status(status, view.status, "top")
        main.classes(replace="room old" if view.status.kind == "paused" else "room")
        show_head(reader.headline(view, user))
        for show in panels:
            show(view)

    keep_fresh(request, store_error, update)


def _headline(reader: RoomReader, room: Room, request: Request) -> Callable[[Headline], None]:
    """The sentence; a button that puts an event back; a notification and a sound, once somebody has allowed them."""
    notified, sounds = None, False
    with ui.element("div").classes("top head"):
        sentence = ui.label().props("role=status")
        seen = button(_("seen"))
        button(_("notify me"), lambda: ui.run_javascript("window.Notification?.requestPermission()"), flat=True)
        sound = button(_("sound: off"), flat=True)

    def show(head: Headline) -> None:
        nonlocal notified
        sentence.set_text(head.text)
        sentence.classes(replace="headline event" if head.event else "headline")
        seen.set_visibility(head.event is not None)
        name = f"{room.site} / {room.room}"
        show_title(f"(1) {name}" if head.event else name)
        if head.event and notified != head.event.t:
            notified = head.event.t
            text = json.encode([name, {"body": head.text}]).decode()
            ui.run_javascript(f"window.Notification?.permission === 'granted' && new Notification(...{text})")
            if sounds:
                ui.run_javascript(_CHIME)

    def switch() -> None:
        """Browsers let a page sound after a click only; the first time shows how it does."""
        nonlocal sounds
        sounds = not sounds
        sound.set_text(_("sound: on") if sounds else _("sound: off"))
        if sounds:
            ui.run_javascript(_CHIME)

    def mark_seen() -> None:
        user, view = user_of(request), reader.view(room, time.time())
        if user is not None:
            reader.mark_seen(view, user)
            show(reader.headline(view, user))

    seen.on_click(mark_seen)
    sound.on_click(switch)
    return show


async def send_command(
    commands: CommandSender, audit: AuditLog, request: Request, device: Device, command: str
) -> str | None:
    """Send it for the user who asks; what to tell them, or None if they may not."""
    user = user_of(request)
    if user is None or not user.may_order(device.where):
        return None
    outcome = await asyncio.to_thread(commands.send, device, command)
    audit.record(user.name, address_of(request), command, device.identity, outcome)
    return _outcome_text(outcome, command, device.device)


def _outcome_text(outcome: Outcome, command: str, camera: str) -> str:
    texts = {
        "sent": _("{command} sent to {camera}"),
        "not sent": _("No connection to the broker: {command} was not sent."),
        "not confirmed": _("The broker did not confirm {command}: look whether {camera} follows it."),
    }
    return texts[outcome].format(command=_(command), camera=camera)


def _mix() -> Show:
    """The current mix with its interval."""
    with panel(_("The last minute"), classes="mix-panel"):
        groups = ui.html(sanitize=False)
        hint = ui.label().classes("hint")
        with ui.element("details"):
            with ui.element("summary"):
                ui.label(_("All seven expressions")).style("display: inline")
            labels = ui.html(sanitize=False)
            ui.label(_("Diamond: raw counts.")).classes("hint")

    def show(view: RoomView) -> None:
        groups.set_content(view.groups)
        labels.set_content(view.labels)
        hint.set_text(mix_hint(view.summary.recent))

    return show


def _facts(root: str) -> Show:
    """Figures, and links to the report of the lesson so far."""
    linked = None
    with panel(classes="facts-panel"):
        figures = ui.html(sanitize=False).classes("facts")
        with ui.element("div").classes("links"):
            links = {
                "report": ui.link(_("lesson report"), new_tab=True).classes("plain"),
                "table": ui.link(_("as CSV")).classes("plain"),
                "lessons": ui.link(_("all lessons of this room")).classes("plain"),
            }

    def show(view: RoomView) -> None:
        nonlocal linked
        figures.set_content(view.figures)
        span, where = view.span, f"{view.summary.site}/{view.summary.room}"
        lesson = f"?start={span.start}&end={(span.end // 60 + 1) * 60}" if span else ""  # changes once a minute
        if lesson != linked:
            linked = lesson
            for route, link in links.items():
                link.props(f'href="{root}/{route}/{where}{"" if route == "lessons" else lesson}"')
                link.set_visibility(route == "lessons" or span is not None)

    return show


def _cameras(commands: CommandSender, audit: AuditLog, room: Room, request: Request) -> Show:
    """The devices, each with pause and resume for those who may; rows stay, or a keyboard would lose its place."""
    user = user_of(request)
    rows: dict[str, tuple[ui.element, ui.label, ui.button]] = {}
    orders: dict[str, str] = {}
    with panel(_("Cameras"), classes="cameras-panel"):
        place = ui.element("div")

    async def press(name: str) -> None:
        command = orders[name]
        text = await send_command(commands, audit, request, Device(room.site, room.room, name), command)
        if text is None:
            ui.navigate.to("/login")
        else:
            ui.notify(text, type="positive" if text == _outcome_text("sent", command, name) else "negative")

    def row(name: str) -> tuple[ui.element, ui.label, ui.button]:
        with place, ui.element("div").classes("camera") as box:
            with ui.element("div").classes("who"):
                ui.label(name)
                status = ui.label()
            order = button(on_click=lambda: press(name))
            order.set_visibility(user is not None and user.may_order(room))
        return box, status, order

    def show(view: RoomView) -> None:
        devices = view.summary.devices
        for name in rows.keys() - devices.keys():
            rows.pop(name)[0].delete()
        for name, device in devices.items():
            if name not in rows:
                rows[name] = row(name)
            _box, status, order = rows[name]
            show_status(status, device_status(device, view.clock_errors.get(name)))
            command = N_("resume") if device.state == "paused" else N_("pause")
            if orders.get(name) != command:
                orders[name] = command
                order.set_text(_(command))
                order.props(f'aria-label="{_(command)} {name}"')

    return show


def _timeline() -> Show:
    """The lesson, or its last ten minutes."""
    short = False
    last: RoomView | None = None
    with panel(classes="timeline-panel"):
        with ui.element("div").classes("camera"):
            name, other = heading().classes("who"), button()
        chart = ui.html(sanitize=False)

    def show(view: RoomView) -> None:
        nonlocal last
        last = view
        lesson = _("The lesson {name}").format(name=view.span.name if view.span else "").strip()
        name.set_text(_("The last ten minutes") if short else lesson)
        other.set_text(_("the whole lesson") if short else _("the last ten minutes"))
        chart.set_content(view.timeline if short else view.course)

    def switch() -> None:
        nonlocal short
        short = not short
        if last:
            show(last)

    other.on_click(switch)
    return show


def _lesson(reader: RoomReader, keep: Keep, room: Room, request: Request) -> Show:
    """What people say of the lesson: its name, what happens in it, its begin and end."""
    with panel(_("Your notes on this lesson"), classes="lesson-panel"):
        text = ui.input(_("such as group work, or Physics 7b")).props(f"outlined dense maxlength={MOST_MARK}")
        buttons = ui.element("div").classes("buttons")
        problem = ui.label().classes("status fault").props("role=alert")

    async def note(kind: str) -> None:
        user = user_of(request)
        if user is None or not user.may_order(room):
            ui.notify(_("You may not write notes on this lesson."), type="negative")
            return
        try:
            words = marked(text.value or "") if kind in {"mark", "name"} else ""
            await asyncio.to_thread(keep, room, Note(time.time(), kind, words, user.name))
        except ValueError as error:
            ui.notify(str(error), type="negative")
        except StoreError as error:
            log.warning("a note was not kept: %s", error)
            ui.notify(_(_NEVER if isinstance(error, ReadOnlyError) else _NOT_NOW), type="negative")
        else:
            text.set_value("" if kind in {"mark", "name"} else text.value)
            reader.forget(room)
            ui.notify(_(_NOTED[kind]), type="positive")

    with buttons:
        for kind, label in _NOTES.items():
            button(_(label), partial(note, kind))

    def show(_view: RoomView) -> None:
        trouble = reader.timetable.problem(room)
        problem.set_text(trouble)
        problem.set_visibility(bool(trouble))

    return show


def _events() -> Show:
    """Changes that an instructor should know of."""
    with panel(_("Lasting changes"), classes="events-panel"):
        rows = ui.html(sanitize=False).props("role=log aria-live=polite")

    def show(view: RoomView) -> None:
        rows.set_content(view.told)

    return show
