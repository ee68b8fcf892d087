"""One school for all tests of this folder that ask for it: three hosts, deployed from nothing."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fleet.figures import machine, table
from tests.fleet.fleet import ROOMS, Fleet, Played, build_release, draw_class
from tests.fleet.lab import Host, lab, missing, root_of

SUITES = {"hub": "bookworm", "north": "bookworm", "south": "trixie"}
"""Raspberry Pi OS is Debian: Python 3.11 and 3.13."""
BARE = {"pi12": "bookworm", "pi13": "trixie"}
"""Hosts that no playbook touches."""
CACHE = Path(os.environ.get("LAB_DIR", "/var/tmp/classpulse-lab"))
"""Debian's roots are kept here between runs."""
FIGURES = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Callable[[str, str], None]:
    """`tell(what, value)`: a line of the table at the end of the run."""
    rows = pytestconfig.stash.setdefault(FIGURES, [])
    return lambda what, value: rows.append((what, value))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what the tests have told."""
    rows = config.stash.get(FIGURES, [])
    if rows:
        terminalreporter.section(f"figures of {machine()}")
        terminalreporter.write_line("\n".join(table(rows)))


@pytest.fixture(scope="session")
def lab_folder() -> Iterator[Path]:
    """Of this run, beside Debian's roots."""
    why = missing()
    if why:
        pytest.skip(why)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=CACHE) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def hosts(lab_folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Host]]:
    """Hosts that have booted and nothing more; a fleet's where a chosen test has one."""
    fleet = any("empty_fleet" in getattr(item, "fixturenames", ()) for item in request.session.items)
    suites = BARE | (SUITES if fleet else {})
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda suite: root_of(suite, CACHE), set(suites.values())))
    with lab(lab_folder, CACHE, suites) as booted:
        yield booted


@pytest.fixture(scope="session")
def empty_fleet(lab_folder: Path, request: pytest.FixtureRequest, tell: Callable[[str, str], None]) -> Fleet:
    """A fleet's hosts as they booted, a signed release, a class for the file cameras."""
    started = time.monotonic()
    with ThreadPoolExecutor() as pool:
        building = pool.submit(build_release, lab_folder / "releases", lab_folder / "release.key")
        booted = request.getfixturevalue("hosts")  # while the release is built
        release = building.result()
    tell("building a release, and Debian's roots where they are not kept", f"{time.monotonic() - started:.0f} s")
    for host in ROOMS:
        draw_class(booted[host])
    return Fleet(lab_folder, {name: booted[name] for name in SUITES}, release)


@pytest.fixture(scope="session")
def first_deployment(empty_fleet: Fleet) -> Played:
    """The first run."""
    return empty_fleet.deploy()


@pytest.fixture(scope="session")
def fleet(empty_fleet: Fleet, first_deployment: Played) -> Fleet:
    """A school that is deployed and counts."""
    first_deployment.succeed()
    return empty_fleet
