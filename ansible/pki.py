"""The fleet's own certificate authority, in one folder on the controller; private keys of hosts never come here.

    pki.py FOLDER authority
    pki.py FOLDER issue NAME [--server HOST ...] [--reinstate]   the public key (PEM) on standard input
    pki.py FOLDER revoke NAME
    pki.py FOLDER password USER     one made here; with it the line of mosquitto's password file

Each prints one JSON object: whether anything changed, and what was asked for. A second run changes nothing.
"""

import argparse
import base64
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
IDENTITY_DAYS = 825
RENEW_DAYS = 275
"""With less left, a certificate is issued anew: a third of its life."""
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

    def refuses(self, name: str) -> bool:
        """Whether the newest certificate of `name` is revoked."""
        path = self.issued(name)
        serials = self.revoked().get(name, [])
        return path.exists() and x509.load_pem_x509_certificate(path.read_bytes()).serial_number in serials


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
    pem = _sign(authority, name, key, servers, now).public_bytes(serialization.Encoding.PEM)
    _write(path, pem)
    return pem, True


def revoke(authority: Authority, name: str, now: datetime) -> bool:
    """Refuse the newest certificate of `name` from now on; False if it already was.

    Raises:
        PkiError: If it never had one.
    """
    path = authority.issued(name)
    if not path.exists():
        raise PkiError(f"no certificate was issued to {name}")
    if authority.refuses(name):
        return False
    revoked = authority.revoked()
    serial = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
    revoked.setdefault(name, []).append(serial)
    _write(authority.folder / "revoked.json", json.dumps(revoked, indent=1).encode())
    _write_crl(authority, now)
    return True


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
        .not_valid_after(now + timedelta(days=IDENTITY_DAYS))
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
    for serial in sorted(serial for serials in authority.revoked().values() for serial in serials):
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


def _fresh(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_after_utc - now > timedelta(days=RENEW_DAYS)


def _write(path: Path, content: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)


def _answer(arguments: argparse.Namespace, now: datetime) -> dict[str, object]:
    authority, made = open_authority(arguments.folder, now)
    if arguments.what == "authority":
        return {"changed": made}
    if arguments.what == "revoke":
        return {"changed": revoke(authority, arguments.name, now)}
    if arguments.what == "password":
        secret, line, made = password(arguments.folder, arguments.name)
        return {"changed": made, "password": secret, "line": line}
    if authority.refuses(arguments.name) and not arguments.reinstate:
        raise PkiError(f"{arguments.name} is revoked: take it out of the inventory, or reinstate it with a new key")
    pem, changed = issue(authority, arguments.name, sys.stdin.buffer.read(), arguments.server, now)
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
    commands.add_parser("revoke").add_argument("name")
    commands.add_parser("password").add_argument("name")
    arguments = parser.parse_args()
    try:
        print(json.dumps(_answer(arguments, datetime.now(UTC))))
    except PkiError as error:
        print(f"pki: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
