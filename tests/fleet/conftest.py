"""One school for all tests of this folder that ask for it: three hosts, deployed from nothing."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.fleet import PICTURES, PROJECT, ROOMS, Fleet, Played, build_release
from tests.fleet.lab import call, lab, missing

SUITES = {"hub": "bookworm", "north": "bookworm", "south": "trixie"}
"""Raspberry Pi OS is Debian: Python 3.11 and 3.13."""
CACHE = Path(os.environ.get("LAB_DIR", "/var/tmp/classpulse-lab"))
"""Debian's roots are kept here between runs."""


@pytest.fixture(scope="session")
def empty_fleet() -> Iterator[Fleet]:
    """Hosts that have booted and nothing more, a signed release, a class for the file cameras."""
    why = missing()
    if why:
        pytest.skip(why)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=CACHE) as name:
        folder = Path(name)
        release = build_release(folder / "releases", folder / "release.key")
        with lab(folder, CACHE, SUITES) as hosts:
            for host in ROOMS:
                pictures = hosts[host].root / PICTURES.lstrip("/")
                call(PROJECT / ".venv/bin/python", "-m", "tests.fleet.pictures", pictures, cwd=PROJECT)
            yield Fleet(folder, hosts, release)


@pytest.fixture(scope="session")
def first_deployment(empty_fleet: Fleet) -> Played:
    """The first run of site.yml."""
    return empty_fleet.play("site.yml")


@pytest.fixture(scope="session")
def fleet(empty_fleet: Fleet, first_deployment: Played) -> Fleet:
    """A school that is deployed and counts."""
    first_deployment.succeed()
    return empty_fleet
