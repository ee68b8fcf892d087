"""The fleet's own certificate authority, in one folder on the controller; private keys of hosts never come here.

    pki.py FOLDER authority
    pki.py FOLDER issue NAME [--server HOST ...] [--reinstate] [--now]   the public key (PEM) on standard input
    pki.py FOLDER replaced NAME     refuse every certificate of NAME but its newest; `issue --now` does so at once
    pki.py FOLDER revoke NAME       refuse every certificate that NAME ever got
    pki.py FOLDER ending            whose newest certificate ends within two weeks
    pki.py FOLDER password USER     one made here; with it the line of mosquitto's password file

Each prints one JSON object: whether anything changed, and what was asked for. A second run changes nothing.
"""

import argparse
import base64
import fcntl
import hashlib
import ipaddress
import json
import os
import secrets
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
SERVER_DAYS = 825
CLIENT_DAYS = 90
"""A third of its life before its end a certificate is issued anew."""
TOLD_DAYS = 14
_ROUNDS = 10_000
_BACKDATED = timedelta(hours=25)
"""A Pi without a battery clock may be behind when it first connects."""


class PkiError(ValueError):
    """What cannot be done; the text says why."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs; ca.key, ca.crt and ca.crl in `folder`, certificates in `folder`/issued."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def issued(self, name: str) -> Path:
        """The file of `name`'s newest certificate; a dot is in no id, so names keep apart."""
        return self.folder / "issued" / f"{name.replace('/', '.')}.crt"

    def revoked(self) -> dict[str, list[int]]:
        """Name -> serial numbers that are refused."""
        path = self.folder / "revoked.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def record(self) -> dict[str, dict[str, str]]:
        """Name -> serial number of each certificate that it ever got -> its end, ISO 8601."""
        path = self.folder / "issued.json"
        if path.exists():
            return json.loads(path.read_text())
        # earlier versions kept the newest of each name, and no record
        files = sorted((self.folder / "issued").glob("*.crt"))
        newest = [x509.load_pem_x509_certificate(path.read_bytes()) for path in files]
        return {_name(one): {str(one.serial_number): one.not_valid_after_utc.isoformat()} for one in newest}

    def newest(self, name: str) -> x509.Certificate | None:
        """The certificate of `name` that was issued last."""
        path = self.issued(name)
        return x509.load_pem_x509_certificate(path.read_bytes()) if path.exists() else None

    def refuses(self, name: str) -> bool:
        """Whether the newest certificate of `name` is revoked."""
        newest = self.newest(name)
        return newest is not None and newest.serial_number in self.revoked().get(name, [])


def open_authority(folder: Path, now: datetime) -> tuple[Authority, bool]:
    """The authority, made if there is none; and whether it was made."""
    made = not (folder / "ca.key").exists()
    if made:
        (folder / "issued").mkdir(parents=True, mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        _create(folder, now)
    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(f"{folder}/ca.key is no elliptic curve key")
    authority = Authority(folder, key, certificate)
    if not (folder / "ca.crl").exists():
        _write_crl(authority, now)
    return authority, made


def issue(authority: Authority, name: str, public: bytes, servers: list[str], now: datetime) -> tuple[bytes, bool]:
    """The certificate of `name` for its public key, and whether it is a new one.

    Raises:
        PkiError: If the name is too long for a certificate, or the key is the one that was revoked.
    """
    path = authority.issued(name)
    key = serialization.load_pem_public_key(public)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise PkiError(f"the public key of {name} is no elliptic curve key")
    if path.exists():
        old = x509.load_pem_x509_certificate(path.read_bytes())
        if old.public_key() == key and authority.refuses(name):
            raise PkiError(f"{name} is revoked with this key: it needs a new one")
        if old.public_key() == key and _servers(old) == servers and _fresh(old, now):
            return path.read_bytes(), False
    signed = _sign(authority, name, key, servers, now)
    record = authority.record()
    record.setdefault(name, {})[str(signed.serial_number)] = signed.not_valid_after_utc.isoformat()
    _write(authority.folder / "issued.json", json.dumps(record, indent=1).encode())  # first: what is out is known
    pem = signed.public_bytes(serialization.Encoding.PEM)
    _write(path, pem)
    return pem, True


def revoke(authority: Authority, name: str, now: datetime, *, newest: bool = True) -> bool:
    """Refuse every certificate that `name` ever got, or all but its newest; False if each already was.

    Raises:
        PkiError: If it never had one.
    """
    record, last = authority.record().get(name, {}), authority.newest(name)
    if last is None:
        raise PkiError(f"no certificate was issued to {name}")
    revoked = authority.revoked()
    kept = set() if newest else {last.serial_number}
    more = sorted({*map(int, record)} - kept - {*revoked.get(name, [])})
    if more:
        revoked[name] = revoked.get(name, []) + more
        _write(authority.folder / "revoked.json", json.dumps(revoked, indent=1).encode())
        _write_crl(authority, now)
    return bool(more)


def ending(authority: Authority, now: datetime) -> dict[str, str]:
    """Name -> when its newest certificate ends, where that is within two weeks; not those that are refused."""
    ends = {name: max(map(datetime.fromisoformat, record.values())) for name, record in authority.record().items()}
    soon = now + timedelta(days=TOLD_DAYS)
    return {name: f"{end:%Y-%m-%d}" for name, end in sorted(ends.items()) if end < soon and not authority.refuses(name)}


def password(folder: Path, user: str) -> tuple[str, str, bool]:
    """A user's password, its line for mosquitto's password file, and whether it was made now."""
    path = folder / f"{user}.password"
    made = not path.exists()
    if made:
        secret, salt = secrets.token_urlsafe(24), secrets.token_bytes(12)
        digest = hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, _ROUNDS)
        line = f"{user}:$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
        _write(path, f"{secret}\n{line}\n".encode())
    secret, line = path.read_text().splitlines()
    return secret, line, made


