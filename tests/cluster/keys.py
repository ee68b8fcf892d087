"""A certificate authority for one run: what servers show and what workers trust. Needs openssl."""

import subprocess
from pathlib import Path

from tests.needs import need


def authority(folder: Path) -> Path:
    """A folder with ca.crt and, signed by it, .crt and .key of `server`, which is 127.0.0.1, and of `aggregator`."""
    need("openssl")
    folder.mkdir(parents=True)
    ca = folder / "ca.crt"
    _certificate(folder, "ca", "CA:TRUE")
    signed = ("-CA", ca, "-CAkey", folder / "ca.key")
    _certificate(folder, "server", "CA:FALSE", *signed, "-addext", "subjectAltName=IP:127.0.0.1")
    _certificate(folder, "aggregator", "CA:FALSE", *signed)
    return folder


def _certificate(folder: Path, name: str, kind: str, *more: str | Path) -> None:
    make = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    named = ("-days", "1", "-subj", f"/CN={folder.name} {name}", "-addext", f"basicConstraints=critical,{kind}")
    files = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt")
    subprocess.run((*make, *named, *files, *more), check=True, capture_output=True)
