"""The endpoints beside inference: catalog, presets, key. Pure: query and data in, body out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any
from urllib.parse import urlencode

from openrouter_sandbox.errors import ApiError
from openrouter_sandbox.names import Preset, Row, parse_name
from openrouter_sandbox.refusals import has_zdr, modalities

Json = dict[str, Any]
Query = Mapping[str, str]

MODELS_PAGE = (500, 1000)  # default and largest `limit`, as the OpenAPI document says
PRESETS_PAGE = (50, 100)


def packaged(name: str) -> list[Json]:
    """The rows of `catalog.json` or `presets.json`, a fresh copy each time."""
    rows: list[Json] = json.loads(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))["data"]
    return rows


def check_key(authorization: str | None) -> str:
    """The API key of an `Authorization` header, or 401."""
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise ApiError(401, "No auth credentials found")
    if not key.startswith("sk-or-") or "invalid" in key:
        raise ApiError(401, "User not found.")
    return key


def page(query: Query, default: int, largest: int) -> tuple[int, int]:
    """`offset` and `limit` of a query, or 400."""
    offset, limit = query.get("offset", "0"), query.get("limit", str(default))
    if not offset.isdecimal():
        raise ApiError(400, "Invalid input at 'offset': expected an integer of at least 0")
    if not limit.isdecimal() or not 1 <= int(limit) <= largest:
        raise ApiError(400, f"Invalid input at 'limit': expected an integer from 1 to {largest}")
    return int(offset), int(limit)


def models(path: str, query: Query, rows: list[Row]) -> Json:
    """`GET /models` and `/models/user`: text models unless `output_modalities` says otherwise; all on one page
    unless `offset` or `limit` is given. `zdr=true` is a filter of `/models` only."""
    wanted = set(query.get("output_modalities", "text").split(","))
    found = [row for row in rows if "all" in wanted or wanted & set(modalities(row, "output_modalities"))]
    if query.get("zdr") == "true" and path.endswith("/models"):
        found = [row for row in found if has_zdr(row)]
    if not {"offset", "limit"} & set(query):
        return {"data": found, "total_count": len(found), "links": {"next": None}}
    offset, limit = page(query, *MODELS_PAGE)
    end = offset + limit
    following = f"{path}?{urlencode({**query, 'offset': end, 'limit': limit})}" if end < len(found) else None
    return {"data": found[offset:end], "total_count": len(found), "links": {"next": following}}


def model(model_id: str, rows: list[Row]) -> Json:
    """`GET /model/{author}/{slug}`: by id, with or without routing tags, or by canonical slug."""
    row_id = parse_name(model_id).row_id
    for field in ("id", "canonical_slug"):
        for row in rows:
            if row.get(field) == row_id:
                return {"data": row}
    raise ApiError(404, f"Model {model_id} not found")


def presets(query: Query, rows: list[Preset]) -> Json:
    """`GET /presets`: every status, without the designated version's content."""
    offset, limit = page(query, *PRESETS_PAGE)
    listed = [{key: value for key, value in row.items() if key != "designated_version"} for row in rows]
    return {"data": listed[offset : offset + limit], "total_count": len(rows)}


def preset(slug: str, rows: list[Preset]) -> Json:
    """`GET /presets/{slug}`, with its designated version."""
    for row in rows:
        if row["slug"] == slug:
            return {"data": row}
    raise ApiError(404, "Preset not found")


def key(api_key: str) -> Json:
    """`GET /key`: limits and usage in dollars."""
    spent = {"": 25.5, "_daily": 1.25, "_weekly": 6.75, "_monthly": 25.5}
    return {
        "data": {
            "label": f"{api_key[:12]}...{api_key[-3:]}",
            "limit": 100,
            "limit_remaining": 74.5,
            "limit_reset": "monthly",
            **{f"usage{period}": dollars for period, dollars in spent.items()},
            **{f"byok_usage{period}": 0 for period in spent},
            "include_byok_in_limit": False,
            "is_free_tier": False,
            "is_management_key": False,
            "is_provisioning_key": False,
            "creator_user_id": "user_2dHFtVWx2n56w6HkM0000000000",
            "expires_at": None,
            "free_model_daily_requests": {"limit": 1000, "used": 3, "remaining": 997},
            "rate_limit": {
                "requests": -1,
                "interval": "10s",
                "note": "This field is deprecated and safe to ignore.",
            },
        }
    }
