"""Compare a store with the expected windows that `python -m benchmarks.fleet` wrote.

    python -m benchmarks.fleet.check expected.csv --config aggregator.toml [--within 60]

Exit status 0 if every window is there, with every sum, and none besides; otherwise 1, and what differs.
"""

import argparse
import sys
import time
from pathlib import Path

from aggregator.config import AggregatorConfig
from aggregator.store.factory import open_store
from aggregator.store.types import StoreError
from benchmarks.fleet.expected import compare, read
from service.config import ConfigError, load

_PAUSE_S = 1.0


def main() -> int:
    """Compare until they agree or the time is over; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet.check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("expected", type=Path)
    parser.add_argument("--config", type=Path, required=True, help="the aggregator's file, which names the store")
    parser.add_argument("--within", type=float, default=0.0, metavar="S", help="wait so long for the rest to arrive")
    arguments = parser.parse_args()
    try:
        expected, config = read(arguments.expected), load(arguments.config, AggregatorConfig)
        deadline = time.monotonic() + arguments.within
        with open_store(config, writable=False) as store:
            while (found := compare(expected, store)) and time.monotonic() < deadline:
                time.sleep(_PAUSE_S)
    except (ConfigError, StoreError, OSError, ValueError) as error:
        sys.exit(f"benchmarks.fleet.check: {error}")
    if found:
        print(f"the store differs: {found}")
        return 1
    frames = sum(sums.frames for sums in expected.values())
    print(f"the store holds {len(expected)} windows of {frames} frames, as expected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
