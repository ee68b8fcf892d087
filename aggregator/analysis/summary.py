"""What a room's windows come to: the mix of the last minute and of the lesson, trend, devices. No clock, no I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from aggregator.analysis.mix import Mix, Row, is_shares, mix_of, read_mix
from aggregator.store.windows import WINDOW_S
from contract.card import ModelCard
from contract.labels import EMOTIONS
from contract.message import State
from contract.payload import (
    SCHEMA,
    check_fields,
    check_schema,
    compact,
    instant,
    optional,
    read_instant,
    read_object,
    require,
    utc,
)
from contract.topics import Room, TopicError

RECENT_S = 60
"""Span of the current mix in seconds."""
GAP_S = 600
"""A lesson is what lies between two gaps of this many seconds without a frame; nobody has to declare one."""
LONGEST_S = 6 * 3600
"""How far back a lesson's begin is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One payload of a room's retained `summary` topic."""

    t: datetime
    """When it was made, by the aggregator's clock."""
    room: Room
    newest: datetime | None
    """When the newest frame was taken, by its device's clock; None before the first."""
    recent: Mix | None
    """The last RECENT_S seconds; None without a frame in them."""
    lesson: Mix | None
    lesson_start: datetime | None
    """Both None while there is no lesson: no synchronised frame within GAP_S."""
    trend: Mapping[str, float] | None
    """Share in `recent` less share in `lesson`."""
    devices: Mapping[str, tuple[str, str]]
    """Device -> (state, reason), as it last said."""

    @property
    def age_s(self) -> float | None:
        """Age of the newest frame; negative if its device's clock is ahead."""
        return (self.t - self.newest).total_seconds() if self.newest else None

    def to_json(self) -> bytes:
        """The payload."""
        fields = {
            "schema": SCHEMA,
            "t": instant(self.t),
            "site": self.room.site,
            "room": self.room.room,
            "newest": instant(self.newest) if self.newest else None,
            "age_s": self.age_s,
            "recent": asdict(self.recent) if self.recent else None,
            "lesson": asdict(self.lesson) if self.lesson else None,
            "lesson_start": instant(self.lesson_start) if self.lesson_start else None,
            "trend": self.trend,
            "devices": {name: {"state": state, "reason": reason} for name, (state, reason) in self.devices.items()},
        }
        return compact(_rounded(fields))

    @staticmethod
    def from_json(payload: bytes) -> "Summary":
        """Read a payload.

        Raises:
            MessageError: Whatever is wrong with it.
        """
        fields = read_object(payload)
        check_schema(fields)
        check_fields(fields, _FIELDS)
        require(optional(is_shares)(fields["trend"]), "field", f"trend is {fields['trend']!r}")
        return Summary(
            t=read_instant(fields["t"]),
            room=_read_room(fields["site"], fields["room"]),
            newest=_read_optional_instant(fields["newest"]),
            recent=read_mix(fields["recent"]),
            lesson=read_mix(fields["lesson"]),
            lesson_start=_read_optional_instant(fields["lesson_start"]),
            trend=fields["trend"],
            devices=_read_devices(fields["devices"]),
        )


_FIELDS = frozenset(
    ("schema", "t", "site", "room", "newest", "age_s", "recent", "lesson", "lesson_start", "trend", "devices")
)


def summarize(  # noqa: PLR0913 - a summary has this many sources; all but the first are named
    room: Room,
    *,
    recent: Iterable[Row],
    lesson: Iterable[Row],
    states: Mapping[str, State],
    newest: datetime | None,
    now: datetime,
    cards: Mapping[str, ModelCard],
) -> Summary:
    """A room's summary.

    Args:
        room: Whose.
        recent: Its windows of the last RECENT_S seconds.
        lesson: Its windows of the lesson, as `lesson_of` gives them.
        states: What its devices last said, by device.
        newest: When its newest frame was taken.
        now: The aggregator's time.
        cards: Model cards by the hash that messages carry; without its card a model gives raw counts only.
    """
    lesson = list(lesson)
    current, whole = mix_of(recent, cards), mix_of(lesson, cards)
    return Summary(
        t=now,
        room=room,
        newest=newest,
        recent=current,
        lesson=whole,
        lesson_start=utc(min(key.start for key, _ in lesson)) if lesson else None,
        trend=_trend(current, whole),
        devices={device: (state.state, state.reason) for device, state in sorted(states.items())},
    )


def recent_of(rows: Iterable[Row], now_s: float) -> list[Row]:
    """The windows that begin in the RECENT_S seconds before `now_s`, seconds since 1970."""
    return [(key, sums) for key, sums in rows if now_s - RECENT_S < key.start <= now_s]


def lesson_of(rows: Iterable[Row], now_s: float) -> list[Row]:
    """The windows of the lesson that runs at `now_s`: back to the first gap of GAP_S; none if that is now.

    Windows of clocks that were not synchronised, or that are ahead of ours, are part of no lesson.
    """
    kept = [row for row in rows if row[0].synced and row[0].start <= now_s]
    begin = now_s
    for start in sorted({key.start for key, _ in kept}, reverse=True):
        if begin - start - WINDOW_S > GAP_S:
            break
        begin = start
    return [row for row in kept if row[0].start >= begin]


def _trend(recent: Mix | None, lesson: Mix | None) -> dict[str, float] | None:
    now, before = recent and recent.shares, lesson and lesson.shares
    return {label: now[label] - before[label] for label in EMOTIONS} if now and before else None


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, tuple | list) else value


def _read_room(site: object, room: object) -> Room:
    try:
        return Room(str(site), str(room))
    except TopicError as error:
        require(holds=False, reason="field", text=str(error))
        raise


def _read_optional_instant(value: object) -> datetime | None:
    return None if value is None else read_instant(value)


def _read_devices(value: object) -> dict[str, tuple[str, str]]:
    require(isinstance(value, dict), "field", f"devices is {value!r}")
    devices: dict[str, tuple[str, str]] = {}
    for name, fields in value.items():  # type: ignore[attr-defined]
        good = isinstance(fields, dict) and fields.keys() == {"state", "reason"}
        require(
            good and all(isinstance(text, str) for text in fields.values()), "field", f"device {name} is {fields!r}"
        )
        devices[name] = (fields["state"], fields["reason"])
    return devices
