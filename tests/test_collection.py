"""What one test lacks never stops the others."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent


def test_no_test_module_is_imported_by_another():
    """One that skips as a whole would be half a module for its importer, and pytest would run nothing at all."""
    imported = []
    for file in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                imported += [f"{file.name}: {name}" for name in names if ".test_" in name]

    assert not imported


def test_a_missing_command_skips_a_test_and_not_a_file():
    """It is looked for when the test or its fixture runs: see needs.py."""
    files = [file for file in TESTS.rglob("*.py") if file != Path(__file__)]

    assert not [file.name for file in files if "allow_module_level" in file.read_text()]
