"""What arrived at the aggregator during the demonstration, asked of its store."""

from pathlib import Path

from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import StoreError
from aggregator.store.windows import NOTHING, Sums
from contract.labels import EMOTIONS
from contract.topics import Device

_EVER = (0, 2**40)


def arrived(path: Path, device: Device) -> Sums:
    """The sum over all windows of the device's room; nothing if there is no store yet."""
    try:
        with SqliteStore(path, writable=False) as store:
            windows = store.windows(device.site, device.room, *_EVER, unsynced=True)
    except StoreError:
        return NOTHING
    return sum((sums for _, sums in windows), NOTHING)


def in_words(sums: Sums) -> str:
    """One line: frames, faces a frame, and how they were read."""
    seen = sums.frames - sums.withheld
    if not seen:
        return f"{sums.frames} frames, all withheld"
    shares = {label: count / max(sums.faces, 1) for label, count in zip(EMOTIONS, sums.counts, strict=True)}
    shares["unsure"] = sums.unsure / max(sums.faces, 1)
    mix = ", ".join(f"{label} {share:.0%}" for label, share in shares.items() if share >= 0.005)
    withheld = f", {sums.withheld} withheld" if sums.withheld else ""
    frames = "1 frame" if sums.frames == 1 else f"{sums.frames} frames"
    return f"{frames}{withheld}, {sums.faces / seen:.1f} faces a frame: {mix}"


def complaint(sums: Sums, min_faces: int) -> str:
    """Why the demonstration did not succeed; "" if counts arrived."""
    if not sums.frames:
        return "no frame's counts arrived at the aggregator"
    if sums.frames == sums.withheld:
        hint = "; MIN_FACES=1 is for one person before a webcam" if min_faces > 1 else ""
        return f"all {sums.frames} frames were withheld: none showed {min_faces} faces that could be read{hint}"
    return "" if sums.faces else "no face was found in any frame"
