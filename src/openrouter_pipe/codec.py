"""JSON, read by orjson where it is installed, else by the standard library; and what others sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

try:
    import orjson
except ImportError:  # pragma: no cover - Open WebUI ships orjson
    orjson = None  # type: ignore[assignment]

# An object: one of our own making, and one that is only read.
JsonDict = dict[str, Any]
JsonObject = Mapping[str, Any]
# Not orjson: where more than a hundred levels end at once, it writes past its buffer (3.11.9).
_encode = json.JSONEncoder(ensure_ascii=False, default=str, separators=(",", ":")).encode


def parse_json(text: bytes | str) -> Any:
    """The value in `text`. Raises `ValueError`.

    The standard library also reads NaN (null takes its place), bytes that are not UTF-8, and half of a surrogate pair (a
    provider cut an emoji in two); that could not be stored: a question mark takes its place.
    """
    try:
        return (orjson or json).loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        value = json.loads(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
        return json.loads(dump_json(value), parse_constant=lambda _: None)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dump_json(value: Any) -> bytes:
    """`value` as JSON. Half of a surrogate pair becomes a question mark, what JSON does not have its `str`."""
    return _encode(value).encode("utf-8", "replace")


def mapping(value: object) -> JsonObject:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def dicts(value: object) -> list[JsonDict]:
    """The objects in a list; none when it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def without(value: object, *keys: str) -> JsonDict:
    """A copy of an object without these keys."""
    return {key: inner for key, inner in mapping(value).items() if key not in keys}


def texts(value: object) -> tuple[str, ...]:
    """The texts in a list; none when it is no list."""
    return tuple([item for item in value if isinstance(item, str)]) if isinstance(value, list) else ()


def texts_in(value: object, key: str) -> tuple[str, ...]:
    """The texts under `key` of the objects in a list."""
    return texts([item.get(key) for item in dicts(value)])


def parts_of(messages: object) -> Iterator[JsonDict]:
    """The parts of all messages."""
    return (part for message in dicts(messages) for part in dicts(message.get("content")))


def as_text(value: object) -> str:
    """`value` if it is text, an object or a list as JSON, else nothing: some send objects for JSON text."""
    return value if isinstance(value, str) else dump_json(value).decode() if isinstance(value, dict | list) else ""


def amount_of(value: object) -> float | None:
    """A number that counts something: not negative, not endless; else None."""
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e15 else None
