"""SHA256SUMS of a release folder, signed with Ed25519. `sha256sum --check` and `openssl pkeyutl` read them."""

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"


class ManifestError(ValueError):
    """A release that is not what was signed; the text names the file."""


def write_key(path: Path) -> None:
    """A new private key, readable by its owner alone; its public half beside it with the ending .pub."""
    key = Ed25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    public = key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)


def sign(folder: Path, key_file: Path) -> None:
    """Write SHA256SUMS of every file below `folder`, and its signature."""
    key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ManifestError(f"{key_file} is no Ed25519 key")
    lines = [f"{sha256(folder / name)}  {name}\n" for name in _names(folder)]
    (folder / SUMS).write_text("".join(lines))
    (folder / SIGNATURE).write_bytes(key.sign((folder / SUMS).read_bytes()))


def verify(folder: Path, public_file: Path) -> None:
    """Check signature and every file.

    Raises:
        ManifestError: If the signature is not of this key, or a file differs, is missing or was not signed.
    """
    key = serialization.load_pem_public_key(public_file.read_bytes())
    if not isinstance(key, Ed25519PublicKey):
        raise ManifestError(f"{public_file} is no Ed25519 key")
    sums = (folder / SUMS).read_bytes()
    try:
        key.verify((folder / SIGNATURE).read_bytes(), sums)
    except InvalidSignature:
        raise ManifestError(f"{folder / SUMS} is not signed with {public_file}") from None
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in sums.decode().splitlines())}
    if listed.keys() != set(_names(folder)):
        raise ManifestError(f"{min(listed.keys() ^ set(_names(folder)))} is only in the folder or only signed")
    for name, digest in listed.items():
        if sha256(folder / name) != digest:
            raise ManifestError(f"{name} is not the file that was signed")


def sha256(path: Path) -> str:
    """The file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _names(folder: Path) -> list[str]:
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in files if name not in (SUMS, SIGNATURE))
