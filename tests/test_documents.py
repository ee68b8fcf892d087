"""Commands that README and docs name are there: make's targets, our programs' commands, modules that are run."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from aggregator.__main__ import PROGRAM as AGGREGATOR
from edge.__main__ import PROGRAM as EDGE

ROOT = Path(__file__).parents[1]
DOCUMENTS = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}
TEXT = "\n".join(DOCUMENTS.values())
CODE = "\n".join(re.findall(r"`[^`\n]+`|^    .*$", TEXT, re.MULTILINE))
"""What stands in backticks or is indented."""


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
