"""`classpulse status` names what is wrong and what to do."""

from host.status import faces, line, problems

GOOD = {"ActiveState": "active", "ActiveEnterTimestamp": "Fri 08:00", "StatusText": "ready"}
UNITS = {"classpulse-aggregator": GOOD, "classpulse-edge": GOOD}
COUNTS = {"frames": 300, "withheld": 3, "faces": 12.34}


def wrong(tmp_path, states=None, counts=COUNTS, end_days=800.0, *, clock=True):
    """The problems of a host."""
    synchronized = tmp_path / "synchronized"
    if clock:
        synchronized.touch()
    return list(problems(states or UNITS, counts, synchronized=synchronized, end_days=end_days))


def test_a_host_that_counts_has_no_problem(tmp_path):
    """And says how many."""
    assert wrong(tmp_path) == []
    assert line("camera", GOOD) == "camera   runs since Fri 08:00; ready"
    assert "12.3 on average in the 300 pictures of the last minute, 3 withheld" in faces(COUNTS, {"people_only": True})


def test_a_ready_camera_without_counts_is_a_problem(tmp_path):
    """One that is paused is none."""
    assert "no counts arrived" in wrong(tmp_path, counts=COUNTS | {"frames": 0})[0]
    assert (
        wrong(tmp_path, UNITS | {"classpulse-edge": GOOD | {"StatusText": "paused outside lesson hours"}}, None) == []
    )


def test_degraded_a_clock_and_a_certificate_are_told(tmp_path):
    """Each with what to do."""
    degraded = UNITS | {"classpulse-edge": GOOD | {"StatusText": "degraded the disk is full"}}

    told = wrong(tmp_path, degraded, end_days=100.4, clock=False)

    assert [each.split(":")[0] for each in told] == [
        "the camera's service is degraded the disk is full",
        f"the clock is not synchronised ({tmp_path}/synchronized is missing)",
        "the page's certificate ends in 100 days",
    ]
