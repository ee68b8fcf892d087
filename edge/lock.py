"""One process at a time at the camera: a lock that ends with its holder, however that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockError(RuntimeError):
    """Another process holds the lock, or there can be none; the text names the file."""


@contextmanager
def single_instance(state: Path) -> Iterator[None]:
    """Hold `state`/running.lock; the kernel frees it when the process ends.

    Args:
        state: The daemon's state folder; made if missing.

    Raises:
        LockError: If another process holds it, or the folder cannot be used.
    """
    path = state / "running.lock"
    try:
        state.mkdir(parents=True, exist_ok=True)
        # the file stays: removing it would let two processes lock two files of one name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LockError(f"{error.filename or state}: {error.strerror}") from error
    try:
        if os.geteuid() == 0:  # an administrator's `check` must not lock the service out of its own folder
            owner = state.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockError(f"{path}: held by another process; stop the service first") from None
        yield
    finally:
        os.close(descriptor)
