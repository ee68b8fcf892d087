"""What `make size` counts."""

from benchmarks.size import code_lines

SOURCE = b'''"""A module.

Of two lines."""

# a comment
import os  # and code


class Thing:
    """What it is."""

    name: str = os.name
    """An attribute."""
    text = """not a
    docstring"""
'''


def test_only_code_is_counted():
    """The import, the class, and the three lines of its attributes."""
    assert code_lines(SOURCE) == 5
