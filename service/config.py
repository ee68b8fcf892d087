"""TOML files into frozen dataclasses: the constructor is the validator, an unknown or missing key is an error."""

import dataclasses
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be used; the text names the file, key and value."""


def load(path: Path, into: type[T]) -> T:
    """Read a TOML file; each table is a nested dataclass of `into`.

    Raises:
        ConfigError: If the file cannot be read, a key is unknown or missing, or a value has the wrong type or range.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return build(table, into, "")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def build(table: dict[str, Any], into: type[T], prefix: str) -> T:
    """A dataclass from a table; `prefix` is the table's name with a dot behind, for errors."""
    hints = typing.get_type_hints(into)
    fields = {field.name: field for field in dataclasses.fields(into)}  # type: ignore[arg-type]
    unknown = sorted(table.keys() - fields.keys())
    if unknown:
        raise ConfigError(f"unknown key {prefix}{unknown[0]}; known are {', '.join(fields)}")
    values = {name: _value(prefix + name, table[name], hints[name]) for name in table}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"missing key {prefix}{name}")
    try:
        return into(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{prefix.rstrip('.') or 'file'}: {error}") from error


def in_range(name: str, value: float, low: float, high: float) -> None:
    """For a dataclass's __post_init__: ValueError naming key and value unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(f"{name} = {value!r} is not from {low} to {high}")


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """For a dataclass's __post_init__: ValueError naming key and value unless it is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} = {value!r} is none of {', '.join(choices)}")


def _value(name: str, value: Any, hint: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ConfigError(f"{name} = {value!r} is not a table")
        return build(value, hint, f"{name}.")  # type: ignore[arg-type]
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _value(name, value, next(a for a in typing.get_args(hint) if a is not type(None)))
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{name} = {value!r} is not an array")
        inner = typing.get_args(hint)[0]
        return tuple(_value(f"{name}[{index}]", item, inner) for index, item in enumerate(value))
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{name} = {value!r} is not {_spoken(hint)}")
    return value


def _spoken(hint: Any) -> str:
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    return names.get(hint, str(hint))
