"""What every payload of protocol v1 is checked with. MessageError is the only error, whatever the bytes."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

from contract.message import HORIZON_S, MAX_BYTES, SCHEMA, MessageError, instant, utc

__all__ = ["HORIZON_S", "MAX_BYTES", "SCHEMA", "MessageError", "instant", "utc"]

_HEX8 = re.compile(r"[0-9a-f]{8}")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_MAX_COUNT = 2**53
"""What JSON's numbers carry exactly in every language."""


def compact(fields: object) -> bytes:
    """JSON without spaces, UTF-8; the same fields in the same order always give the same bytes."""
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def read_object(payload: bytes) -> dict[str, Any]:
    """The JSON object that a payload holds."""
    if not payload:
        raise MessageError("empty", "no payload")
    if len(payload) > MAX_BYTES:
        raise MessageError("huge", f"{len(payload)} bytes, above {MAX_BYTES}")
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise MessageError("encoding", str(error)) from None
    try:
        fields = _DECODER.decode(text)
        if "\\u" in text:
            compact(fields)  # an escape can make half a surrogate pair, which nothing can write again
    except (ValueError, RecursionError) as error:
        raise MessageError("json", str(error)) from None
    if not isinstance(fields, dict):
        raise MessageError("json", f"a {type(fields).__name__}, not an object")
    return fields


def check_schema(fields: dict[str, Any]) -> None:
    """Schema 1, the number, not the text or true."""
    schema = fields.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise MessageError("schema", f"schema is {schema!r}, not {SCHEMA}")


def check_fields(fields: dict[str, Any], keys: frozenset[str]) -> None:
    """Exactly these fields."""
    if fields.keys() != keys:
        raise MessageError("field", f"fields are {sorted(fields)}, not {sorted(keys)}")


def check_whole(name: str, value: object, most: int = _MAX_COUNT) -> None:
    """A whole number from 0 to `most`; true is none."""
    if type(value) is not int or not 0 <= value <= most:
        raise MessageError("counts", f"{name} is {value!r}, not a whole number from 0 to {most}")


def check_hex8(name: str, value: object) -> None:
    """Eight lower-case hex digits."""
    if not is_hex8(value):
        raise MessageError("field", f"{name} is {value!r}, not eight hex digits")


def require(holds: bool, reason: str, text: str) -> None:  # noqa: FBT001 - an assertion's shape
    """MessageError unless `holds`."""
    if not holds:
        raise MessageError(reason, text)


def read_instant(value: object) -> datetime:
    """An instant as `instant` writes it."""
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise MessageError("field", f"t is {value!r}")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise MessageError("field", f"t is {value!r}") from None


def is_hex8(value: object) -> bool:
    """Eight lower-case hex digits."""
    return isinstance(value, str) and _HEX8.fullmatch(value) is not None


def is_finite(value: object) -> bool:
    """A number, finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX_COUNT


def is_number(value: object) -> bool:
    """A number, finite, not negative."""
    return isinstance(value, int | float) and is_finite(value) and value >= 0


def is_count(value: object) -> bool:
    """A whole number, not negative."""
    return type(value) is int and 0 <= value <= _MAX_COUNT


def is_text(value: object) -> bool:
    """A short text."""
    return isinstance(value, str) and len(value) <= 64


def is_latencies(value: object) -> bool:
    """Stage -> [p50, p99]."""
    return isinstance(value, dict) and all(
        is_text(stage) and isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair))
        for stage, pair in value.items()
    )


def is_reasons(value: object) -> bool:
    """Reason -> count."""
    return isinstance(value, dict) and all(is_text(reason) and is_count(count) for reason, count in value.items())


def is_marks(value: object) -> bool:
    """Boot -> seq."""
    return isinstance(value, dict) and all(is_hex8(boot) and is_count(seq) for boot, seq in value.items())


def optional(check: Callable[[object], bool]) -> Callable[[object], bool]:
    """`check`, or None."""
    return lambda value: value is None or check(value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
"""json.loads would make one for every payload."""
