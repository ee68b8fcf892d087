"""`make run`: a class of real faces, the real daemon, a broker, the real aggregator, and what they say."""

import fcntl
import os
import signal
import sys
from typing import NoReturn

from demo.demonstration import NothingArrivedError, demonstrate
from demo.options import OptionError, read
from demo.parts import PartEndedError, Parts
from demo.settings import FOLDER
from demo.state import NotReadyError


def main() -> int:
    """0 if counts arrived or it was stopped by hand, 1 with the reason if not, 2 for a wrong option."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        options = read(os.environ)
        FOLDER.mkdir(parents=True, exist_ok=True)
        with (FOLDER / "running.lock").open("w") as lock, Parts(FOLDER) as parts:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            demonstrate(options, parts)
    except OptionError as error:
        return _say(2, error)
    except BlockingIOError:
        return _say(1, "another `make run` of this clone is running")
    except (PartEndedError, NotReadyError, NothingArrivedError) as error:
        return _say(1, error)
    except KeyboardInterrupt:
        print("\nstopped")
    return 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _say(status: int, why: object) -> int:
    print(f"\nmake run: {why}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
