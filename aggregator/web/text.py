"""What the page says in words. Pure."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from msgspec import UNSET

from aggregator.analysis.mix import Mix
from aggregator.analysis.summary import DeviceState, Summary
from aggregator.web.language import N_, _, number_text, span_text
from contract.message import Health, State, utc

LATE_S = 30.0
"""Without a frame for so long a room is not live."""
MOST_MARK = 80
"""Characters of a mark or a name."""
_LINES = ("Cc", "Cs", "Zl", "Zp")
_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
_UNKNOWN = "\N{EN DASH}"
_NBSP = "\N{NO-BREAK SPACE}"
_MARKS = {"live": "●", "silent": "○", "paused": "❚❚", "fault": "▲"}
_KINDS = {
    N_("ready"): "live",
    N_("paused"): "paused",
    N_("stopped"): "paused",
    N_("lost"): "fault",
    N_("degraded"): "fault",
}
REASONS = (
    N_("ordered by its file"),
    N_("connection lost"),
    N_("outside lesson hours"),
    N_("waiting for the clock to be synchronised: lesson hours are set"),
    N_("the file has ended"),
    N_("told to stop"),
    N_("a fault of the program"),
    N_("our own state does not come back: the broker's access list must let this device read its topics"),
    N_(
        "acknowledged but not stored for two minutes: does the aggregator run, and does the broker let this "
        "device write counts (access list, size limits) and read stored?"
    ),
)
"""What devices say by themselves, in the words of `edge`; anything else that one says is shown as it is."""


@dataclass(frozen=True, slots=True)
class StatusLine:
    """How a room or a device is doing."""

    kind: str
    """live, silent, paused or fault: a class of the style sheet."""
    text: str

    def __str__(self) -> str:
        """The text after a sign that can be told apart without colour."""
        return f"{_MARKS[self.kind]} {self.text}"


def room_status(summary: Summary, clock_errors: Mapping[str, float]) -> StatusLine:
    """How a room is doing, the most serious thing first; `clock_errors`: device -> seconds ahead."""
    states, age_s, recent = summary.devices, summary.age_s, summary.recent
    if states and all(_KINDS.get(device.state) == "paused" for device in states.values()):
        texts = {_said(device) for device in states.values()}
        return StatusLine("paused", texts.pop() if len(texts) == 1 else _("paused"))
    if found := faults(states, clock_errors):
        return StatusLine("fault", "; ".join(found))
    if age_s is None:
        return StatusLine("silent", _("no data in the last six hours"))
    if age_s > LATE_S:
        return StatusLine("silent", _("no data for {time}").format(time=span_text(age_s)))
    few = recent is not None and recent.withheld == 1
    return StatusLine("live", _("too few faces to show expressions") if few else _("live"))


def faults(devices: Mapping[str, DeviceState | State], clock_errors: Mapping[str, float]) -> list[str]:
    """What is wrong in a room, the most serious first."""
    return [
        *(_("no connection to {camera}").format(camera=name) for name, each in devices.items() if each.state == "lost"),
        *(f"{name}: {clock_text(ahead_s)}" for name, ahead_s in clock_errors.items()),
        *(f"{name}: {_reason(each.reason)}" for name, each in devices.items() if each.state == "degraded"),
    ]


def device_status(device: DeviceState, ahead_s: float | None = None) -> StatusLine:
    """How a device is doing, as it says itself; `ahead_s` if its clock is wrong."""
    if ahead_s is not None:
        return StatusLine("fault", clock_text(ahead_s))
    return StatusLine(_KINDS.get(device.state, "silent"), _said(device))


def _said(device: DeviceState) -> str:
    """Such as `paused by anna` or `degraded: the disk is full`."""
    if device.reason.startswith("ordered by ") and device.reason not in REASONS:
        name = device.reason.removeprefix("ordered by ")
        return _("{state} by {name}").format(state=_(device.state), name=name)
    return f"{_(device.state)}: {_reason(device.reason)}" if device.reason else _(device.state)


def _reason(said: str) -> str:
    outbox = said.removeprefix("outbox: ")
    return _(said) if outbox == said else _("outbox: {reason}").format(reason=outbox)


def clock_text(ahead_s: float) -> str:
    """What a wrong clock means, such as `its clock is 10 years ahead, so its data has the wrong time`."""
    ahead = _("its clock is {time} ahead, so its data has the wrong time")
    behind = _("its clock is {time} behind, so its data has the wrong time")
    return (ahead if ahead_s > 0 else behind).format(time=span_text(abs(ahead_s)))


def mix_hint(mix: Mix | None) -> str:
    """How the chart of the last minute is to be read, or why it is empty."""
    if mix is None:
        return _("No data in the last minute.")
    if mix.estimate:
        return _(
            "Bar: estimated share. Line: 90 % interval, the true share lies in it 9 times out of 10. ▲▼: more or less "
            "than in the whole lesson. Expressions are not feelings."
        )
    if mix.shares:
        return _(
            "Raw counts only: there is no estimate, because the card of this camera's model is not installed here."
        )
    if mix.withheld == 1:
        return _("Not shown: too few faces could be read.")
    return _("No faces in view.") if mix.counts else _("Expressions are switched off: only faces are counted.")


def percent(share: float | str) -> str:
    """A share; "", which stands for one that is not known, stays so."""
    return share if isinstance(share, str) else f"{100 * share:.0f}{_NBSP}%"


def clock(t: datetime, zone: tzinfo | None) -> str:
    """Hours and minutes in `zone`, this machine's if None."""
    return t.astimezone(zone).strftime("%H:%M")


