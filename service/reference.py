"""What a configuration file may hold, told from the dataclasses that read it: a commented file, and tables for docs."""

import ast
import dataclasses
import inspect
import itertools
import json
import re
import textwrap
import types
import typing
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from msgspec import Meta

import models

_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table."""

    name: str
    value: str
    """As TOML writes it: the default, or an example where the key is required; "" where the default is no value."""
    required: bool
    allowed: str
    """Such as "number, 0.01 to 120"."""
    meaning: str
    """Its docstring, as one line."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the file; its name is "" for the keys before the first."""

    name: str
    meaning: str
    optional: bool
    """Without the table, what it configures is not there."""
    keys: tuple[Key, ...]


def tables(into: type) -> Iterator[Table]:
    """The tables of the file that `into` is read from, and first the keys outside tables."""
    hints = typing.get_type_hints(into, include_extras=True)
    nested = {name: inner for name, hint in hints.items() if (inner := _dataclass_in(hint)) is not None}
    required = {field.name for field in dataclasses.fields(into) if _default(field) is dataclasses.MISSING}
    nested = dict(sorted(nested.items(), key=lambda item: item[0] not in required))
    yield Table("", "", optional=False, keys=tuple(_keys(into, nested)))
    for name, inner in nested.items():
        meaning = re.sub(r"^`\[\w+\]`[.:;] ?", "", _line(inspect.getdoc(inner) or ""))
        yield Table(name, meaning, optional=hints[name] is not inner, keys=tuple(_keys(inner)))


def commented(into: type, *, program: str) -> str:
    """A whole file: what is required with an example, all else as a comment with its default."""
    lines = [f"# The configuration of {program}. A line behind a # shows a default; take the # away to change it."]
    for table in tables(into):
        if table.name and table.keys:
            lines += ["", *_comment(table.meaning), f"{'#' if table.optional else ''}[{table.name}]"]
        for key in table.keys:
            off = "#" if table.optional or not key.required else ""
            told = " ".join(filter(None, [key.meaning, f"{key.allowed[0].upper()}{key.allowed[1:]}."]))
            lines += ["", *_comment(told), f"{off}{key.name} = {key.value}".rstrip()]
    return "\n".join(lines) + "\n"


def document(into: type) -> str:
    """The same as Markdown, a section for each table."""
    parts = []
    for table in tables(into):
        parts.append(f"### `[{table.name}]`\n" if table.name else "### Outside tables\n")
        if table.meaning:
            parts.append(f"{table.meaning}\n")
        rows = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
        for key in table.keys:
            default = (
                "required"
                if key.required
                else "none"
                if not key.value
                else "empty"
                if key.value == '""'
                else f"`{key.value}`"
            )
            cells = (f"`{key.name}`", default, key.allowed, key.meaning)
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _keys(into: Any, without: Container[str] = ()) -> Iterator[Key]:
    hints = typing.get_type_hints(into, include_extras=True)
    meanings = docstrings(into)
    for field in dataclasses.fields(into):
        if field.name in without:
            continue
        hint = hints[field.name]
        default = _default(field)
        required = default is dataclasses.MISSING
        value = next((examples[0] for examples in _meta(hint, "examples")), "") if required else default
        yield Key(field.name, _toml(value), required, _allowed(hint), meanings.get(field.name, ""))


def _default(field: "dataclasses.Field[Any]") -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def docstrings(into: type) -> dict[str, str]:
    """The string beneath each attribute."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(into))).body
    found = {}
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    for before, after in itertools.pairwise(body):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr):
            found[before.target.id] = _line(str(ast.literal_eval(after.value)))
    for base in into.__bases__:
        if dataclasses.is_dataclass(base):
            found = docstrings(base) | found
    return found


def _dataclass_in(hint: Any) -> type | None:
    kinds = (hint, *typing.get_args(hint))
    return next((kind for kind in kinds if isinstance(kind, type) and dataclasses.is_dataclass(kind)), None)


def _meta(hint: Any, name: str) -> list[Any]:
    values = [getattr(meta, name) for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, Meta)]
    return [value for value in values if value is not None]


def _allowed(hint: Any) -> str:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):  # with None
        hint = typing.get_args(hint)[0]
    kind = hint.__origin__ if hasattr(hint, "__metadata__") else hint
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(_toml(choice) for choice in typing.get_args(kind))
    if typing.get_origin(kind) is dict:
        return f"table of {_allowed(typing.get_args(kind)[1])}"
    if typing.get_origin(kind) is tuple:
        return "list of texts"
    low, high = (next(iter(_meta(hint, name)), None) for name in ("ge", "le"))
    return _KINDS[kind] + ("" if low is None else f", {low} to {high}")


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}"
    if value is None:
        return ""
    if not isinstance(value, int | float | list):
        value = str(value).replace(f"{models.FOLDER.parent}/", "")
    return json.dumps(value, ensure_ascii=False)


def _line(text: str) -> str:
    return " ".join(text.split())


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH)]
