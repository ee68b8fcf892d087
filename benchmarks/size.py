"""Lines of code and files of every folder beside their budgets, and modules that import each other in a circle.

`make size`. A line of code is one that has more than a comment, a docstring or blanks. Exit status 1 if a budget is
exceeded or there is a circle.
"""

import ast
import io
import sys
import tokenize
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PACKAGES = ("contract", "service", "edge", "aggregator", "host", "train", "convert", "release", "demo", "benchmarks")
_LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that `folder` may have, or one file; docs/adr/0009 says where the figures come from."""

    name: str
    folder: str
    lines: int
    files: int | None = None
    without: str | None = None
    """A folder inside that is not counted."""


BUDGETS = (
    Budget("the daemon: edge without commands", "edge", 2040, files=24, without="edge/commands"),
    Budget("edge", "edge", 2840),
    Budget("edge/uplink", "edge/uplink", 800),
    Budget("contract/message.py", "contract/message.py", 170),
    Budget("aggregator", "aggregator", 5550),
)


def code_lines(source: bytes) -> int:
    """How many lines of a module are code."""
    strings = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr))
    docs = {
        line
        for text in strings
        if isinstance(text, ast.Constant) and isinstance(text.value, str)
        for line in range(text.lineno, (text.end_lineno or text.lineno) + 1)
    }
    tokens = tokenize.tokenize(io.BytesIO(source).readline)
    used = {line for token in tokens if token.type not in _LAYOUT for line in range(token.start[0], token.end[0] + 1)}
    return len(used - docs)


def circle() -> list[str]:
    """Modules of which each imports the next and the last is the first; empty where there is no such circle."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found[::-1]  # graphlib names what is needed before who needs it
    return []


def main() -> int:
    """Measure and print."""
    files = {
        path.relative_to(ROOT).as_posix(): code_lines(path.read_bytes())
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    folders = {parent.as_posix() for name in files for parent in Path(name).parents if parent.name}
    for folder in sorted(folders):
        inside = [lines for name, lines in files.items() if name.startswith(f"{folder}/")]
        print(f"{folder:24} {sum(inside):6,} lines {len(inside):4} files")
    print()
    failed = False
    for budget in BUDGETS:
        names = [name for name in files if within(name, budget.folder) and not within(name, budget.without)]
        failed |= tell(budget, sum(files[name] for name in names), len(names))
    found = circle()
    print(f"circle of imports: {' -> '.join(found) or 'none'}")
    return 1 if failed or found else 0


def within(name: str, folder: str | None) -> bool:
    """Whether a file lies in a folder, or is it."""
    return folder is not None and (name == folder or name.startswith(f"{folder}/"))


def tell(budget: Budget, lines: int, files: int) -> bool:
    """Print one line; whether the budget is exceeded."""
    exceeded = lines > budget.lines or (budget.files is not None and files > budget.files)
    most = f"{budget.lines:,} lines" + (f" in {budget.files} files" if budget.files else "")
    print(f"{budget.name}: {lines:,} lines in {files} files, of {most}{': TOO MUCH' if exceeded else ''}")
    return exceeded


if __name__ == "__main__":
    sys.exit(main())
