"""Rules of the table in the terminal."""

import io

from rich.console import Console

from aggregator.analysis.mix import Estimator
from aggregator.analysis.rooms import RoomState
from aggregator.commands.watch import table, take
from aggregator.config import AttentionConfig
from aggregator.store.windows import Key, Sums
from contract.message import State
from contract.topics import Room

ROOM = Room("school", "r1")
TOPIC = ROOM.topic("summary")


def shown(rooms, now):
    """The table as text on 80 columns."""
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(table(rooms, now))
    return console.file.getvalue()


def summary(now, reason="", withheld=1):
    """A summary of ten frames, 42 % of their faces happy."""
    room = RoomState(ROOM, Estimator({}), AttentionConfig())
    counts = (10, 5, 5, 42, 10, 5, 23)
    sums = Sums(10, withheld, 110, 10, counts, counts) if withheld < 10 else Sums(10, 10, 0, 0, (0,) * 7, (0,) * 7)
    room.add(Key("school", "r1", "cam", "3f9c1a77", int(now) // 10 * 10), sums, now)
    room.newest = now - 3
    room.devices["cam"] = State(state="ready", reason=reason, version="1", model=None, min_faces=5, boot="9f3a2c41")
    return room.summary(now)


def line(now, told, later=0.0):
    """The room's line after a summary."""
    rooms = {}
    take(rooms, TOPIC, told.to_json())
    return next(line for line in shown(rooms, now + later).splitlines() if "school/r1" in line)


def test_a_room_is_one_line_of_80_columns(now):
    """Room, camera, faces, shares and age are readable in a plain terminal."""
    told = line(now, summary(now))

    assert all(part in told for part in ("cam ready", " 12 ", "42", "10%", "3.0s")), told
    assert "2min" in line(now, summary(now), later=90)


def test_withheld_frames_show_no_number(now):
    """Withheld is not zero."""
    told = line(now, summary(now, withheld=10))

    assert "100%" in told
    assert " 0 " not in told


def test_a_room_that_never_had_a_frame_is_shown(now):
    """Its camera is there."""
    room = RoomState(ROOM, Estimator({}), AttentionConfig())

    assert "-" in line(now, room.summary(now))


def test_neither_markup_nor_terminal_codes_of_a_device_work(now):
    """A device's words are shown, not obeyed."""
    rooms = {}
    take(rooms, TOPIC, summary(now, reason="[red]x\x1b[31m").to_json())

    text = shown(rooms, now).replace("\n", "")

    assert "[red]" in text.replace(" ", "")
    assert "\x1b[31m" not in text


def test_a_room_goes_with_its_summary_and_stays_with_what_cannot_be_read(now):
    """A watcher stays up whatever is published; the aggregator logs it."""
    rooms = {}
    take(rooms, TOPIC, b"")
    take(rooms, TOPIC, summary(now).to_json())
    take(rooms, TOPIC, b"\xff")
    assert list(rooms) == [TOPIC]

    take(rooms, TOPIC, b"")
    assert not rooms
