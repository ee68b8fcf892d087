"""For IT: what each camera says of itself, those with a fault first."""

import time
from datetime import datetime, timedelta
from typing import NamedTuple

from nicegui import ui
from starlette.requests import Request

from aggregator.analysis.summary import DeviceState
from aggregator.store.types import DeviceStatus
from aggregator.web.language import N_, _, day_text, number_text, span_text
from aggregator.web.reader import CLOCK_S, PRESENT, RoomReader, clock_ahead
from aggregator.web.style import keep_fresh, panel, root_of, top_line
from aggregator.web.templates import render
from aggregator.web.text import StatusLine, device_status
from aggregator.web.users import User
from contract.message import Health
from contract.topics import Device
from service.tls import TOLD_DAYS

QUIET_S = 150.0
"""Health comes every 30 s; a device that is connected and has said nothing for so long has stopped working."""
WAITING_S = 120.0
"""Messages that have waited for so long are not confirmed: the store, or the way to it, does not work."""
HOT_C = 80.0
"""A Raspberry Pi slows down at 80 to 85 degrees. Source: its documentation, "Frequency management"."""
_THROTTLED_NOW = 0xF
"""Of get_throttled: what is so now; the upper bits have been so since the start. Source: the same, vcgencmd."""
_REDRAW_S = 5.0
_ORDER = ("fault", "silent", "paused", "live")


class DeviceLine(NamedTuple):
    """One device."""

    device: Device
    status: StatusLine
    cells: dict[str, str]
    """By the names of their columns."""


def device_line(device: Device, said: DeviceStatus, faces: float | None, lost: int, now: float) -> DeviceLine:
    """What a device said, in words; `faces` of the last minute, `now` in seconds since 1970."""
    health, state = said.health, said.state
    ahead_s, silent_s = clock_ahead(said), max(0.0, now - max(said.state_at, said.health_at))
    model = _(", model {name}").format(name=state.model) if state and state.model else ""
    oldest = (
        _(", oldest {time}").format(time=span_text(health.outbox_oldest_s)) if health and health.outbox_messages else ""
    )
    clock = "" if ahead_s is None else f"{round(ahead_s):+d} s" if abs(ahead_s) < CLOCK_S else span_text(abs(ahead_s))
    lost = max(lost, sum(health.outbox_dropped.values()) if health else 0)
    cells = {
        N_("rate"): f"{number_text(health.rate_hz, '0.0')}/s" if health else "",
        N_("faces"): "" if faces is None else f"{faces:.0f}",
        N_("temperature"): f"{health.temperature_c:.0f} °C" if health and health.temperature_c is not None else "",
        N_("outbox"): f"{health.outbox_messages}{oldest}" if health else "",
        N_("lost"): str(lost),
        N_("clock"): clock,
        N_("last word"): _("{time} ago").format(time=span_text(silent_s)),
        N_("version"): f"{state.version}{model}" if state else "",
    }
    return DeviceLine(device, _status(said, ahead_s, silent_s), cells)


def _status(said: DeviceStatus, ahead_s: float | None, silent_s: float) -> StatusLine:
    """What the device says, unless something is wrong that it does not say."""
    health, state = said.health, said.state
    if state is None:
        return StatusLine("fault", _("it has never said how it is"))
    wrong_clock = ahead_s if ahead_s is not None and abs(ahead_s) > CLOCK_S else None
    status = device_status(DeviceState(state.state, state.reason), wrong_clock)
    if status.kind == "fault" or state.state not in PRESENT:
        return status
    if silent_s > QUIET_S:
        return StatusLine("fault", _("connected, but silent for {time}").format(time=span_text(silent_s)))
    faults = _faults(health) if health else []
    return StatusLine("fault", "; ".join(faults)) if faults else status


def _faults(health: Health) -> list[str]:
    faults = []
    if health.outbox_oldest_s > WAITING_S:
        faults.append(_("messages are not confirmed since {time}").format(time=span_text(health.outbox_oldest_s)))
    if health.temperature_c is not None and health.temperature_c >= HOT_C:
        faults.append(_("too hot: {degrees} °C").format(degrees=round(health.temperature_c)))
    try:
        if int(health.throttled or "0", 16) & _THROTTLED_NOW:
            faults.append(_("too little power, or slowed down ({code})").format(code=health.throttled))
    except ValueError:
        faults.append(_("throttled is {code}").format(code=repr(health.throttled)))
    end = datetime.fromisoformat(health.certificate_end) if health.certificate_end else None
    if end and end - health.time < timedelta(days=TOLD_DAYS):
        faults.append(_("its certificate ends on {day}").format(day=day_text(end, "EEEE, dd MMMM y")))
    return faults


def table(lines: list[DeviceLine], root: str) -> str:
    """All devices as HTML, those with a fault first; below `root` is the page."""
    lines = sorted(lines, key=lambda line: (_ORDER.index(line.status.kind), line.device))
    return render("devices.html", rows=lines, root=root)


def devices_page(reader: RoomReader, request: Request) -> None:
    """Build the page."""
    store_error = top_line(request, _("devices"))
    with ui.element("main").classes("whole"), panel():
        summary = ui.label().props("role=status")
        rows = ui.html(sanitize=False)
    drawn = float("-inf")

    def update(user: User) -> None:
        nonlocal drawn
        now = time.time()
        if 0 <= now - drawn < _REDRAW_S:
            return
        lines, drawn = _lines(reader, user, now), now
        faults = sum(line.status.kind == "fault" for line in lines)
        text = _("{cameras} cameras, {faults} with a fault").format(cameras=len(lines), faults=faults)
        summary.set_text(text if lines else _("No camera has said anything yet."))
        rows.set_content(table(lines, root_of(request)) if lines else "")

    keep_fresh(request, store_error, update)


def _lines(reader: RoomReader, user: User, now: float) -> list[DeviceLine]:
    said = {device: status for device, status in reader.devices(now).items() if user.may_see(device.where)}
    lost = reader.lost(now)
    faces = {room: reader.view(room, now, whole=False).faces for room in {device.where for device in said}}
    return [
        device_line(device, status, faces[device.where].get(device.device), lost.get(device, 0), now)
        for device, status in said.items()
    ]
