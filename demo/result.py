"""What the aggregator's store holds of the demonstration, and whether that is a success."""

import operator
from pathlib import Path

from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import StoreError
from aggregator.store.windows import NOTHING, Sums
from contract.labels import EMOTIONS
from contract.topics import Device

_ALWAYS = (0, 2**40)


def stored(path: Path, device: Device) -> Sums:
    """The sum over all windows of the device's room; nothing if there is no store yet."""
    try:
        with SqliteStore(path, writable=False) as store:
            windows = store.windows(device.site, device.room, *_ALWAYS, unsynced=True)
    except StoreError:
        return NOTHING
    return sum((sums for _, sums in windows), NOTHING)


def since(before: Sums, now: Sums) -> Sums:
    """What came to the store between the two."""
    return Sums(
        now.frames - before.frames,
        now.withheld - before.withheld,
        now.faces - before.faces,
        now.unsure - before.unsure,
        tuple(map(operator.sub, now.counts, before.counts)),
        tuple(map(operator.sub, now.expected, before.expected)),
    )


def describe(sums: Sums) -> str:
    """One line: frames, faces per frame, and the share of each label."""
    shown = sums.frames - sums.withheld
    if not shown:
        return f"{sums.frames} frames, all withheld"
    shares = {label: count / max(sums.faces, 1) for label, count in zip(EMOTIONS, sums.counts, strict=True)}
    shares["unsure"] = sums.unsure / max(sums.faces, 1)
    mix = ", ".join(f"{label} {share:.0%}" for label, share in shares.items() if share >= 0.005)
    withheld = f", {sums.withheld} withheld" if sums.withheld else ""
    frames = "1 frame" if sums.frames == 1 else f"{sums.frames} frames"
    return f"{frames}{withheld}, {sums.faces / shown:.1f} faces a frame: {mix}"


def failure(sums: Sums, min_faces: int) -> str:
    """Why the demonstration did not succeed; "" if counts were stored."""
    if not sums.frames:
        return "the aggregator stored no frame"
    if sums.frames == sums.withheld:
        hint = "; MIN_FACES=1 is for one person before a webcam" if min_faces > 1 else ""
        return f"all {sums.frames} frames were withheld: none had {min_faces} readable faces{hint}"
    return "" if sums.faces else "no face was found in any frame"
