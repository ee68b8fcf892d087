"""A command line of several commands: only one is imported, options stand before or behind, errors are one line."""

import dataclasses
import sys
import textwrap
from pathlib import Path

import pytest

from service import cli

MODULES = {
    "good": """
        def configure(parser): parser.add_argument("--times", type=int, default=1)
        def run(arguments): print(arguments.config, arguments.log_level, arguments.times); return arguments.times
    """,
    "bad": """
        def configure(parser): pass
        def run(arguments): raise FileNotFoundError("soup.toml: No such file")
    """,
    "faulty": """
        def configure(parser): pass
        def run(arguments): raise KeyError("a fault of the program")
    """,
    "poor": "import a_package_that_nobody_has",
}


@pytest.fixture
def program(tmp_path, monkeypatch) -> cli.Program:
    """A program of real modules."""
    for name, code in MODULES.items():
        (tmp_path / f"cli_{name}.py").write_text(textwrap.dedent(code))
        monkeypatch.delitem(sys.modules, f"cli_{name}", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return cli.Program(
        name="cook",
        description="Cook.",
        commands={name: (f"cli_{name}", f"be {name}") for name in MODULES},
        exit_status={OSError: 74},
        config=Path("/etc/cook.toml"),
        missing="buy it",
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--config", "a.toml", "--log-level", "ERROR", "good", "--times", "3"],
        ["good", "--times", "3", "--config", "a.toml", "--log-level", "error"],
    ],
)
def test_common_options_stand_before_a_command_or_behind_it(program, words, capsys):
    """And the command's status is the program's."""
    assert cli.main(program, words) == 3
    assert capsys.readouterr().out == "a.toml error 3\n"


def test_only_the_command_in_use_is_imported(program):
    """A daemon needs no web framework in memory."""
    cli.main(program, ["good"])

    assert "cli_good" in sys.modules
    assert "cli_bad" not in sys.modules


def test_an_error_that_the_user_can_act_on_is_one_line_and_its_status(program, capsys):
    """A subclass has its parent's status."""
    assert cli.main(program, ["bad"]) == 74
    assert capsys.readouterr().err == "cook bad: soup.toml: No such file\n"


def test_a_fault_of_the_program_keeps_its_traceback(program):
    """Nothing is hidden."""
    with pytest.raises(KeyError):
        cli.main(program, ["faulty"])


def test_a_package_that_is_not_installed_is_named(program, capsys):
    """With what to do."""
    assert cli.main(program, ["poor"]) == 1
    assert capsys.readouterr().err == "cook: a_package_that_nobody_has is not installed here: buy it\n"


def test_help_lists_every_command_and_a_mistyped_one_is_refused(program, capsys):
    """Without importing any."""
    with pytest.raises(SystemExit) as helped:
        cli.main(program, ["--help"])
    shown = capsys.readouterr().out
    with pytest.raises(SystemExit) as mistyped:
        cli.main(program, ["goood"])

    assert (helped.value.code, mistyped.value.code) == (0, 2)
    assert all(f"be {name}" in shown for name in MODULES)
    assert not {f"cli_{name}" for name in MODULES} & sys.modules.keys()


def test_a_default_command_takes_words_that_name_none(program, capsys):
    """`classpulse-convert MODEL.keras …` is `classpulse-convert model MODEL.keras …`."""
    with_default = dataclasses.replace(program, default="good")

    assert cli.main(with_default, ["--times", "2"]) == 2
    assert capsys.readouterr().out.endswith("info 2\n")