def zone_text(zone: tzinfo | None) -> str:
    """Whose the times are."""
    short = datetime.now(UTC).astimezone(zone).tzname() or ""
    if zone and str(zone) != short:
        return _("Times are of {zone} ({short}).").format(zone=zone, short=short)
    return _("Times are {short}.").format(short=short)


def one_line(text: str) -> str:
    """What somebody typed, on one line, and without signs that turn other text around."""
    return "".join(" " if unicodedata.category(sign) in _LINES else sign for sign in text if sign not in _TURNS).strip()


def marked(text: str) -> str:
    """What may be kept of a mark or name that somebody typed, as `one_line` has it.

    Raises:
        ValueError: If nothing is left, or more than MOST_MARK characters; the text is for the person who typed.
    """
    kept = one_line(text)
    if not kept:
        raise ValueError(_("Write something first."))
    if len(kept) > MOST_MARK:
        text = _("Not kept: this has {number} characters, and {most} are the most. Make it shorter.")
        raise ValueError(text.format(number=number_text(len(kept)), most=MOST_MARK))
    return kept


def readable(healths: Iterable[Health]) -> str:
    """How many of the faces found are large enough to read, "14 of 40", as a room's devices said last."""
    said = [health.faces for health in healths if health.faces is not UNSET]
    found, small = (sum(faces[kind] for faces in said) for kind in ("found", "small"))
    return _("{part} of {whole}").format(part=f"{found - small:.0f}", whole=f"{found:.0f}") if said else _UNKNOWN


def facts(summary: Summary, start: float | None, zone: tzinfo | None, large: str) -> Mapping[str, str]:
    """The figures beside the chart, by their captions.

    Args:
        summary: Of the room.
        start: Of the lesson that is shown, seconds since 1970; None without one.
        zone: Of its clock.
        large: As `readable` gives it.
    """
    recent, lesson = summary.recent, summary.lesson
    return {
        _("faces"): f"{recent.faces:.0f}" if recent else _UNKNOWN,
        _("large enough to read"): large,
        _("unsure"): percent(recent.unsure) if recent else _UNKNOWN,
        _("withheld"): percent(recent.withheld) if recent else _UNKNOWN,
        _("start of lesson"): clock(utc(start), zone) if start else _UNKNOWN,
        _("lesson average"): f"{lesson.faces:.0f}" if lesson else _UNKNOWN,
    }
