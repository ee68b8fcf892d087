"""The fleet's certificate authority. Needs .venv-fleet; no hosts."""

import importlib.util
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytestmark = pytest.mark.fleet
pytest.importorskip("cryptography", reason="the fleet's tools are in .venv-fleet")

from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

spec = importlib.util.spec_from_file_location("pki", Path(__file__).parents[2] / "ansible/pki.py")
pki = sys.modules["pki"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pki)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DEVICE = "greenfield/room-101/cam-1"


def public_key() -> bytes:
    """The public half of a new key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def authority(tmp_path):
    """A new one."""
    return pki.open_authority(tmp_path / "pki", NOW)[0]


def test_an_authority_is_made_once(tmp_path):
    """Opening it again changes nothing; its key is its owner's."""
    first, made = pki.open_authority(tmp_path / "pki", NOW)
    again, made_again = pki.open_authority(tmp_path / "pki", NOW)

    assert (made, made_again) == (True, False)
    assert first.certificate == again.certificate
    assert (tmp_path / "pki/ca.key").stat().st_mode & 0o777 == 0o600


def test_a_certificate_names_the_device_and_is_for_clients(authority):
    """The broker takes the common name as the user; a device cannot pose as the broker."""
    pem, _ = pki.issue(authority, DEVICE, public_key(), [], NOW)
    certificate = x509.load_pem_x509_certificate(pem)

    certificate.verify_directly_issued_by(authority.certificate)
    assert certificate.subject.rfc4514_string() == f"CN={DEVICE}"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_same_key_keeps_its_certificate_until_a_third_of_its_life_is_left(authority):
    """A second run changes nothing; a year and a half later it is renewed."""
    public = public_key()
    pki.issue(authority, DEVICE, public, [], NOW)

    assert not pki.issue(authority, DEVICE, public, [], NOW + timedelta(days=500))[1]
    assert pki.issue(authority, DEVICE, public, [], NOW + timedelta(days=560))[1]


def test_the_broker_gets_a_new_certificate_with_a_new_name(authority):
    """Its names and addresses are in the certificate."""
    public = public_key()
    pki.issue(authority, "broker", public, ["hub", "10.0.0.1"], NOW)

    assert not pki.issue(authority, "broker", public, ["hub", "10.0.0.1"], NOW)[1]
    assert pki.issue(authority, "broker", public, ["hub", "10.0.0.2"], NOW)[1]


def test_a_revoked_certificate_is_on_the_list_and_its_key_gets_no_other(authority):
    """A new key does, if somebody asks for it; the old certificate stays on the list."""
    public = public_key()
    pem, _ = pki.issue(authority, DEVICE, public, [], NOW)

    assert pki.revoke(authority, DEVICE, NOW)
    assert not pki.revoke(authority, DEVICE, NOW)
    with pytest.raises(pki.PkiError, match="needs a new one"):
        pki.issue(authority, DEVICE, public, [], NOW)

    pki.issue(authority, DEVICE, public_key(), [], NOW)
    crl = x509.load_pem_x509_crl((authority.folder / "ca.crl").read_bytes())
    serial = x509.load_pem_x509_certificate(pem).serial_number
    assert crl.is_signature_valid(authority.key.public_key())
    assert crl.get_revoked_certificate_by_serial_number(serial) is not None
    assert not authority.refuses(DEVICE)


def test_who_never_had_a_certificate_cannot_be_revoked(authority):
    """A misspelt name is not passed over in silence."""
    with pytest.raises(pki.PkiError, match="greenfield/room-l01/cam-1"):
        pki.revoke(authority, "greenfield/room-l01/cam-1", NOW)


def test_a_name_longer_than_a_certificate_can_hold_is_refused(authority):
    """64 characters."""
    with pytest.raises(pki.PkiError, match="64"):
        pki.issue(authority, "/".join(["a" * 30] * 3), public_key(), [], NOW)


def test_devices_whose_names_differ_only_in_where_the_slash_is_keep_apart(authority):
    """Each has its own certificate."""
    one, _ = pki.issue(authority, "a/b-c/d", public_key(), [], NOW)
    other, _ = pki.issue(authority, "a-b/c/d", public_key(), [], NOW)

    assert one != other
    assert len(list((authority.folder / "issued").iterdir())) == 2


def test_a_password_is_made_once_and_its_line_is_what_mosquitto_reads(tmp_path):
    """user:$7$rounds$salt$hash, PBKDF2 with SHA-512."""
    tmp_path.joinpath("pki").mkdir()
    secret, line, made = pki.password(tmp_path / "pki", "fleet")

    assert made
    assert pki.password(tmp_path / "pki", "fleet") == (secret, line, False)
    assert line.startswith("fleet:$7$")
    assert secret not in line
