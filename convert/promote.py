"""A converted model into the place that ships, after both cards were shown side by side."""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from contract import card as contract_card
from train.figures import Json

NAME = "emotion_int8"
FILES = (f"{NAME}.tflite", f"{NAME}.json", "emotion.keras")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `promote`."""
    parser.add_argument("folder", type=Path, help="where a conversion wrote file, card and Keras model")
    parser.add_argument("--into", type=Path, default=Path("models"), help="the folder that ships (default: models)")


def run(arguments: argparse.Namespace) -> int:
    """Show both cards, then copy; the files change together or not at all."""
    new, _ = contract_card.read_with_model(arguments.folder / FILES[0])
    old = contract_card.read(arguments.into / FILES[1]).document if (arguments.into / FILES[1]).exists() else None
    print("\n".join(side_by_side(old, new.document)))
    arguments.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.into, prefix=".new-") as folder:
        for name in FILES:
            shutil.copyfile(arguments.folder / name, Path(folder, name))
        publish(Path(folder), arguments.into)
    print(f"{arguments.into}: now {new.short}")
    return 0


def side_by_side(old: Json | None, new: Json) -> Iterator[str]:
    """Lines of a table: what there is now, if anything, and what takes its place."""
    before, after = dict(_facts(old)) if old else {}, dict(_facts(new))
    yield f"{'':34}{'now':>22}{'new':>22}"
    for name in {**before, **after}:
        yield f"{name:34}{before.get(name, '-'):>22}{after.get(name, '-'):>22}"
    if old and old["data"]["measured_digest"] != new["data"]["measured_digest"]:
        yield "these figures are of different faces: they cannot be compared"


def publish(stage: Path, out: Path) -> None:
    """Move the files of `stage` over those of `out`; if one cannot be moved, all are as they were before."""
    kept = stage / "kept"
    kept.mkdir()
    for name in FILES:
        if (out / name).exists():
            shutil.copy2(out / name, kept)
    try:
        for name in FILES:
            (stage / name).replace(out / name)
    except OSError:
        for name in FILES:
            if (kept / name).exists():
                (kept / name).replace(out / name)
            else:
                (out / name).unlink(missing_ok=True)
        raise


def _facts(card: Json) -> Iterator[tuple[str, str]]:
    yield "hash, date", f"{card['sha256'][:8]}, {card['date']}"
    yield "network", card["architecture"]
    yield "multiply-accumulates, KiB", f"{card['macs'] / 1e6:.1f} M, {card['bytes'] / 1024:.0f}"
    measured = card["data"]["measured_on"]
    yield "measured on", f"{sum(card['data'][measured].values())} of {measured}"
    for runtime, row in card["int8"].items():
        yield f"accuracy, {runtime}", f"{row['accuracy']:.1%}"
        yield f"macro recall, {runtime}", f"{row['macro_recall']:.1%}"
        yield f"calibration error, {runtime}", f"{row['ece']:.3f}"
        if "groups" in row:
            yield f"three groups, {runtime}", f"{row['groups']['accuracy']:.1%}"
    yield "unsure below, stay sure", f"{card['unsure_below']:.2f}, {card['unsure']['coverage']:.1%}"
    for name, share in card.get("conditions", {}).get("accuracy", {}).items():
        yield name, f"{share:.1%}"