def _create(folder: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "classpulse fleet")])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(folder / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM))
    _write(folder / "ca.key", pem)


def _sign(
    authority: Authority, name: str, key: CertificateIssuerPublicKeyTypes, servers: list[str], now: datetime
) -> x509.Certificate:
    try:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError as error:
        raise PkiError(f"{name} is longer than the 64 characters that a certificate can name") from error
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if servers else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=SERVER_DAYS if servers else CLIENT_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if servers:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_host(server) for server in servers]), critical=False
        )
    return builder.sign(authority.key, hashes.SHA256())


def _write_crl(authority: Authority, now: datetime) -> None:
    # As long as the authority itself: a list that runs out would lock every room out.
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - _BACKDATED)
        .next_update(authority.certificate.not_valid_after_utc)
    )
    ends = {int(serial): end for record in authority.record().values() for serial, end in record.items()}
    serials = {serial for serials in authority.revoked().values() for serial in serials}
    for serial in sorted(serials):
        if serial in ends and datetime.fromisoformat(ends[serial]) < now - _BACKDATED:
            continue  # nobody takes it any more
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        builder = builder.add_revoked_certificate(entry)
    crl = builder.sign(authority.key, hashes.SHA256())
    _write(authority.folder / "ca.crl", crl.public_bytes(serialization.Encoding.PEM))


def _host(server: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(server))
    except ValueError:
        return x509.DNSName(server)


def _servers(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def _name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _fresh(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether it is in the first two thirds of its life, and that is no longer than a new one's."""
    life = timedelta(days=SERVER_DAYS if _servers(certificate) else CLIENT_DAYS)
    return life / 3 < certificate.not_valid_after_utc - now <= life


def _write(path: Path, content: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)


def _answer(arguments: argparse.Namespace, public: bytes, now: datetime) -> dict[str, object]:
    authority, made = open_authority(arguments.folder, now)
    if arguments.what == "authority":
        return {"changed": made}
    if arguments.what in ("revoke", "replaced"):
        return {"changed": revoke(authority, arguments.name, now, newest=arguments.what == "revoke")}
    if arguments.what == "ending":
        return {"changed": False, "ending": ending(authority, now)}
    if arguments.what == "password":
        secret, line, made = password(arguments.folder, arguments.name)
        return {"changed": made, "password": secret, "line": line}
    if authority.refuses(arguments.name) and not arguments.reinstate:
        raise PkiError(f"{arguments.name} is revoked: take it out of the inventory, or reinstate it with a new key")
    pem, changed = issue(authority, arguments.name, public, arguments.server, now)
    if arguments.now:
        revoke(authority, arguments.name, now, newest=False)
    return {"changed": changed, "certificate": pem.decode()}


def main() -> int:
    """Do one thing and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("authority")
    issuing = commands.add_parser("issue")
    issuing.add_argument("name")
    issuing.add_argument("--server", action="append", default=[])
    issuing.add_argument("--reinstate", action="store_true")
    issuing.add_argument(
        "--now", action="store_true", help="refuse the certificates that it replaces, before it is used"
    )
    commands.add_parser("ending")
    for what in ("revoke", "replaced", "password"):
        commands.add_parser(what).add_argument("name")
    arguments = parser.parse_args()
    public = sys.stdin.buffer.read() if arguments.what == "issue" else b""  # before the lock: it may come late
    try:
        arguments.folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        with (arguments.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # rooms are installed side by side
            print(json.dumps(_answer(arguments, public, datetime.now(UTC))))
    except PkiError as error:
        print(f"pki: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
