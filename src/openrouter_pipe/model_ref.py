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
SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
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
        head, preset = _split_preset(text, _API_PRESET)
        return cls(*_split_tags(head), preset)

    @classmethod
    def from_webui(cls, text: str) -> ModelRef:
        """Read Open WebUI's spelling (without the function id)."""
        if text.startswith(_VERBATIM):
            return cls.from_api(text[1:])
        alone = text.removeprefix("preset/")
        if alone != text and is_preset_slug(alone):
            return cls("", (), alone)
        head, preset = _split_preset(text, _WEBUI_PRESET)
        base, variants = _split_tags(head)
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


def is_preset_slug(text: str) -> bool:
    """Whether `text` can be a preset's slug (letters, digits, `.`, `_`, `-`; case is kept)."""
    return SLUG.fullmatch(text) is not None


def _split_preset(text: str, separator: str) -> tuple[str, str | None]:
    head, found, slug = text.rpartition(separator)
    return (head, slug) if found and is_preset_slug(slug) else (text, None)


def _split_tags(text: str) -> tuple[str, tuple[str, ...]]:
    parts = text.split(":")
    start = len(parts)
    while start > 1 and _TAG.fullmatch(parts[start - 1]):
        start -= 1
    base = ":".join(parts[:start])
    return (base, tuple(parts[start:])) if base else (text, ())
