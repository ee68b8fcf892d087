"""Rules of the table in the terminal."""

import io

from rich.console import Console

from aggregator.analysis.mix import Estimator
from aggregator.analysis.rooms import RoomState
from aggregator.commands.watch import Board
from aggregator.config import AttentionConfig
from aggregator.store.windows import Key, Sums
from contract.message import FrameCounts, State, instant, utc
from contract.topics import Device, Room

ROOM = Room("school", "r1")


def shown(board, now):
    """The table as text on 80 columns."""
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(board.table(now))
    return console.file.getvalue()


def summary(now, reason=""):
    """A summary of ten frames, 42 % of them happy."""
    room = RoomState(ROOM, Estimator({}), AttentionConfig())
    counts = (10, 5, 5, 42, 10, 5, 23)
    room.add(Key("school", "r1", "cam", "3f9c1a77", int(now) // 10 * 10), Sums(10, 1, 110, 10, counts, counts), now)
    room.newest = now - 3
    room.devices["cam"] = State(state="ready", reason=reason, version="1", model=None, min_faces=5, boot="9f3a2c41")
    return room.summary(now)


def test_a_room_is_one_line_of_80_columns(now):
    """Room, camera, mix, shares and age are readable in a plain terminal."""
    board = Board()
    board.take(ROOM.topic("summary"), summary(now).to_json(), now)

    line = next(line for line in shown(board, now).splitlines() if "school/r1" in line)

    assert all(part in line for part in ("cam ready", "42", "3.0s")), line


def test_faces_and_age_are_those_of_the_stream(now, message, counted):
    """The newest frame is shown before the next summary comes."""
    board = Board()
    board.take(Device("school", "r1", "cam").topic("counts"), message(0, counted(now, 3, 4)).to_json(), now)
    board.take(Device("school", "r1", "two").topic("counts"), message(0, counted(now, 5)).to_json(), now)

    assert board.faces[ROOM] == {"cam": 7, "two": 5}
    assert "12" in shown(board, now + 90)
    assert "2min" in shown(board, now + 90)


def test_a_withheld_frame_shows_no_number(now, message):
    """Withheld is not zero."""
    board = Board()
    board.take(
        Device("school", "r1", "cam").topic("counts"),
        message(0, FrameCounts(t=instant(utc(now)), withheld=True)).to_json(),
        now,
    )

    assert "hid" in next(line for line in shown(board, now).splitlines() if "school/r1" in line)


def test_neither_markup_nor_terminal_codes_of_a_device_work(now):
    """A device's words are shown, not obeyed."""
    board = Board()
    board.take(ROOM.topic("summary"), summary(now, reason="[red]x\x1b[31m").to_json(), now)

    text = shown(board, now).replace("\n", "")

    assert "[red]" in text.replace(" ", "")
    assert "\x1b[31m" not in text


def test_what_cannot_be_read_is_left_to_the_aggregator(now):
    """A watcher stays up whatever is published."""
    board = Board()
    for topic in (ROOM.topic("summary"), "classpulse/1/school/r1/cam/counts", "classpulse/1/<b>/r1/cam/counts"):
        board.take(topic, b"\xff", now)

    assert not board.summaries
    assert not board.faces
