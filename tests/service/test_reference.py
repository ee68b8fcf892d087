"""The commented configuration and its document: every key, as the daemons read it."""

import tomllib

import pytest

from aggregator.__main__ import main as aggregator
from aggregator.config import AggregatorConfig
from docs import configuration
from edge.__main__ import main as edge
from edge.config import EdgeConfig
from service.config import build
from service.reference import tables

PROGRAMS = [(edge, EdgeConfig), (aggregator, AggregatorConfig)]


@pytest.mark.parametrize(("command", "into"), PROGRAMS)
def test_the_example_is_a_configuration_with_every_default(command, into, capsys):
    """What `check --example` prints can be used as it is, and changes nothing that is not required."""
    assert command(["check", "--example"]) == 0

    printed = capsys.readouterr().out
    required = {
        table.name: {key.name: tomllib.loads(f"x = {key.value}")["x"] for key in table.keys if key.required}
        for table in tables(into)
        if table.name and not table.optional
    }
    outside = {key.name: tomllib.loads(f"x = {key.value}")["x"] for key in next(tables(into)).keys if key.required}
    assert build(tomllib.loads(printed), into) == build(outside | required, into)


@pytest.mark.parametrize(("command", "into"), PROGRAMS)
def test_the_defaults_that_are_shown_are_the_defaults(command, into, capsys):
    """A line whose # is taken away changes nothing, either."""
    command(["check", "--example"])
    printed = capsys.readouterr().out
    optional = [f"#[{table.name}]" for table in tables(into) if table.optional]
    lines, inside = [], True
    for line in printed.splitlines():
        if line.startswith(("[", "#[")):
            inside = line not in optional
        shown = line.removeprefix("#") if inside and not line.startswith("# ") else line
        lines.append("" if shown.endswith((' = ""', " =")) or shown.startswith("model") else shown)

    assert build(tomllib.loads("\n".join(lines)), into) == build(tomllib.loads(printed), into)


@pytest.mark.parametrize("into", [EdgeConfig, AggregatorConfig])
def test_every_key_is_explained(into):
    """A sentence stands beneath each field."""
    assert [(table.name, key.name) for table in tables(into) for key in table.keys if not key.meaning] == []


def test_the_document_is_not_stale():
    """docs/configuration.md is what the classes say today."""
    assert configuration.PATH.read_text() == configuration.text(), "run `make docs`"
