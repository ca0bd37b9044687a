"""One entry of `VARIANT_MODELS`, read: the base or pattern, the variant tags, the preset; or what is wrong with it."""

from __future__ import annotations

import difflib
from typing import NamedTuple

from .model_ref import CATALOG_TAGS, ROUTING_TAGS, is_preset_slug, is_tag
from .problems import MAX_ENTRY_LENGTH, Problem

ANY_PRESET = "*"
# What took the place of the variants in DEPRECATED_TAGS.
INSTEAD_OF = {
    "online": "web search is a tool of OpenRouter now",
    "thinking": "reasoning models think without it",
    "extended": "the model itself has the long context now",
}


class VariantEntry(NamedTuple):
    """An entry of the valve, read: a base or a pattern for it, its tags with the catalog tag first, a slug or `*`."""

    valve: str
    entry: str
    base: str
    tags: tuple[str, ...]
    preset: str | None

    @property
    def catalog_tag(self) -> str | None:
        """The tag that asks for a row of its own, or None."""
        return self.tags[0] if self.tags and self.tags[0] in CATALOG_TAGS else None

    @property
    def has_wildcard(self) -> bool:
        """Whether the base is a pattern."""
        return "*" in self.base or "?" in self.base


def read_variant_entry(valve: str, entry: str) -> VariantEntry | Problem:
    """Take an entry apart; a `Problem` when it cannot mean anything."""
    if len(entry) > MAX_ENTRY_LENGTH:
        return Problem(valve, entry, "too long to be a model id")
    head, preset = _split_preset_entry(entry)
    if isinstance(preset, Problem):
        return Problem(valve, entry, preset.reason, preset.hint)
    base, *written = head.split(":")
    tags = tuple(dict.fromkeys(tag.lower() for tag in written))
    if not all(map(is_tag, tags)):
        return Problem(valve, entry, "a variant is written model:variant, in letters, digits and dashes")
    if not base and (tags or preset is None):
        return Problem(valve, entry, "no model is named")
    if not tags and preset is None:
        return Problem(valve, entry, "no variant and no preset (missing colon?)", _missing_colon_hint(base))
    of_catalog = tuple(tag for tag in tags if tag in CATALOG_TAGS)
    if len(of_catalog) > 1:
        return Problem(valve, entry, f"one model cannot be both :{' and :'.join(of_catalog)}")
    if "batch" in tags:
        return Problem(valve, entry, "batch models cannot be called in a chat")
    return VariantEntry(valve, entry, base, of_catalog + tuple(tag for tag in tags if tag not in of_catalog), preset)


def _split_preset_entry(entry: str) -> tuple[str, str | Problem | None]:
    """`model@preset/slug` (or as Open WebUI spells it) → the model and the slug; no slug: None."""
    head, found, tail = ("", "@", entry) if entry.startswith("preset/") else entry.partition("@")
    if not found:
        head, found, slug = entry.partition(":preset/")
        tail = f"preset/{slug}"
    if not found:
        return entry, None
    slug = tail.removeprefix("preset/")
    if slug == tail:
        return head, Problem("", "", "a preset is written @preset/slug", f"{head}@preset/{tail.rpartition('/')[2]}")
    if slug != ANY_PRESET and not is_preset_slug(slug):
        name, colon, tag = slug.partition(":")
        moved = f"{head}:{tag}@preset/{name}" if head and colon else ""
        return head, Problem("", "", "not the slug of a preset", moved or "letters, digits, dots, dashes, underscores")
    return head, slug


def _missing_colon_hint(base: str) -> str:
    known = (*ROUTING_TAGS, *CATALOG_TAGS)
    tag = next((tag for tag in known if base.lower().endswith(f"-{tag}")), None)
    return f"{base[: -len(tag) - 1]}:{tag}" if tag else f"e.g. {base}:nitro"


def tag_hint(tag: str) -> str:
    """What to do about an unknown tag."""
    # Near misses only: other gateways have tags of their own, such as `:best`, and those are not `:beta`.
    similar = difflib.get_close_matches(tag, (*ROUTING_TAGS, *CATALOG_TAGS), n=1, cutoff=0.8)
    return (
        f"did you mean :{similar[0]}?"
        if similar
        else f"listed all the same; OpenRouter has :{', :'.join(ROUTING_TAGS)}"
    )
