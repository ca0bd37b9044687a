"""The grammar of model names.

One name has two spellings:

    OpenRouter (API)                     Open WebUI (after "<function id>.")
    openai/gpt-4o                        openai.gpt-4o
    openai/gpt-4o:nitro                  openai.gpt-4o:nitro
    openai/gpt-4o:nitro@preset/x         openai.gpt-4o:nitro:preset/x
    @preset/x                            preset/x

Only the first "/" becomes ".", so dots, dates and "~" survive. A name that this would not bring back unchanged (an author
with a dot, a gateway's id without an author such as `gpt-4.1`) is carried verbatim behind a leading "/".
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Routing tags exist on every model and are never in /models; catalog tags are rows of their own.
# Source: OpenRouter docs, guides/routing/model-variants/overview.
ROUTING_TAGS = ("nitro", "floor", "exacto", "online")
CATALOG_TAGS = ("free", "thinking", "extended", "beta", "batch")

_TAG = re.compile(r"[a-z0-9-]+")
# A preset's; case is kept.
SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
# With such a base the spelling is known to read back.
_USUAL_BASE = re.compile(r"[^/.:]+/[^:]+")
_API_PRESET = "@preset/"
_WEBUI_PRESET = ":preset/"
_VERBATIM = "/"


class ModelRef(NamedTuple):
    """A model name taken apart: `base` (empty when a preset stands alone), variant tags in order, preset slug or None."""

    base: str
    variants: tuple[str, ...] = ()
    preset: str | None = None

    @classmethod
    def from_api(cls, text: str) -> ModelRef:
        """Read OpenRouter's spelling. Never fails: what is not a tag or a preset belongs to the base."""
        return cls(*_split(text, _API_PRESET))

    @classmethod
    def from_webui(cls, text: str) -> ModelRef:
        """Read Open WebUI's spelling (without the function id)."""
        if text.startswith(_VERBATIM):
            return cls.from_api(text[1:])
        # A preset alone is spelled without the colon.
        base, variants, preset = _split(f":{text}" if text.startswith("preset/") else text, _WEBUI_PRESET)
        author, dot, slug = base.partition(".")
        natural = dot and author and "/" not in author
        return cls(f"{author}/{slug}" if natural else base, variants, preset)

    @property
    def api_id(self) -> str:
        """The name as OpenRouter takes it, e.g. `openai/gpt-4o:nitro@preset/x`."""
        name = ":".join((self.base, *self.variants))
        return name if self.preset is None else f"{name}{_API_PRESET}{self.preset}"

    @property
    def webui_id(self) -> str:
        """The name as an Open WebUI model id can carry it; `from_webui` of it is this reference again."""
        natural = ":".join((self.base.replace("/", ".", 1), *self.variants))
        if self.preset is not None:
            natural = f"{natural}{_WEBUI_PRESET}{self.preset}".removeprefix(":")
        reads_back = _USUAL_BASE.fullmatch(self.base) or ModelRef.from_webui(natural) == self
        return natural if reads_back else _VERBATIM + self.api_id

    @property
    def row_ids(self) -> tuple[str, ...]:
        """Ids of the catalog rows that may describe this name, best first.

        All tags (a gateway may list any of them), no routing tags, the catalog tag alone, no tag; never the preset.
        """
        kept = [tag for tag in self.variants if tag not in ROUTING_TAGS]
        of_catalog = [tag for tag in kept if tag in CATALOG_TAGS]
        ids = [":".join((self.base, *tags)) for tags in (self.variants, kept, of_catalog, ())]
        return tuple(dict.fromkeys(ids)) if self.base else ()


def _split(text: str, before_preset: str) -> tuple[str, tuple[str, ...], str | None]:
    """Base, tags and slug. What is not a tag or a preset belongs to the base."""
    head, found, slug = text.rpartition(before_preset)
    preset = slug if found and SLUG.fullmatch(slug) else None
    parts = (text if preset is None else head).split(":")
    start = len(parts)
    while start > 1 and _TAG.fullmatch(parts[start - 1]):
        start -= 1
    base = ":".join(parts[:start])
    return (base, tuple(parts[start:]), preset) if base else (":".join(parts), (), preset)
