"""One entry of `VARIANT_MODELS`, read: the base or pattern, the variant tags, the preset; or what is wrong with it."""

from __future__ import annotations

from typing import NamedTuple

from .model_ref import CATALOG_TAGS, ROUTING_TAGS, is_preset_slug, is_tag
from .problems import Problem

ANY_PRESET = "*"


class VariantEntry(NamedTuple):
    """An entry of the valve, read: a base or a pattern for it, its tags with the catalog tag first, a slug or `*`."""

    valve: str
    entry: str
    base: str
    tags: tuple[str, ...]
    preset: str | None


def read_variant_entry(valve: str, entry: str) -> VariantEntry | Problem:
    """Take an entry apart; a `Problem` when it cannot mean anything."""
    head, at, tail = entry.partition("@")
    preset = tail.removeprefix("preset/") if at else None
    if preset == tail:
        return Problem(valve, entry, "a preset is written @preset/slug", f"{head}@preset/{tail.rpartition('/')[2]}")
    if preset not in (None, ANY_PRESET) and not is_preset_slug(preset or ""):
        hint = "letters, digits, dots, dashes, underscores; a variant stands before @preset/"
        return Problem(valve, entry, "not the slug of a preset", hint)
    base, *written = head.split(":")
    tags = tuple(dict.fromkeys(tag.lower() for tag in written))
    if not all(map(is_tag, tags)):
        return Problem(valve, entry, "a variant is written model:variant, in letters, digits and dashes")
    if not base and (tags or preset is None):
        return Problem(valve, entry, "no model is named")
    if not tags and preset is None:
        model, _, tag = base.rpartition("-")
        hint = f"{model}:{tag.lower()}" if tag.lower() in (*ROUTING_TAGS, *CATALOG_TAGS) else f"e.g. {base}:nitro"
        return Problem(valve, entry, "no variant and no preset (missing colon?)", hint)
    of_catalog = tuple(tag for tag in tags if tag in CATALOG_TAGS)
    if len(of_catalog) > 1:
        return Problem(valve, entry, f"one model cannot be both :{' and :'.join(of_catalog)}")
    if "batch" in tags:
        return Problem(valve, entry, "batch models cannot be called in a chat")
    return VariantEntry(valve, entry, base, tuple(dict.fromkeys(of_catalog + tags)), preset)
