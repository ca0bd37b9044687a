"""Model names and what they find in the catalog and among the presets.

Grammar: `[~]author/slug(:tag)*[@preset/slug]` or `@preset/slug`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from openrouter_sandbox.errors import ApiError, unavailable

Row = dict[str, Any]
Preset = dict[str, Any]

PRESET_MARK = "@preset/"
# Documentation page "Model Variants": a catalog tag needs a row of its own, a routing tag works on every row.
CATALOG_TAGS = ("free", "thinking", "extended", "beta", "batch")
ROUTING_TAGS = ("nitro", "floor", "exacto", "online")

BATCH_MESSAGE = (
    "This model is only available through the Batch API. "
    "Use the /api/v1/batches (or /api/beta/batches) endpoint instead."
)

# Who answers for a router; the real ones choose per prompt.
ROUTER_TARGETS = {
    "openrouter/auto": "openai/gpt-4o-mini",
    "openrouter/free": "openai/gpt-oss-20b:free",
    "openrouter/pareto-code": "deepseek/deepseek-v3.2",
    "openrouter/fusion": "anthropic/claude-opus-4.5",
    "switchpoint/router": "mistralai/mistral-large-2512",
}


@dataclass(frozen=True)
class ModelName:
    """A model name in its parts; `base` is empty for a preset alone."""

    text: str
    base: str
    tags: tuple[str, ...]
    preset: str | None

    @property
    def row_id(self) -> str:
        """The id of the row that describes this name: routing tags dropped, the catalog tag kept."""
        return ":".join([self.base, *(tag for tag in self.tags if tag in CATALOG_TAGS)])

    @property
    def model(self) -> str:
        """The name without its preset."""
        return ":".join([self.base, *self.tags])


def parse_name(text: str) -> ModelName:
    """Split a name; nothing is checked here."""
    model, mark, preset = text.partition(PRESET_MARK)
    base, *tags = model.split(":")
    return ModelName(text, base, tuple(tags), preset if mark else None)


def find_row(name: ModelName, rows: list[Row]) -> Row:
    """The catalog row of a name, or the refusal that OpenRouter gives."""
    by_id = {row["id"]: row for row in rows if row.get("id")}
    catalog_tags = [tag for tag in name.tags if tag in CATALOG_TAGS]
    unknown_tag = any(tag not in CATALOG_TAGS and tag not in ROUTING_TAGS for tag in name.tags)
    row = by_id.get(name.row_id)
    if unknown_tag or len(catalog_tags) > 1 or (row is None and name.base not in by_id):
        raise unavailable(
            400,
            f"{name.model} is not a valid model ID",
            code="model_not_found",
            requested=[name.text],
            fallbacks=closest_ids(name.row_id, by_id),
        )
    if "batch" in catalog_tags:
        raise ApiError(404, BATCH_MESSAGE)
    if row is None:
        raise unavailable(
            404,
            f"No endpoints found for {name.row_id}.",
            code="no_endpoints",
            requested=[name.text],
            fallbacks=[name.base],
        )
    return row


def closest_ids(model_id: str, known: dict[str, Row]) -> list[str]:
    """Up to three callable ids that look like this one."""
    callable_ids = [known_id for known_id in known if not known_id.endswith(":batch")]
    return difflib.get_close_matches(model_id, callable_ids, n=3, cutoff=0.6)


def serving_row(row: Row, rows: list[Row]) -> Row:
    """The row that answers for this one: its alias target, a router's choice, or itself."""
    target = (row.get("alias_target") or {}).get("slug") or ROUTER_TARGETS.get(row["id"])
    return next((other for other in rows if other.get("id") == target), row)


def find_preset(slug: str, presets: list[Preset]) -> Preset:
    """The active preset with this slug (case matters), else 404. The real wording is not documented."""
    for preset in presets:
        if preset["slug"] == slug and preset["status"] == "active":
            return preset
    raise ApiError(404, f"Preset not found: {slug}")
