"""The windows that a store must hold, as a file, and how a store differs from them."""

import csv
from dataclasses import dataclass
from pathlib import Path

from aggregator.store.types import Store
from aggregator.store.windows import SUM_COLUMNS, Key, Sums
from contract.labels import EMOTIONS

_KEY = ("site", "room", "device", "model", "start")
Windows = dict[Key, Sums]


@dataclass(frozen=True, slots=True)
class Difference:
    """What is wrong with a store."""

    missing: list[Key]
    unequal: list[Key]
    surplus: list[Key]
    """Windows of the fleet's sites that are not expected."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unequal or self.surplus)

    def __str__(self) -> str:
        parts = []
        for name in ("missing", "unequal", "surplus"):
            keys = getattr(self, name)
            parts.append(f"{len(keys)} {name}" + (f", the first {min(keys)}" if keys else ""))
        return "; ".join(parts)


def write(path: Path, windows: Windows) -> None:
    """A CSV file, one window a line."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*_KEY, *SUM_COLUMNS))
        for key, sums in windows.items():
            named = (getattr(key, name) for name in _KEY)
            totals = (sums.frames, sums.withheld, sums.faces, sums.unsure)
            writer.writerow((*named, *totals, *sums.counts, *sums.expected))


def read(path: Path) -> Windows:
    """What `write` wrote.

    Raises:
        ValueError: If it is another file.
    """
    labels = len(EMOTIONS)
    with path.open(newline="") as file:
        rows = csv.reader(file)
        if next(rows, None) != [*_KEY, *SUM_COLUMNS]:
            raise ValueError(f"{path} was not written by benchmarks.fleet")
        windows = {}
        for site, room, device, model, start, *numbers in rows:
            frames, withheld, faces, unsure, *by_label = map(int, numbers)
            sums = Sums(frames, withheld, faces, unsure, tuple(by_label[:labels]), tuple(by_label[labels:]))
            windows[Key(site, room, device, model, int(start))] = sums
    return windows


def compare(expected: Windows, store: Store) -> Difference:
    """How the store's windows of the fleet's sites differ; what it holds of others does not matter."""
    sites = {key.site for key in expected}
    held = {key: sums for key, sums in store.recent(0) if key.site in sites}
    return Difference(
        missing=[key for key in expected if key not in held],
        unequal=[key for key, sums in expected.items() if key in held and held[key] != sums],
        surplus=[key for key in held if key not in expected],
    )
