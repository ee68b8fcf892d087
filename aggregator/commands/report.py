"""A lesson as one HTML page and as CSV: `classpulse-aggregator report`."""

import argparse
from datetime import datetime, tzinfo
from pathlib import Path

from aggregator.config import add_store, read_config
from aggregator.web.language import LANGUAGES, current
from aggregator.web.report import ReportError, file_name, read, to_csv, to_html
from contract.topics import Room, TopicError


def add_span(parser: argparse.ArgumentParser) -> None:
    """Give a command the arguments `start` and `end`."""
    parser.add_argument(
        "--from", dest="start", required=True, metavar="TIME", help="such as 2026-11-22T08:00, local time"
    )
    parser.add_argument("--to", dest="end", required=True, metavar="TIME")


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the command its arguments."""
    parser.add_argument("--room", required=True, metavar="SITE/ROOM")
    add_span(parser)
    add_store(parser)
    parser.add_argument("--language", choices=LANGUAGES, default="en", help="of the page (default: en)")
    parser.add_argument("--out", type=Path, help="the page; the CSV gets the same name (default: room and time)")


def run(arguments: argparse.Namespace) -> int:
    """Write both files; the exit code."""
    config = read_config(arguments)
    room, start, end = (
        room_of(arguments.room),
        time_of(arguments.start, config.zone),
        time_of(arguments.end, config.zone),
    )
    lesson = read(config, room, start, end)
    page = arguments.out or Path(f"{file_name(lesson, config.zone)}.html")
    current.set(arguments.language)
    page.write_text(to_html(lesson, config.zone), encoding="utf-8")
    table = page.with_suffix(".csv")
    table.write_text(to_csv(lesson), encoding="utf-8")
    print(f"{page}\n{table}")
    return 0


def room_of(text: str) -> Room:
    """The room in `site/room`, or ReportError."""
    try:
        return Room(*text.split("/"))
    except (TopicError, TypeError) as error:
        raise ReportError(f"--room {text!r} is no site/room: {error}") from error


def time_of(text: str, zone: tzinfo | None = None) -> int:
    """Seconds since 1970 of an ISO time, in `zone` (this machine's if None) where it names no other; or ReportError."""
    try:
        time = datetime.fromisoformat(text)
        return int((time if time.tzinfo else time.replace(tzinfo=zone)).timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise ReportError(f"{text!r} is no time such as 2026-11-22T08:00: {error}") from error
