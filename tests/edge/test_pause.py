"""A pause holds until somebody resumes, over restarts, too."""

import pytest

from edge.pause import Pause


@pytest.fixture
def path(tmp_path):
    """The file that keeps it."""
    return tmp_path / "pause"


def test_a_pause_is_kept_over_a_restart_until_resume(path):
    """The next process finds the order, and who gave it."""
    Pause(path).apply("pause", by="MQTT")

    restarted = Pause(path)
    kept = restarted.reason
    restarted.apply("resume", by="signal")

    assert kept == "ordered by MQTT"
    assert restarted.reason == Pause(path).reason == ""


def test_who_makes_the_file_pauses_and_who_removes_it_resumes(path):
    """A file is an order like any other."""
    pause = Pause(path)
    path.touch()
    made = pause.reason
    pause.apply("pause", by="MQTT")
    path.unlink()

    assert made == "ordered by its file"
    assert pause.reason == ""


def test_a_pause_that_cannot_be_kept_holds_all_the_same(tmp_path):
    """A full or read-only disk must not leave the camera on."""
    pause = Pause(tmp_path / "gone" / "pause")

    pause.apply("pause", by="signal")
    held = pause.reason
    pause.apply("resume", by="signal")

    assert held == "ordered by signal"
    assert pause.reason == ""
