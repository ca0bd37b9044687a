"""JSON, by orjson where it is installed (Open WebUI ships it), else by the standard library."""

from __future__ import annotations

import json
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
    return json.dumps(value, default=str, separators=(",", ":")).encode()
