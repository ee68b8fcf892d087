"""What a run was made of: written when it begins, compared when it goes on, told in the card. No keras."""

import json
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from train.figures import Json


class TrainingError(Exception):
    """A run that cannot start or go on; the text names the file, key and value."""


class ModelError(Exception):
    """A network that cannot be had or used; the text names the file."""


def claim(out: Path, hyperparameters: Json, data: Json, *, begun: bool) -> None:
    """Write run.json (the hyper-parameters) and origin.json (data and code), unless the run is there and the same.

    A run of which no epoch is done is not `begun`: it is replaced.

    Raises:
        TrainingError: If `out` holds a run of other hyper-parameters or other data.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in () if begun else ("run.json", "origin.json"):
        (out / name).unlink(missing_ok=True)
    _same(out / "run.json", hyperparameters, hyperparameters)
    circumstances = {
        **data,
        "commit": commit(),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
    }
    _same(out / "origin.json", circumstances, data)


def commit() -> str | None:
    """Of the checkout that this file lies in, "+" behind it if train/ or contract/ differ; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).resolve().parents[1])]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)  # noqa: S603
        changed = subprocess.run(  # noqa: S603
            [*git, "status", "--porcelain", "--", "train", "contract"], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout else "")


def _same(path: Path, content: Json, compared: Json) -> None:
    if not path.exists():
        path.write_text(json.dumps(content, indent=1) + "\n")
        return
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise TrainingError(f"{path}: {error}; give another --out, or delete the folder") from error
    wanted = json.loads(json.dumps(compared))
    keys = sorted(key for key in wanted if found.get(key) != wanted[key])
    if keys:
        raise TrainingError(f"{path}: a run with other {', '.join(keys)}; give another --out, or delete the folder")
