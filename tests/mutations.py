"""Takes protections out of the code, one at a time, and sees whether a test fails: `make mutations`.

    .venv/bin/python -m tests.mutations [--only PATTERN] [--jobs 2]

mutations.toml lists them: what is protected, the text that does it, what takes its place, and the tests that should
notice. Each runs in a copy of the project; the checkout itself is never changed. Exit status 1 if fewer than 95 % are
caught, or if an entry no longer fits the code.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.needs import missing

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_suffix(".toml")
FLEET = "tests/fleet"
"""What is tested there needs the tools of .venv-fleet."""
LEAST = 0.95
"""Share of the protections that tests must hold."""
COMMANDS = ("chromium", "mosquitto", "mosquitto_sub", "openssl", "strace")
"""Of the system tests among them."""
_TIMEOUT_S, _ALL_S = 900.0, 3600.0
"""Of one mutation's tests, and of all of them."""
_PASSED, _FAILED, _ERROR = 0, 1, 2
"""Exit statuses of pytest; any other one says that it could not run the tests, as _ERROR does."""
_FAILURE = re.compile(r"^(FAILED|ERROR) tests/", re.MULTILINE)
"""In pytest's summary; Python without pytest has the same exit status as a test that fails."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One entry of the table."""

    protection: str
    file: str
    text: str
    """Occurs once in the file."""
    replacement: str
    tests: list[str]
    """Files, or names of single tests."""

    def apply(self, folder: Path) -> None:
        """Take the protection out of the copy in `folder`."""
        path = folder / self.file
        path.write_text(path.read_text().replace(self.text, self.replacement))

    def mistake(self) -> str:
        """Why the entry cannot be used; "" if it can."""
        path = ROOT / self.file
        found = path.read_text().count(self.text) if path.exists() else 0
        lost = [name for name in self.tests if not (ROOT / name.partition("::")[0]).exists()]
        if found != 1:
            return f"its text is {found} times in {self.file}, not once"
        return f"{lost[0]} does not exist" if lost else ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the tests did without the protection."""

    mutation: Mutation
    status: int
    output: str
    span_s: float

    def line(self) -> str:
        """For people."""
        word = {_PASSED: "MISSED", _FAILED: "caught"}.get(self.status, "ERROR")
        return f"{word}  {self.mutation.file}: {self.mutation.protection} ({self.span_s:.0f} s)"


def main() -> int:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="PATTERN", help="regular expression of file or protection")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    if lacking := missing(*COMMANDS):
        sys.exit(f"mutations: not installed: {lacking}")
    table = [Mutation(**entry) for entry in tomllib.loads(TABLE.read_text())["mutation"]]
    chosen = [each for each in table if re.search(arguments.only, f"{each.file}: {each.protection}")]
    mistakes = [f"{each.file}: {each.protection}: {why}" for each in chosen if (why := each.mistake())]
    if mistakes or not chosen:
        sys.exit("\n".join(mistakes) or "mutations: none is so called")
    with tempfile.TemporaryDirectory(prefix="classpulse-mutations-") as name:
        outcomes = list(run(chosen, Path(name), arguments.jobs))
    return report(outcomes)


def run(mutations: list[Mutation], folder: Path, jobs: int) -> Iterator[Outcome]:
    """The outcomes, as they come; the tests must pass with every protection in its place."""
    original = folder / "original"
    copy_project(original)
    tests = sorted({name for each in mutations for name in each.tests})
    print(f"{len(mutations)} protections; all of their tests first, with nothing taken out", flush=True)
    for fleet in (False, True):
        some = [name for name in tests if name.startswith(FLEET) is fleet]
        status, output = pytest(original, some, _ALL_S) if some else (_PASSED, "")
        if status != _PASSED:
            sys.exit(f"mutations: the tests fail as the code is\n{output}")

    def one(number: int, mutation: Mutation) -> Outcome:
        copy = folder / str(number)
        shutil.copytree(original, copy, symlinks=True)
        mutation.apply(copy)
        began = time.monotonic()
        status, output = pytest(copy, mutation.tests)
        shutil.rmtree(copy, ignore_errors=True)
        outcome = Outcome(mutation, status, output, time.monotonic() - began)
        print(outcome.line(), flush=True)
        return outcome

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, range(len(mutations)), mutations)


def copy_project(folder: Path) -> None:
    """All files that git tracks, or would, as they are now."""
    listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():  # not one that was deleted
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def pytest(folder: Path, tests: list[str], timeout_s: float = _TIMEOUT_S) -> tuple[int, str]:
    """Run them in a copy of the project until one fails; the exit status, and what was printed."""
    python = ROOT / ".venv-fleet/bin/python" if tests[0].startswith(FLEET) else sys.executable
    command = [python, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    ours = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=os.environ | ours, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        return _ERROR, f"no end after {timeout_s:.0f} s"
    output = done.stdout + done.stderr
    ran = done.returncode != _FAILED or _FAILURE.search(output)
    return done.returncode if ran else _ERROR, output


def report(outcomes: list[Outcome]) -> int:
    """Print what was missed and the total; the exit status."""
    failed = [each for each in outcomes if each.status not in (_PASSED, _FAILED)]
    for each in failed:
        print(f"\n{each.line()}\n{each.output[-2000:]}")
    missed = [each for each in outcomes if each.status == _PASSED]
    for each in missed:
        print(f"no test of {', '.join(each.mutation.tests)} notices: {each.mutation.protection}")
    caught = len(outcomes) - len(missed) - len(failed)
    print(f"{caught} of {len(outcomes)} caught ({caught / len(outcomes):.1%}; at least {LEAST:.0%} must be)")
    return 0 if not failed and caught >= LEAST * len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
