"""`make run`: a class of real faces, the real daemon, a broker, the real aggregator, and what was counted."""

import fcntl
import os
import signal
import sys
from typing import NoReturn

from demo.demonstration import NothingStoredError, NotReadyError, demonstrate
from demo.options import OptionError, read
from demo.processes import ProcessEndedError, Processes
from demo.settings import BROKER, FOLDER, ROOT


def main() -> int:
    """0 if counts were stored or it was stopped by hand, 1 with the reason if not, 2 for a wrong option."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        options = read(os.environ)
        FOLDER.mkdir(parents=True, exist_ok=True)
        with (FOLDER / "running.lock").open("w") as lock, Processes(FOLDER) as processes:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                demonstrate(options, processes)
            finally:
                BROKER.unlink(missing_ok=True)  # `make watch` reads it
    except OptionError as error:
        return _fail(2, error)
    except BlockingIOError:
        return _fail(1, "another `make run` of this clone is running")
    except (ProcessEndedError, NotReadyError, NothingStoredError) as error:
        return _fail(1, error)
    except PermissionError as error:
        return _fail(
            1,
            f"{error.filename} cannot be written: this clone is another user's; take one of your own: git clone {ROOT}",
        )
    except KeyboardInterrupt:
        print("\nstopped")
    return 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _fail(status: int, why: object) -> int:
    print(f"\nmake run: {why}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
