"""One room: its mix now and over ten minutes, its cameras, and what has changed."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import tzinfo
from functools import partial

from msgspec import json
from nicegui import ui
from starlette.requests import Request

from aggregator.store.types import Note, StoreError
from aggregator.web.audit import AuditLog
from aggregator.web.auth import address_of
from aggregator.web.commands import CommandSender, Outcome
from aggregator.web.headline import Headline, event_sentence
from aggregator.web.language import N_, _
from aggregator.web.reader import RoomReader, RoomView
from aggregator.web.style import keep_fresh, show_headline, show_status, top_line, user_of
from aggregator.web.text import MOST_MARK, StatusLine, device_status, facts, marked, mix_hint, zone_text
from aggregator.web.users import User
from contract.topics import Device, Room

log = logging.getLogger(__name__)

_MOST_EVENTS = 6
_NOTES = {"mark": N_("mark now"), "name": N_("name lesson"), "begin": N_("begin lesson"), "end": N_("end lesson")}
_NOTED = {"mark": N_("marked"), "name": N_("named"), "begin": N_("noted: lesson begin"), "end": N_("noted: lesson end")}
Keep = Callable[[Room, Note], None]
"""Keeps a note in the store; may raise StoreError."""
Show = Callable[[RoomView], None]
"""Shows a view in a panel, if anything changed."""


def room_page(
    reader: RoomReader, commands: CommandSender, audit: AuditLog, keep: Keep, room: Room, request: Request
) -> None:
    """Build the page."""
    store_error = top_line(request, f"{room.site} / {room.room}", back=True)
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
            _facts(reader.zone, request.scope.get("root_path", "")),
            _cameras(commands, audit, room, request),
            _timeline(),
            _lesson(reader, keep, room, request),
            _events(reader.zone),
        )
    ui.label(zone_text(reader.zone)).classes("hint top")

    def update(user: User) -> None:
        view = reader.view(room, time.time())
        show_status(status, view.status, "top")
        main.classes(replace="room old" if view.status.kind == "paused" else "room")
        show_head(reader.headline(view, user))
        for show in panels:
            show(view)

    keep_fresh(request, store_error, update)


def _headline(reader: RoomReader, room: Room, request: Request) -> Callable[[Headline], None]:
    """The sentence; a button that puts an event back; and notifications, where they are allowed."""
    notified = None
    with ui.element("div").classes("top head"):
        sentence = ui.label().props("role=status")
        seen = ui.button(_("seen")).props("no-caps outline").classes("act")
        ask = "window.Notification && Notification.requestPermission()"
        ui.button(_("notify me"), on_click=lambda: ui.run_javascript(ask)).props("flat no-caps").classes("act")

    def show(head: Headline) -> None:
        nonlocal notified
        show_headline(sentence, head)
        seen.set_visibility(head.event is not None)
        name = f"{room.site} / {room.room}"
        ui.page_title(f"(1) {name}" if head.event else name)
        if head.event and notified != head.event.t:
            notified = head.event.t
            text = json.encode([name, {"body": head.text}]).decode()
            ui.run_javascript(f"window.Notification?.permission === 'granted' && new Notification(...{text})")

    def mark_seen() -> None:
        user, view = user_of(request), reader.view(room, time.time())
        if user is not None:
            reader.mark_seen(view, user)
            show(reader.headline(view, user))

    seen.on_click(mark_seen)
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
    with ui.element("section").classes("panel mix-panel"):
        _heading(_("The last minute"))
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


def _facts(zone: tzinfo | None, root: str) -> Show:
    """Figures, and links to the report of the lesson so far."""
    figures: dict[str, ui.label] = {}
    span = None
    with ui.element("section").classes("panel facts-panel"):
        place = ui.element("div").classes("facts")
        with ui.element("div").classes("links"):
            links = {
                "report": ui.link(_("lesson report"), new_tab=True).classes("plain"),
                "table": ui.link(_("as CSV")).classes("plain"),
                "lessons": ui.link(_("all lessons of this room")).classes("plain"),
            }

    def show(view: RoomView) -> None:
        nonlocal span
        summary = view.summary
        start = view.span.start if view.span else None
        for caption, text in facts(summary, start, zone, view.large).items():
            if caption not in figures:
                with place, ui.element("div").classes("fact big" if caption == _("faces") else "fact"):
                    ui.label(caption).classes("caption")
                    figures[caption] = ui.label().classes("figure")
            figures[caption].set_text(text)
        wanted = "none"
        if view.span:
            wanted = f"start={view.span.start}&end={(view.span.end // 60 + 1) * 60}"  # changes once a minute
        if wanted != span:
            span = wanted
            for route, link in links.items():
                query = "" if route == "lessons" else f"?{span}"
                link.props(f'href="{root}/{route}/{summary.site}/{summary.room}{query}"')
                link.set_visibility(route == "lessons" or view.span is not None)

    return show


def _cameras(commands: CommandSender, audit: AuditLog, room: Room, request: Request) -> Show:
    """The devices, each with pause and resume for those who may."""
    user = user_of(request)
    shown: dict[str, StatusLine] = {}
    with ui.element("section").classes("panel cameras-panel"):
        _heading(_("Cameras"))
        rows = ui.element("div")

    async def send(name: str, command: str) -> None:
        text = await send_command(commands, audit, request, Device(room.site, room.room, name), command)
        if text is None:
            ui.navigate.to("/login")
        else:
            ui.notify(text, type="positive" if text == _outcome_text("sent", command, name) else "negative")

    def row(name: str, status: StatusLine, command: str) -> None:
        with ui.element("div").classes("camera"):
            with ui.element("div").classes("who"):
                ui.label(name)
                show_status(ui.label(), status)
            if user is None or not user.may_order(room):
                return
            button = ui.button(_(command), on_click=lambda: send(name, command)).classes("act")
            button.props(f'no-caps outline aria-label="{_(command)} {name}"')

    def show(view: RoomView) -> None:
        devices = view.summary.devices
        wanted = {name: device_status(device, view.clock_errors.get(name)) for name, device in devices.items()}
        if wanted != shown:
            shown.clear()
            shown.update(wanted)
            rows.clear()
            with rows:
                for name, device in devices.items():
                    row(name, shown[name], N_("resume") if device.state == "paused" else N_("pause"))

    return show


def _timeline() -> Show:
    """The lesson, or its last ten minutes."""
    short = False
    last: RoomView | None = None
    with ui.element("section").classes("panel timeline-panel"):
        with ui.element("div").classes("camera"):
            heading = ui.label().props("role=heading aria-level=2").classes("caption who")
            other = ui.button().props("no-caps outline").classes("act")
        chart = ui.html(sanitize=False)

    def show(view: RoomView) -> None:
        nonlocal last
        last = view
        name = view.span.name if view.span else ""
        heading.set_text(_("The last ten minutes") if short else _("The lesson {name}").format(name=name).strip())
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
    with ui.element("section").classes("panel lesson-panel"):
        _heading(_("Your notes on this lesson"))
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
            problem_text = _("Not kept: the store cannot be written now. Try again; your text is still here.")
            ui.notify(problem_text, type="negative")
        else:
            text.set_value("" if kind in {"mark", "name"} else text.value)
            reader.forget(room)
            ui.notify(_(_NOTED[kind]), type="positive")

    with buttons:
        for kind, label in _NOTES.items():
            ui.button(_(label), on_click=partial(note, kind)).props("no-caps outline").classes("act")

    def show(_view: RoomView) -> None:
        trouble = reader.timetable.problem(room)
        problem.set_text(trouble)
        problem.set_visibility(bool(trouble))

    return show


def _events(zone: tzinfo | None) -> Show:
    """Changes that an instructor should know of."""
    shown = [""]
    with ui.element("section").classes("panel events-panel"):
        _heading(_("Lasting changes"))
        rows = ui.element("div").props("role=log aria-live=polite")

    def show(view: RoomView) -> None:
        lines = [event_sentence(event, zone) for event in view.events[: -_MOST_EVENTS - 1 : -1]]
        if lines != shown:
            shown[:] = lines
            rows.clear()
            with rows:
                for line in lines or (_("none in this lesson so far"),):
                    ui.label(line).classes("event" if lines else "caption")

    return show


def _heading(text: str) -> None:
    ui.label(text).props("role=heading aria-level=2").classes("caption")
