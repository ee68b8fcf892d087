"""Get YuNet's file, which this repository does not hold: `python models/download.py`. Standard library only."""

import argparse
import hashlib
import http.client
import os
import sys
import tempfile
import urllib.request
from pathlib import Path

NAME = "yunet_n_640_640.onnx"
SHA256 = "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31"
SOURCE = (
    "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/0047ac24afb1a50a0c6105001c89d1b5b805dbf1/onnx/"
)
"""The public repository at a pinned commit; Apache-2.0."""
MAX_BYTES = 16 * 2**20
"""The file has 0.1 MB; a mirror that sends more sends something else."""
_TIMEOUT_S = 30


class DownloadError(RuntimeError):
    """A file that could not be had, or is another than the one known; the text names it."""


def read(mirror: str) -> tuple[str, bytes]:
    """Where the file was read and its bytes, from `mirror`: a folder, or a URL that begins with http.

    Raises:
        DownloadError: If it cannot be read.
    """
    if mirror.startswith(("http://", "https://")):
        place = f"{mirror.rstrip('/')}/{NAME}"
        try:
            with urllib.request.urlopen(place, timeout=_TIMEOUT_S) as response:  # noqa: S310  http(s) as seen above
                return place, response.read(MAX_BYTES + 1)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise DownloadError(f"{place}: {error}") from error
    path = Path(mirror, NAME)
    try:
        return str(path), path.read_bytes()
    except OSError as error:
        raise DownloadError(f"{path}: {error.strerror}") from error


def check(place: str, data: bytes) -> None:
    """Pass only the file that is known.

    Raises:
        DownloadError: If it is another.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise DownloadError(f"{place}: its SHA-256 is {found}, not {SHA256}")


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        DownloadError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            whole = Path(folder, path.name)
            whole.write_bytes(data)
            whole.replace(path)
    except OSError as error:
        raise DownloadError(f"{path}: {error.strerror}") from error


def have(path: Path) -> bool:
    """Whether the right file is there already."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256


def main() -> int:
    """0 if the file is there in the end, else 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, help="folder for the file (default: %(default)s)"
    )
    path = parser.parse_args().out / NAME
    try:
        if not have(path):
            place, data = read(os.environ.get("CLASSPULSE_MODEL_MIRROR") or SOURCE)
            check(place, data)
            write(path, data)
    except DownloadError as error:
        print(
            f"models/download.py: {error}\n"
            f"set CLASSPULSE_MODEL_MIRROR to a folder or URL that holds {NAME}, "
            'or set [detector] name = "haar", which needs no file and sees the front row at most',
            file=sys.stderr,
        )
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
