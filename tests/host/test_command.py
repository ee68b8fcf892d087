"""The command `classpulse`: writing whole files, and one line for who may not."""

import os
from pathlib import Path

import pytest

from host import __main__, system
from host.files import File
from host.system import HostError


def test_a_file_is_written_whole_with_its_mode_or_not_at_all(tmp_path):
    """A group that does not exist leaves the old file and nothing beside it."""
    path = tmp_path / "keys/word"
    if os.geteuid():
        pytest.skip("files are given to root: run as root")
    system.write({path: File(b"one", 0o600)})

    with pytest.raises(LookupError):
        system.write({path: File(b"two", 0o600, "no-such-group")})

    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one", 0o600)
    assert list(path.parent.iterdir()) == [path]
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_configuration_that_cannot_be_read_is_one_line(tmp_path):
    """It names the file and says how to go on."""
    (tmp_path / "edge.toml").write_text("= nonsense")

    with pytest.raises(HostError, match=r"edge.toml: .*mend it, or move it away"):
        system.table(tmp_path / "edge.toml")
    assert system.table(tmp_path / "none.toml") == {}


def test_a_service_that_is_not_installed_is_named(capsys):
    """`classpulse edge check` on a host without the package."""
    assert __main__.main(["edge", "check"]) == os.EX_USAGE
    assert "classpulse-edge is not installed here" in capsys.readouterr().err


def test_every_command_of_the_host_fits_in_its_help(capsys):
    """Every answer but a password has a flag."""
    with pytest.raises(SystemExit):
        __main__.main(["setup", "--help"])

    said = capsys.readouterr().out
    assert "--people-only" in said
    assert "--page-user" in said
    assert "password ANSWER" not in said


def test_a_certificate_names_the_host_and_is_of_its_authority(tmp_path):
    """As openssl judges it; a second one is of the same authority."""
    from tests.needs import need  # noqa: PLC0415

    need("openssl")
    authority = system.authority(tmp_path)
    (tmp_path / "crt").write_text(system.server(tmp_path, "pi.local", ["pi.local", "127.0.0.1", "10.0.0.7"])[0])

    verify = (
        "openssl",
        "verify",
        "-CAfile",
        str(tmp_path / "own-ca.crt"),
        "-verify_ip",
        "10.0.0.7",
        str(tmp_path / "crt"),
    )
    assert "OK" in system.call(*verify)
    assert system.authority(tmp_path) == authority
    assert {path.name for path in Path(tmp_path).iterdir()} == {"own-ca.key", "own-ca.crt", "crt"}
