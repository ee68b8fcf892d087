"""What the store has since a time (seconds since 1970), as JSON. Run as a process of the store's owner."""

import json
import sys
from pathlib import Path

from aggregator.store.sqlite import SqliteStore
from aggregator.store.types import StoreError
from aggregator.store.windows import WINDOW_S

STORE = Path("/var/lib/classpulse-aggregator/store.sqlite")


def since(start: float, path: Path = STORE) -> dict[str, float]:
    """Frames, withheld frames, and faces on average in the windows that ended after `start`."""
    with SqliteStore(path, writable=False) as store:
        sums = [each for _, each in store.recent(int(start) - WINDOW_S + 1)]
    frames, withheld = sum(each.frames for each in sums), sum(each.withheld for each in sums)
    return {
        "frames": frames,
        "withheld": withheld,
        "faces": sum(each.faces for each in sums) / max(1, frames - withheld),
    }


if __name__ == "__main__":
    try:
        print(json.dumps(since(float(sys.argv[1]))))
    except StoreError as error:
        sys.exit(str(error))
