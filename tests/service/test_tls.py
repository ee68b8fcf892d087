"""Credentials: the files are named where they cannot be used."""

import pytest

from service.tls import client_context, read_password


def test_a_missing_or_broken_authority_is_named(tmp_path):
    """Never a connection without a check of the server."""
    with pytest.raises(OSError, match=r"ca\.crt: No such file"):
        client_context(tmp_path, "device")

    (tmp_path / "ca.crt").write_text("no certificate\n")
    with pytest.raises(OSError, match=r"ca\.crt: "):
        client_context(tmp_path, "device")


def test_a_password_is_the_word_in_its_file(tmp_path):
    """Without the line end; a missing or unreadable file is named."""
    path = tmp_path / "mqtt-password"
    with pytest.raises(OSError, match=r"mqtt-password: No such file"):
        read_password(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(OSError, match=r"mqtt-password: 'utf-8' codec"):
        read_password(path)

    path.write_text("secret\n")

    assert read_password(path) == "secret"
