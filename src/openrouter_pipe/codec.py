"""JSON, by orjson where it is installed (Open WebUI ships it), else by the standard library."""

from __future__ import annotations

import json
from typing import Any

try:
    import orjson
except ImportError:  # pragma: no cover - Open WebUI ships orjson
    orjson = None  # type: ignore[assignment]

parse_json = json.loads if orjson is None else orjson.loads


def dump_json(value: Any) -> bytes:
    """`value` as JSON. What orjson refuses (lone surrogates, huge integers, odd keys) the standard library writes."""
    if orjson is not None:
        try:
            return orjson.dumps(value)
        except TypeError:
            pass
    return json.dumps(value, default=str, separators=(",", ":")).encode()
