"""Whom a client trusts and what it shows a server: files of one folder, which systemd calls credentials."""

import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

TOLD_DAYS = 14
"""A certificate that ends sooner is told; any run of site.yml renews it long before."""


def client_context(credentials: Path, name: str) -> ssl.SSLContext:
    """Trust in ca.crt of the folder alone, not in the system's store, with `name`.crt and `name`.key if present.

    Raises:
        OSError: Naming the file that is missing or not what it should be.
    """
    authority, certificate, key = (credentials / file for file in ("ca.crt", f"{name}.crt", f"{name}.key"))
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise OSError(f"{authority}: {error.strerror or error}") from error
    if certificate.exists():
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            raise OSError(f"{certificate} with {key}: {error.strerror or error}") from error
    return context


def certificate_end(path: Path) -> datetime | None:
    """When the certificate of a file ends; None without such a file.

    Raises:
        OSError: If the file is no certificate, or openssl, which reads it, is not installed.
    """
    if not path.exists():
        return None
    command = ["openssl", "x509", "-noout", "-enddate", "-in", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    if done.returncode:
        raise OSError(f"{path} is no certificate")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(done.stdout.strip().partition("=")[2]), UTC)


def read_password(path: Path) -> str:
    """The word in a file of the credentials.

    Raises:
        OSError: Naming the file, if it cannot be read.
    """
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OSError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
