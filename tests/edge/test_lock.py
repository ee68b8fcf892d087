"""One process at a time at the camera."""

import os
import subprocess
import sys

import pytest

from edge.lock import LockError, single_instance

HOLD = """
import pathlib, sys, time
from edge.lock import single_instance
with single_instance(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_refused_and_told_the_file(tmp_path):
    """The first goes on undisturbed."""
    with single_instance(tmp_path / "state"):
        with pytest.raises(LockError, match=r"running\.lock: held by another process"):
            single_instance(tmp_path / "state").__enter__()
        with pytest.raises(LockError):
            single_instance(tmp_path / "state").__enter__()


def test_a_folder_that_cannot_be_used_is_told_by_name(tmp_path):
    """Such as one of a disk that is not mounted."""
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(LockError, match=r"file/state: Not a directory"):
        single_instance(tmp_path / "file" / "state").__enter__()


def test_the_lock_ends_with_its_holder(tmp_path):
    """After `with` it is free again."""
    with single_instance(tmp_path):
        pass

    with single_instance(tmp_path):
        pass


def test_a_killed_holder_leaves_nothing_behind(tmp_path):
    """Between processes too, and even after SIGKILL: the kernel frees the lock."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockError):
            single_instance(tmp_path).__enter__()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()

    with single_instance(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_leaves_the_lock_to_the_folders_owner(tmp_path):
    """An administrator who runs `check` first must not lock the service out."""
    os.chown(tmp_path, 4711, 4712)

    with single_instance(tmp_path):
        pass

    owner = (tmp_path / "running.lock").stat()
    assert (owner.st_uid, owner.st_gid) == (4711, 4712)
