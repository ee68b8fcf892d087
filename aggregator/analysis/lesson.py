"""Where lessons begin and end, and a lesson, or any span of a room, looked at as a whole. Pure."""

from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec import Struct

from aggregator.analysis.attention import Event, events, points_of
from aggregator.analysis.mix import Estimator, Mix, Moment, Row, mix_of, mixes, moments
from aggregator.config import AttentionConfig
from aggregator.store.types import Note
from aggregator.store.windows import WINDOW_S, table_of
from contract.card import ModelCard
from contract.message import FaceKind
from contract.topics import Room

MINUTE_S = 60
GAP_S = 600
"""A lesson is what lies between two gaps of this many seconds without a frame; nobody has to declare one."""
_SHORTEST_S = 180
"""What is shorter is no lesson of its own; after an end that somebody gave, what is shorter than GAP_S."""
_COURSE_STEPS = 24


class Planned(NamedTuple):
    """A lesson of the timetable."""

    start: float
    end: float
    """Seconds since 1970."""
    name: str


class Span(NamedTuple):
    """When a lesson was, and what it is called, if anything."""

    start: int
    end: int
    name: str = ""


class Cut(NamedTuple):
    """A time at which a lesson begins or, without another one, ends."""

    at: float
    ends: bool


def cuts(planned: Iterable[Planned], notes: Iterable[Note]) -> list[Cut]:
    """What the timetable and people say, by time; a begin counts more than an end at the same time."""
    found = {each.end: True for each in planned} | {note.at: True for note in notes if note.kind == "end"}
    found |= {each.start: False for each in planned} | {note.at: False for note in notes if note.kind == "begin"}
    return [Cut(*each) for each in sorted(found.items())]


def spans(starts: Sequence[int], planned: Sequence[Planned], notes: Sequence[Note]) -> list[Span]:
    """The lessons of a room.

    Args:
        starts: Of its windows, by time.
        planned: The timetable, if there is one.
        notes: What people said in that time, by time; the last name of a lesson holds.
    """
    between = cuts(planned, notes)
    times = [cut.at for cut in between]
    found: list[list[int]] = []
    for start in starts:
        place = bisect(times, start)
        if not found or start - found[-1][1] > GAP_S or place != found[-1][2]:
            found.append([start, start, place])
        found[-1][1] = start + WINDOW_S
    return [
        Span(start, end, name_of(start, end, planned, notes))
        for start, end, place in found
        if end - start >= (GAP_S if place and between[place - 1].ends else _SHORTEST_S)
    ]


def name_of(start: float, end: float, planned: Iterable[Planned], notes: Iterable[Note]) -> str:
    """What people called it, until a minute after its newest frame at most, else what the timetable does."""
    named = [note.text for note in notes if note.kind == "name" and start - WINDOW_S <= note.at < end + MINUTE_S]
    return named[-1] if named else next((each.name for each in planned if each.start <= start < each.end), "")


class Line(Struct, frozen=True):
    """A lesson in the list of a room."""

    start: int
    end: int
    """Seconds since 1970."""
    planned: str
    """Its name by the timetable."""
    frames: int
    faces: float
    groups: tuple[str, ...]
    course: tuple[tuple[float, ...] | None, ...]
    """Shares of the groups in each of some spans of equal length; None where nothing could be read."""
    events: tuple[Event, ...]


def line_of(lesson: "Lesson", planned: str) -> Line | None:
    """The list's line; None without a frame."""
    if lesson.whole is None:
        return None
    step = max(lesson.end - lesson.start, 1) / _COURSE_STEPS
    steps: list[list[list[float]]] = [[] for _ in range(_COURSE_STEPS)]
    for start, mix in lesson.minutes:
        if mix.groups:
            shares = [mix.groups[name][0] for name in lesson.groups]
            for i in range(int((start - lesson.start) / step), int((start + MINUTE_S - lesson.start) / step) + 1):
                if 0 <= i < _COURSE_STEPS:
                    steps[i].append(shares)
    course = [tuple(sum(column) / len(each) for column in zip(*each, strict=True)) if each else None for each in steps]
    return Line(
        start=lesson.start,
        end=lesson.end,
        planned=planned,
        frames=lesson.whole.frames,
        faces=lesson.whole.faces,
        groups=tuple(lesson.groups),
        course=tuple(course),
        events=lesson.events,
    )


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a report shows."""

    room: Room
    start: int
    end: int
    """Seconds since 1970, as asked for."""
    whole: Mix | None
    """None without a frame."""
    minutes: tuple[Moment, ...]
    """One for each minute with a frame."""
    events: tuple[Event, ...]
    groups: Mapping[str, Sequence[str]]
    """Group -> its labels."""
    models: Mapping[str, ModelCard | None]
    """By the hash that messages carry; None where the card is not here."""
    notes: tuple[Note, ...] = ()
    """What people said in it."""
    readings: Mapping[FaceKind, float] = field(default_factory=dict)
    """Faces per frame by how they could be read, as healths told; empty where none did."""

    @property
    def unread(self) -> tuple[int, int] | None:
        """Of the faces that were not read those that were too small, and the others; None if nobody told.

        How many they are the counts tell, and the healths only how they divide.
        """
        unread = self.readings.get("small", 0.0) + self.readings.get("unsure", 0.0)
        if self.whole is None or not unread:
            return None
        whole = round(self.whole.faces) - round(self.whole.faces * (1 - self.whole.unsure))
        small = round(whole * self.readings["small"] / unread)
        return (small, whole - small) if whole else None


def lesson(
    room: Room, start: int, end: int, rows: Sequence[Row], estimator: Estimator, attention: AttentionConfig
) -> Lesson:
    """The lesson that a room's windows from `start` to `end`, seconds since 1970, add up to."""
    table = table_of(rows)
    windows = points_of(mixes(table, estimator, WINDOW_S))
    return Lesson(
        room=room,
        start=start,
        end=end,
        whole=mix_of(table, estimator),
        minutes=tuple(moments(table, estimator, MINUTE_S)),
        events=tuple(events(windows, attention)) if attention.enabled else (),
        groups=estimator.groups,
        models={model: estimator.cards.get(model) for model in sorted({model for _, model in table.parts} - {""})},
    )
