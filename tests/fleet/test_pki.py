"""The fleet's certificate authority. Needs .venv-fleet; no hosts."""

import importlib.util
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytestmark = pytest.mark.fleet
pytest.importorskip("cryptography", reason="the fleet's tools are in .venv-fleet")

from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

PROJECT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("pki", PROJECT / "ansible/pki.py")
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
    """A second run changes nothing; after two months of three it is renewed, a server's after a year and a half."""
    public = public_key()
    pki.issue(authority, DEVICE, public, [], NOW)
    pki.issue(authority, "broker", public, ["hub"], NOW)

    assert not pki.issue(authority, DEVICE, public, [], NOW + timedelta(days=59))[1]
    assert pki.issue(authority, DEVICE, public, [], NOW + timedelta(days=61))[1]
    assert not pki.issue(authority, "broker", public, ["hub"], NOW + timedelta(days=500))[1]
    assert pki.issue(authority, "broker", public, ["hub"], NOW + timedelta(days=560))[1]


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


@contextmanager
def broker(authority, folder: Path) -> Iterator[int]:
    """A mosquitto that reads the authority's list; its port."""
    mosquitto = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
    if mosquitto is None or shutil.which("mosquitto_pub") is None:
        pytest.skip("mosquitto is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    write_identity(authority, folder, "broker", ["localhost"])
    lines = [f"listener {port} 127.0.0.1", f"cafile {authority.folder}/ca.crt", f"crlfile {authority.folder}/ca.crl"]
    lines += [f"certfile {folder}/broker.crt", f"keyfile {folder}/broker.key", "require_certificate true"]
    (folder / "mosquitto.conf").write_text("\n".join([*lines, "use_identity_as_username true", "user root", ""]))
    running = subprocess.Popen([mosquitto, "-c", folder / "mosquitto.conf"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as client:
                if not client.connect_ex(("127.0.0.1", port)):
                    break
            running.poll() is None or pytest.fail("mosquitto ended")
            time.sleep(0.05)
        yield port
    finally:
        running.terminate()
        running.wait()


def write_identity(authority, folder: Path, file: str, servers: list[str], *, name: str = "", key: str = "") -> None:
    """A certificate in `folder`/<file>.crt; its key beside it, a new one or that of the file `key`."""
    made = ec.generate_private_key(ec.SECP256R1())
    if key:
        made = serialization.load_pem_private_key((folder / f"{key}.key").read_bytes(), password=None)
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{file}.key").write_bytes(made.private_bytes(*plain))
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    # for a key that is known already a new certificate is asked for two months later
    today = datetime.now(UTC) - timedelta(days=0 if key or servers else 61)
    pem, changed = pki.issue(authority, name or file, made.public_key().public_bytes(*form), servers, today)
    assert changed
    (folder / f"{file}.crt").write_bytes(pem)


def accepted(authority, folder: Path, port: int) -> set[str]:
    """Whose certificates the broker takes now."""
    taken = set()
    for certificate in sorted({path.stem for path in folder.glob("*.crt")} - {"broker"}):
        command = ["mosquitto_pub", "-h", "localhost", "-p", str(port), "-t", "x", "-m", "x", "-q", "1"]
        command += ["--cafile", f"{authority.folder}/ca.crt"]
        command += ["--cert", f"{folder}/{certificate}.crt", "--key", f"{folder}/{certificate}.key"]
        if not subprocess.run(command, capture_output=True, check=False, timeout=20).returncode:
            taken.add(certificate)
    return taken


def test_the_broker_refuses_each_certificate_that_was_replaced_or_revoked(authority, tmp_path):
    """The first, the same key's renewed one, a rotated key's, and those of the room where the device stood before."""
    folder = tmp_path / "identities"
    folder.mkdir()
    other = "greenfield/room-102/cam-1"
    write_identity(authority, folder, "first", [], name=DEVICE)
    write_identity(authority, folder, "renewed", [], name=DEVICE, key="first")
    write_identity(authority, folder, "rotated", [], name=DEVICE)
    write_identity(authority, folder, "elsewhere", [], name=other)
    write_identity(authority, folder, "elsewhere-renewed", [], name=other, key="elsewhere")
    with broker(authority, folder) as port:
        everyone = {"first", "renewed", "rotated", "elsewhere", "elsewhere-renewed"}
        assert accepted(authority, folder, port) == everyone

    assert pki.revoke(authority, DEVICE, datetime.now(UTC), newest=False)
    assert not pki.revoke(authority, DEVICE, datetime.now(UTC), newest=False)
    with broker(authority, folder) as port:
        assert accepted(authority, folder, port) == everyone - {"first", "renewed"}

    assert pki.revoke(authority, other, datetime.now(UTC))
    with broker(authority, folder) as port:
        assert accepted(authority, folder, port) == {"rotated"}

    assert pki.revoke(authority, DEVICE, datetime.now(UTC))
    with broker(authority, folder) as port:
        assert accepted(authority, folder, port) == set()


def test_a_certificate_that_has_ended_leaves_the_list(authority):
    """The list does not grow for ever with certificates of three months."""
    for day in range(0, 400, 50):
        pki.issue(authority, DEVICE, public_key(), [], NOW + timedelta(days=day))
        pki.revoke(authority, DEVICE, NOW + timedelta(days=day), newest=False)

    crl = x509.load_pem_x509_crl((authority.folder / "ca.crl").read_bytes())
    assert len(authority.record()[DEVICE]) == 8
    assert len(list(crl)) == 1


def test_a_folder_of_an_earlier_version_is_known_by_its_newest_certificates(authority):
    """It had no record; a device of it is renewed for three months, and what it had is refused then."""
    public = public_key()
    pki.CLIENT_DAYS, ninety = 825, pki.CLIENT_DAYS
    pem, _ = pki.issue(authority, DEVICE, public, [], NOW)
    pki.CLIENT_DAYS = ninety
    (authority.folder / "issued.json").unlink()

    assert pki.issue(authority, DEVICE, public, [], NOW)[1]
    assert pki.revoke(authority, DEVICE, NOW, newest=False)

    old = x509.load_pem_x509_certificate(pem).serial_number
    assert authority.revoked() == {DEVICE: [old]}


def test_what_ends_within_two_weeks_is_told(authority):
    """Those that no run of the playbook reached; not what is refused anyway."""
    pki.issue(authority, DEVICE, public_key(), [], NOW)
    pki.issue(authority, "greenfield/room-102/cam-1", public_key(), [], NOW + timedelta(days=30))

    assert pki.ending(authority, NOW + timedelta(days=75)) == {}
    assert pki.ending(authority, NOW + timedelta(days=77)) == {DEVICE: f"{NOW + timedelta(days=90):%Y-%m-%d}"}
    pki.revoke(authority, DEVICE, NOW)
    assert pki.ending(authority, NOW + timedelta(days=77)) == {}


def test_rooms_that_are_issued_side_by_side_are_all_recorded(tmp_path):
    """As ansible does, from several processes."""
    command = [sys.executable, PROJECT / "ansible/pki.py", tmp_path / "pki", "issue"]
    names = [f"greenfield/room-{number}/cam-1" for number in range(8)]
    running = [
        subprocess.Popen([*command, name, "--now"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) for name in names
    ]
    for process in running:
        process.communicate(public_key())

    assert sorted(pki.open_authority(tmp_path / "pki", NOW)[0].record()) == names


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
