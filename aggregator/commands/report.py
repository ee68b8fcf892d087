"""A lesson as one HTML page that needs nothing else, and as CSV: `classpulse-aggregator report`."""

import argparse
import csv
import io
import sys
from datetime import datetime, tzinfo
from html import escape
from pathlib import Path

from aggregator.analysis.cards import read_cards
from aggregator.analysis.lesson import Lesson, lesson
from aggregator.analysis.mix import Mix
from aggregator.commands.report_plots import faces_plot, shares_plot
from aggregator.config import AggregatorConfig
from aggregator.store.factory import open_store
from aggregator.web.charts import PALETTE
from aggregator.web.text import clock, event_text
from contract.labels import EMOTIONS
from contract.message import instant, utc
from contract.topics import Room, TopicError
from service.config import load

EX_USAGE = 64
"""Exit code: what was asked for will not do (sysexits.h)."""
LONGEST_S = 24 * 3600
"""A report tells of a day at most."""


class ReportError(ValueError):
    """A report that cannot be made; the text says why."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the command its arguments."""
    parser.add_argument("--room", required=True, metavar="SITE/ROOM")
    parser.add_argument(
        "--from", dest="start", required=True, metavar="TIME", help="such as 2026-11-22T08:00, local time"
    )
    parser.add_argument("--to", dest="end", required=True, metavar="TIME")
    parser.add_argument(
        "--out", type=Path, help="the page; the CSV lies beside it (default: named after room and time)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write both files; the exit code."""
    try:
        room, start, end = room_of(arguments.room), time_of(arguments.start), time_of(arguments.end)
        told = read(load(arguments.config, AggregatorConfig), room, start, end)
    except ReportError as error:
        print(f"classpulse-aggregator: {error}", file=sys.stderr)
        return EX_USAGE
    page = arguments.out or Path(f"{file_name(told)}.html")
    page.write_text(to_html(told, None), encoding="utf-8")
    table = page.with_suffix(".csv")
    table.write_text(to_csv(told), encoding="utf-8")
    print(f"{page}\n{table}")
    return 0


def read(config: AggregatorConfig, room: Room, start: int, end: int) -> Lesson:
    """The lesson from the store.

    Raises:
        ReportError: If the span will not do.
        StoreError: If the store cannot be read.
    """
    if not 0 < end - start <= LONGEST_S:
        raise ReportError(f"a report is of a day at most, not of {(end - start) / 3600:.1f} hours")
    with open_store(config, writable=False) as store:
        rows = store.windows(room.site, room.room, start, end)
    return lesson(room, start, end, rows, read_cards(config.models_dir), config.attention)


def file_name(told: Lesson) -> str:
    """Room and begin in a name for files, without what comes after the dot."""
    return f"{told.room.site}-{told.room.room}-{utc(told.start).astimezone():%Y-%m-%d-%H%M}"


def room_of(text: str) -> Room:
    """The room in `site/room`, or ReportError."""
    try:
        return Room(*text.split("/"))
    except (TopicError, TypeError) as error:
        raise ReportError(f"--room {text!r} is no site/room: {error}") from error


def time_of(text: str) -> int:
    """Seconds since 1970 of an ISO time, this machine's local time where it names no other; or ReportError."""
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise ReportError(f"{text!r} is no time such as 2026-11-22T08:00: {error}") from error


def to_csv(told: Lesson) -> str:
    """A line per minute: faces, shares of what was withheld and unsure, estimate with interval, raw counts."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    kinds = [f"{label}{end}" for label in EMOTIONS for end in ("", "_low", "_high", "_counted")]
    table.writerow(["minute", "frames", "withheld", "faces", "unsure", *kinds])
    for minute in told.minutes:
        mix = minute.mix
        head = [instant(utc(minute.start)), mix.frames, f"{mix.withheld:.4f}", f"{mix.faces:.2f}", f"{mix.unsure:.4f}"]
        table.writerow(head + [value for label in EMOTIONS for value in _cells(mix, label)])
    return out.getvalue()


def to_html(told: Lesson, zone: tzinfo | None) -> str:
    """The page; times in `zone`, this machine's if None."""
    day, begin, end = (
        utc(told.start).astimezone(zone).strftime("%A, %d %B %Y"),
        *(clock(utc(t), zone) for t in (told.start, told.end)),
    )
    title = f"{told.room.site} / {told.room.room}"
    parts = [
        f"<h1>{escape(title)}</h1><p>{escape(day)}, {begin} to {end}</p>",
        _plots(told, zone) if told.whole else "<p><b>No frame was stored in this time.</b></p>",
        f"<p class=small>{_caveat(told)}</p>",
    ]
    return _PAGE.format(title=escape(title), body="\n".join(parts))


def _plots(told: Lesson, zone: tzinfo | None) -> str:
    whole = told.whole
    if whole is None:
        return ""
    lines = "".join(f"<li>{escape(event_text(event, zone))}</li>" for event in told.events)
    changes = f"<h2>Changes that lasted</h2><ul>{lines}</ul>" if lines else ""
    mixed = f"<h2>Shares, minute by minute</h2>{shares_plot(told, zone)}{_table(whole)}" if whole.shares else ""
    facts = (
        f"<p><b>{whole.faces:.0f}</b> faces on average over {whole.frames} frames; {100 * whole.unsure:.0f} % of them "
        f"unsure; {100 * whole.withheld:.0f} % of the frames withheld, because too few faces could be read.</p>"
    )
    return f"{facts}{mixed}{changes}<h2>Faces</h2>{faces_plot(told, zone)}"


def _table(whole: Mix) -> str:
    rows = "".join(
        f'<tr><th><span style="background:{colour}"></span>{label}</th>'
        + "".join(f"<td>{value}</td>" for value in _spoken(whole, label))
        + "</tr>"
        for label, colour in PALETTE.items()
    )
    return (
        "<table><thead><tr><th>expression</th><th>share</th><th>9 times in 10 between</th><th>raw counts</th></tr>"
        f"</thead><tbody>{rows}</tbody></table>"
    )


def _spoken(mix: Mix, label: str) -> tuple[str, str, str]:
    share, low, high, counted = _cells(mix, label)
    interval = f"{_percent(low)} and {_percent(high)}" if low != "" else ""
    return _percent(share), interval, _percent(counted)


def _percent(share: float | str) -> str:
    return "" if isinstance(share, str) else f"{100 * share:.0f} %"


def _cells(mix: Mix, label: str) -> tuple[float | str, float | str, float | str, float | str]:
    """Share, low, high, counted share; "" for what is not known."""
    total = sum(mix.counts.values()) if mix.counts else 0.0
    counted = round(mix.counts[label] / total, 4) if mix.counts and total else ""
    if not mix.estimate:
        return counted, "", "", counted
    share, low, high = (round(value, 4) for value in mix.estimate[label])
    return share, low, high, counted


def _caveat(told: Lesson) -> str:
    models = ", ".join(
        f"{model} ({'card known' if card else 'card unknown: raw counts only'})" for model, card in told.models.items()
    )
    return (
        "Expressions are not feelings. Shares are estimates from a classifier that errs; the interval counts each "
        f"person once, however often they were seen. Only counts were ever stored. Models: {escape(models) or 'none'}."
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}: classpulse</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 17px/1.5 system-ui, sans-serif; color: #111; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem }}
h1 {{ margin: 0 }} h1 + p {{ margin-top: 0; color: #444 }}
svg {{ width: 100%; height: auto }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ text-align: right; padding: .25rem .9rem; border-bottom: 1px solid #ccc }}
th:first-child {{ text-align: left }}
th span {{ display: inline-block; width: .9em; height: .9em; border-radius: .2em; margin-right: .5em }}
.small {{ color: #444; font-size: .9rem }}
@media print {{ body {{ margin: 0; max-width: none }} h2, table, svg {{ break-inside: avoid }} }}
</style></head><body>
{body}
</body></html>
"""
