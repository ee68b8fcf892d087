"""SHA256SUMS of a release folder, signed with Ed25519. `sha256sum --check` and `openssl pkeyutl` read them."""

import hashlib
import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from release.verify import SIGNATURE, SUMS, ReleaseError, files


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
    """Write SHA256SUMS of every file below `folder`, and its signature; `release.verify` is the other half.

    Raises:
        ReleaseError: If the key is no Ed25519 key, or a link is in the folder.
    """
    key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ReleaseError(f"{key_file} is no Ed25519 key")
    lines = [f"{sha256(folder / name)}  {name}\n" for name in sorted(files(folder) - {SUMS, SIGNATURE})]
    (folder / SUMS).write_text("".join(lines))
    (folder / SIGNATURE).write_bytes(key.sign((folder / SUMS).read_bytes()))


def sha256(path: Path) -> str:
    """The file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
