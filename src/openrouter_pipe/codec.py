"""JSON, by orjson where it is installed (Open WebUI ships it), else by the standard library; and reading what others sent."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

try:
    import orjson
except ImportError:  # pragma: no cover - Open WebUI ships orjson
    orjson = None  # type: ignore[assignment]


def parse_json(text: bytes | str) -> Any:
    """The value in `text`. Raises `ValueError`.

    What orjson refuses the standard library may still read: half of a surrogate pair (a provider cut an emoji in two),
    NaN, a byte that is not UTF-8.
    """
    if orjson is not None:
        try:
            return orjson.loads(text)
        except ValueError:
            pass
    try:
        return json.loads(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dump_json(value: Any) -> bytes:
    """`value` as JSON. What orjson refuses (lone surrogates, huge integers, odd keys) the standard library writes."""
    if orjson is not None:
        try:
            return orjson.dumps(value)
        except TypeError:
            pass
    try:
        return json.dumps(value, default=str, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:
        # NaN and infinity are no JSON: orjson writes null for them.
        return json.dumps(_without_nan(value), default=str, separators=(",", ":")).encode()


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return [_without_nan(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def mapping(value: object) -> Mapping[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def dicts(value: object) -> list[dict[str, Any]]:
    """The objects in a list; none when it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(value: object) -> tuple[str, ...]:
    """The texts in a list; none when it is no list."""
    return tuple([item for item in value if isinstance(item, str)]) if isinstance(value, list) else ()
