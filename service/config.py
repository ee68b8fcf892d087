"""TOML files into frozen dataclasses, annotated with what is allowed. All mistakes of a file are told at once."""

import dataclasses
import json
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")
Port = Annotated[int, Meta(ge=1, le=65535)]
NonEmpty = Annotated[str, Meta(min_length=1)]


class ConfigError(ValueError):
    """A configuration that cannot be used; the text names the file, keys and values."""


def load(path: Path, into: type[T]) -> T:
    """Read a TOML file; each table is a nested dataclass of `into`.

    Raises:
        ConfigError: If the file cannot be read, keys are unknown or missing, or values have the wrong type or range.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return build(table, into)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def build(table: Mapping[str, Any], into: type[T]) -> T:
    """A dataclass from a table.

    Raises:
        ConfigError: As `load`, without the file's name.
    """
    mistakes: list[str] = []
    made = _dataclass(table, into, "", mistakes)
    if made is None or mistakes:
        raise ConfigError("; ".join(mistakes))
    return made


def dump(table: Mapping[str, Any]) -> str:
    """The TOML of a table and of tables in it, one level deep. JSON's texts, numbers and lists are TOML's, too."""
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    nested = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    parts = [_keys(plain), *(f"[{name}]\n{_keys(inner)}" for name, inner in nested.items())]
    return "\n".join(part for part in parts if part)


def _keys(table: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in table.items())


def _dataclass(table: Any, into: type[T], prefix: str, mistakes: list[str]) -> T | None:
    """None if there are mistakes, which are appended; `prefix` is the table's name with a dot behind."""
    before = len(mistakes)
    hints = typing.get_type_hints(into, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(into)}  # type: ignore[arg-type]
    unknown = sorted(table.keys() - fields.keys())
    mistakes.extend(f"unknown key {prefix}{name}; known are {', '.join(fields)}" for name in unknown)
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in table:
            mistakes.append(f"missing key {prefix}{name}")
    values = {
        name: _value(value, hints[name], prefix + name, mistakes) for name, value in table.items() if name in fields
    }
    if len(mistakes) > before:
        return None
    try:
        return into(**values)
    except ValueError as error:  # what one field alone cannot tell
        mistakes.append(f"{prefix.rstrip('.') or 'file'}: {error}")
        return None


def _value(value: Any, hint: Any, name: str, mistakes: list[str]) -> Any:
    kinds = [kind for kind in typing.get_args(hint) if dataclasses.is_dataclass(kind)] or [hint]
    if dataclasses.is_dataclass(kinds[0]):
        if isinstance(value, dict):
            return _dataclass(value, kinds[0], f"{name}.", mistakes)  # type: ignore[arg-type]
        mistakes.append(f"{name} = {value!r}: expected a table")
        return None
    try:
        return msgspec.convert(value, hint, dec_hook=_from_text)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        choices = f", known are {', '.join(typing.get_args(hint))}" if typing.get_origin(hint) is Literal else ""
        mistakes.append(f"{name}{place.rstrip('`')} = {value!r}: {text[0].lower()}{text[1:]}{choices}")
        return None


def _from_text(kind: type, value: Any) -> Any:
    """Paths, which TOML has none of."""
    if not isinstance(value, str):
        raise TypeError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")
    return kind(value)
