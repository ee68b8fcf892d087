"""Commands that README and docs name are there: make's targets, our programs' commands, modules; README's are run."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aggregator.__main__ import PROGRAM as AGGREGATOR
from edge.__main__ import PROGRAM as EDGE
from tests import yunet

ROOT = Path(__file__).parents[1]
DOCUMENTS = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}
TEXT = "\n".join(DOCUMENTS.values())
CODE = "\n".join(re.findall(r"`[^`\n]+`|^    .*$", TEXT, re.MULTILINE))
"""What stands in backticks or is indented."""

PROGRAMS = r"(?:sudo|make|python|mosquitto_sub|classpulse[a-z-]*) [^`\n]+"
RUN_HERE = {
    "make help": "make help",
    "classpulse-edge annotate PICTURE --out DIR": "classpulse-edge annotate docs/page.png --out DIR",
    "classpulse-edge bench": "classpulse-edge bench --frames 3",
}
"""README's command -> what a test runs, DIR being a new folder."""
RUN_ELSEWHERE = {
    "sudo apt-get install python3-venv make git": ("tests/install/test_bare_systems.py", "python3-venv,make,git"),
    "make run": ("tests/install/test_bare_systems.py", "make run SECONDS=20"),
    "make test": ("tests/install/test_bare_systems.py", '"make test"'),
    "mosquitto_sub -p PORT -v -t 'classpulse/#'": ("Makefile", "mosquitto_sub -h"),
    "make deb": ("tests/fleet/fleet.py", '"-m", "release.debian"'),
    "sudo apt install ./classpulse_0.1.0+deb13_arm64.deb": ("tests/fleet/test_debian.py", "apt-get install"),
    "classpulse setup": ("tests/fleet/test_debian.py", "classpulse setup {options}"),
    "sudo classpulse setup": ("tests/fleet/test_debian.py", "classpulse setup {options}"),
    "sudo classpulse status": ("tests/fleet/test_debian.py", '"classpulse status"'),
    "make release": ("tests/fleet/fleet.py", '"-m", "release"'),
    "make deploy INVENTORY=…": ("tests/fleet/test_fleet.py", "first_deployment"),
    "make test-fleet": (".ci/run", "make test-fleet"),
    "make models": ("Makefile", ".venv-litert/.ready models"),
    "make train DATA=fer2013.zip TARGETS=models/soft_labels.npz": ("tests/train/test_recipe.py", 'make("train"'),
    "make convert DATA=fer2013.zip": ("tests/train/test_recipe.py", 'make("convert"'),
    "make promote": ("tests/convert/test_promote.py", "promote"),
    "classpulse-edge check": ("tests/edge/test_check.py", '"check"'),
    "classpulse-edge preview": ("tests/edge/test_main.py", '["preview", "--port", "0"]'),
    "classpulse-aggregator page": ("tests/system/test_page.py", '"page"'),
    "classpulse-aggregator report --room SITE/ROOM --from … --to …": ("tests/system/test_page.py", '"report"'),
}
"""README's command -> the file that runs it, and what stands there: it wants root, a network or time."""
MEASURES = r"make (?:bench|soak|verify)|python -m (?:benchmarks|convert conditions)"
"""Commands of README's figures: they run for minutes, some with data that the project may not hold."""


def readmes() -> set[str]:
    """Every command in README's code."""
    found = re.findall(rf"(?:^    |`|&& )({PROGRAMS})", DOCUMENTS["README.md"].replace(" && ", "\n    "), re.MULTILINE)
    return {command.strip() for command in found}


def test_every_command_of_the_readme_is_run_by_a_test_or_measures():
    """A new one belongs into one of the tables above; one that README has no more, out of it."""
    known = {*RUN_HERE, *RUN_ELSEWHERE}

    assert {command for command in readmes() if not re.match(MEASURES, command)} == known
    missing = {name: words for name, (file, words) in RUN_ELSEWHERE.items() if words not in (ROOT / file).read_text()}
    assert missing == {}


@pytest.mark.parametrize("command", RUN_HERE)
def test_a_command_of_the_readme_runs_as_it_is_written(command, tmp_path):
    """From the clone, with this environment's programs; what is in capitals is the user's."""
    if command.startswith("classpulse-edge") and not (ROOT / "models/yunet.tflite").exists():
        pytest.skip(yunet.MISSING)
    line = RUN_HERE[command].replace("DIR", str(tmp_path))
    settings = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    ended = subprocess.run(["/bin/sh", "-c", line], cwd=ROOT, env=settings, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_make_target_that_is_named_exists():
    """Make says what it would do, which fails for a target that is not there."""
    targets = set(re.findall(r"(?:^ {4}|`|&& )make ([a-z][a-z-]+)", CODE, re.MULTILINE))
    assert {"run", "test", "help"} <= targets

    command = ("make", "-C", ROOT, "INVENTORY=x", "-n")
    ended = {name: subprocess.run([*command, name], capture_output=True, check=False) for name in targets}

    assert [name for name, process in ended.items() if process.returncode] == []


@pytest.mark.parametrize("program", [EDGE, AGGREGATOR], ids=lambda program: program.name)
def test_every_command_that_is_named_exists(program):
    """A command that was renamed is renamed in the documents, too."""
    named = set(re.findall(rf"\b{program.name}(?: --[a-z-]+ [^ `]+)* ([a-z]+)", CODE))

    assert named
    assert named <= set(program.commands)


def test_every_module_that_is_named_exists():
    """`python -m` finds it in a clone."""
    named = set(re.findall(r"python -m ([a-z_.]+)", CODE)) - {"pip", "venv", "pytest"}

    assert named
    assert [name for name in named if importlib.util.find_spec(name) is None] == []


def test_every_file_that_is_linked_exists():
    """A link that leads nowhere is found here."""
    links = [(name, link) for name, text in DOCUMENTS.items() for link in re.findall(r"\]\(([^)#:]+)\)", text)]

    assert [(name, link) for name, link in links if not (ROOT / name).parent.joinpath(link).exists()] == []
