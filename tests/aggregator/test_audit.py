"""Who ordered what."""

import stat

from aggregator.__main__ import main
from aggregator.web.audit import KEEP_DAYS, MOST_REFUSED, AuditLog
from contract.topics import Device

CAMERA = Device("north", "r101", "cam1")
NOW = 1_795_000_000.0
DAY = 86400


def test_orders_are_kept_and_for_their_owner_alone(tmp_path):
    """Also by an AuditLog that is opened later, after a line that a full disk cut short."""
    folder = tmp_path / "audit"
    AuditLog(folder, lambda: NOW).record("anna", "10.0.0.1", "pause", CAMERA.identity, "sent")
    (file,) = folder.iterdir()
    with file.open("a") as half:
        half.write('{"t": "2026\n')

    (entry,) = AuditLog(folder).entries()

    assert (entry.user, entry.address, entry.action, entry.target, entry.outcome) == (
        "anna",
        "10.0.0.1",
        "pause",
        "north/r101/cam1",
        "sent",
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_they_are_forgotten_after_thirty_days(tmp_path):
    """Not a day sooner."""
    now = NOW
    log = AuditLog(tmp_path, lambda: now)
    log.record("anna", "10.0.0.1", "login")
    now += KEEP_DAYS * DAY
    log.record("ben", "10.0.0.1", "login")
    assert [entry.user for entry in log.entries()] == ["anna", "ben"]

    now += DAY
    log.record("cleo", "10.0.0.1", "login")

    assert [entry.user for entry in log.entries()] == ["ben", "cleo"]


def test_it_is_known_who_paused_a_camera(tmp_path):
    """Also after a restart, until somebody resumes; an order that was not sent paused nothing."""
    log = AuditLog(tmp_path)
    log.record("anna", "10.0.0.1", "pause", CAMERA.identity, "sent")
    log.record("ben", "10.0.0.1", "resume", CAMERA.identity, "not sent")

    assert log.paused_by(CAMERA).user == "anna"
    assert log.paused_by(Device("north", "r101", "cam2")) is None
    assert AuditLog(tmp_path).paused_by(CAMERA).user == "anna"
    log.record("ben", "10.0.0.1", "resume", CAMERA.identity, "sent")
    assert log.paused_by(CAMERA) is None


def test_a_folder_that_cannot_be_written_stops_no_order(tmp_path, caplog):
    """The journal has it then."""
    (tmp_path / "audit").write_text("no folder")

    with caplog.at_level("INFO"):
        log = AuditLog(tmp_path / "audit")
        log.record("anna", "10.0.0.1", "pause", CAMERA.identity, "sent")

    assert log.paused_by(CAMERA).user == "anna"
    assert "pause name='anna' address=10.0.0.1 target='north/r101/cam1' outcome='sent'" in caplog.messages
    assert any("the journal alone" in message for message in caplog.messages)


def test_refused_logins_of_a_day_are_bounded(tmp_path):
    """Also over restarts: the journal has all of them. The next day has its own; orders always have room."""
    now = NOW
    for number in range(MOST_REFUSED + 10):
        if number % 100 == 0:
            log = AuditLog(tmp_path, lambda: now)
        log.refused(f"name-{number}", "10.0.0.1", "password", 1)
    log.record("anna", "10.0.0.1", "login")
    now += DAY
    log.refused("eve", "10.0.0.1", "password", 1)

    *refused, login, another = AuditLog(tmp_path).entries()

    assert (len(refused), login.user, another.user) == (MOST_REFUSED, "anna", "eve")


def test_a_name_that_was_typed_is_one_line_for_whoever_reads_the_log(tmp_path):
    """No line of its own, no colours of a terminal, nothing that turns the line around."""
    AuditLog(tmp_path).refused("eve\n2026-11-27  anna\x1b[31m\u202e", "10.0.0.1", "password", 1)

    (entry,) = AuditLog(tmp_path).entries()

    assert entry.user == "eve 2026-11-27  anna [31m"


def test_the_command_prints_them(tmp_path, capsys):
    """A line each, oldest first."""
    config = tmp_path / "aggregator.toml"
    config.write_text(f'site = "north"\n[mqtt]\nhost = "localhost"\n[page]\nusers = "{tmp_path}/users.json"\n')
    log = AuditLog(tmp_path / "audit", lambda: NOW)
    log.record("anna", "10.0.0.1", "login")
    log.record("anna", "10.0.0.1", "pause", CAMERA.identity, "sent")
    log.refused("eve", "10.0.0.2", "password", 5)

    assert main(["--config", str(config), "audit"]) == 0

    first, second, third = capsys.readouterr().out.splitlines()
    assert first.endswith("  anna  10.0.0.1  login")
    assert second.endswith("  anna  10.0.0.1  pause  north/r101/cam1  sent")
    assert third.endswith("  eve  10.0.0.2  login refused  5 wrong")
