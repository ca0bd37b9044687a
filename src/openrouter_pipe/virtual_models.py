"""The published list: what `MODEL_ID`, `VARIANT_MODELS` and the filters make of the catalog, and why the rest is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .catalog import Catalog, Model, Preset
from .errors import PipeError
from .model_ref import CATALOG_TAGS, ROUTING_TAGS, SLUG, ModelRef
from .problems import MAX_ENTRIES, MAX_HINTS, Problem, has_wildcard, split_entries
from .selection import NameIndex

_DEPRECATED = ("online", "thinking", "extended")
# An entry of VARIANT_MODELS: a base or a pattern for it, tags, a preset.
_ENTRY = re.compile(rf"([^:@]*)((?::[A-Za-z0-9-]+)*)(?:@preset/(\*|{SLUG.pattern}))?")
# What nothing is known of (a preset without a model) is judged like a router: it may do everything, and is not free.
UNKNOWN = Model("~", "", ModelRef("~"), {})


class Publishing(NamedTuple):
    """The valves that decide what is published; equal values give the same list."""

    model_id: str = "*"
    variant_models: str = ""
    free_filter: str = "all"
    tools_filter: str = "all"
    zdr_only: bool = False

    @property
    def wants_presets(self) -> bool:
        """Whether a wildcard asks for the presets of the account."""
        valves = (self.model_id, self.variant_models)
        return any(entry.endswith("@preset/*") for text in valves for entry in split_entries(text))


class Entry(NamedTuple):
    """One published model, and the row that describes it (None: nothing is known of it)."""

    ref: ModelRef
    name: str
    model: Model | None
    description: str
    webui_id: str


class Published(NamedTuple):
    """What Open WebUI is shown, in order, what is wrong with the valves, and which valve leaves out what (by API id)."""

    catalog: Catalog
    publishing: Publishing
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    left_out: Mapping[str, str]
    by_webui_id: Mapping[str, Entry]

    def refuse(self, ref: ModelRef) -> None:
        """Raise the error that says why `ref` is not published, naming the valve that leaves it out.

        While a wildcard waits for the account's presets, a preset passes on whatever is published.
        """
        if ref.preset is not None and self.publishing.wants_presets and not self.catalog.knows_presets:
            ref = ref._replace(preset=None)
        if not any(ref) or ref.webui_id in self.by_webui_id:
            return
        name = ref.api_id
        valve = self.left_out.get(name)
        if valve is None and ref.base and self.catalog.describe(ref) is None:
            hint = NameIndex(self.catalog.models).similar(ref.base) or "choose another model."
            raise PipeError(f"OpenRouter's list has no model {name}: {hint}")
        hint = "" if valve else f" An admin can add {name} there."
        raise PipeError(f"{name} is not offered here: the valve {valve or 'VARIANT_MODELS'} leaves it out.{hint}")


def publish(catalog: Catalog, publishing: Publishing) -> Published:
    """The list for these valves: rows by name, each followed by its virtual models, presets alone at the end."""
    work = _Expansion(catalog, publishing)
    for entry in work.virtual_entries:
        work.add("MODEL_ID", entry)
    for entry in split_entries(publishing.variant_models):
        work.add("VARIANT_MODELS", entry)
    work.exclude()
    entries = tuple(entry for _, entry in sorted(work.listed.values()))
    by_webui_id = {entry.webui_id: entry for entry in entries}
    return Published(catalog, publishing, entries, tuple(work.problems), work.left_out, by_webui_id)


class _Wanted(NamedTuple):
    """An entry of the valve, read: a base or a pattern for it, its tags with the catalog tag first, a slug or `*`."""

    valve: str
    entry: str
    base: str
    tags: tuple[str, ...]
    preset: str | None


def _read_entry(valve: str, entry: str) -> _Wanted | Problem:
    """Take an entry apart; a `Problem` when it cannot mean anything."""
    parts = _ENTRY.fullmatch(entry)
    if parts is None:
        reason = "not written like model:variant, model@preset/slug or @preset/slug"
        return Problem(valve, entry, reason, "variants have letters, digits and dashes; slugs dots and underscores too")
    base, written, preset = parts.groups()
    tags = tuple(dict.fromkeys(written.lower().split(":")[1:]))
    if not tags and preset is None:
        model, _, tag = base.rpartition("-")
        hint = f"{model}:{tag.lower()}" if tag.lower() in (*ROUTING_TAGS, *CATALOG_TAGS) else f"e.g. {base}:nitro"
        return Problem(valve, entry, "no variant and no preset (missing colon?)", hint)
    of_catalog = tuple(tag for tag in tags if tag in CATALOG_TAGS)
    if len(of_catalog) > 1:
        return Problem(valve, entry, f"one model cannot be both :{' and :'.join(of_catalog)}")
    return _Wanted(valve, entry, base, tuple(dict.fromkeys(of_catalog + tags)), preset)


class _Expansion:
    """Turns entries into published models: `listed`, by API id, each with its place, no two of which are the same."""

    def __init__(self, catalog: Catalog, publishing: Publishing) -> None:
        filters = (
            ("ZDR", "has_zdr", "only" if publishing.zdr_only else "all"),
            ("FREE_MODEL_FILTER", "is_free", publishing.free_filter),
            ("TOOL_CALLING_FILTER", "has_tools", publishing.tools_filter),
        )
        self._filters = [(valve, trait, filter_ == "only") for valve, trait, filter_ in filters if filter_ != "all"]
        self._catalog = catalog
        self._rows = NameIndex(catalog.models)
        self._bases = NameIndex(dict.fromkeys(model.ref.base for model in catalog.models.values()))
        self._presets = {preset.slug: preset for preset in sorted(catalog.presets, key=lambda it: it.name.casefold())}
        self._tries = 0
        self._matched: set[str] = set()
        self._excludes: list[str] = []
        self.virtual_entries: list[str] = []
        self.problems: list[Problem] = []
        self.left_out: dict[str, str] = {}
        self.listed: dict[str, tuple[tuple[bool, str, str, int], Entry]] = {}
        self._choose(split_entries(publishing.model_id))
        for model in catalog.models.values():
            if valve := self._filter(model, model.ref) if model.id in self._matched else "MODEL_ID":
                self.left_out[model.id] = valve
            else:
                entry = Entry(model.ref, model.name, model, model.description, model.ref.webui_id)
                self.listed[model.id] = ((False, model.name.casefold(), model.id, 0), entry)

    def _choose(self, entries: Iterable[str]) -> None:
        """Sort the entries of `MODEL_ID`. Batch rows cannot be called in a chat: they need to be named exactly."""
        self._excludes = [entry for entry in entries if entry.startswith("!")]
        includes = [entry for entry in entries if not entry.startswith("!")]
        # As one of several, "auto" is the name of a model (openrouter/auto) like any other.
        if [entry.lower() for entry in includes] in ([], ["auto"]):
            includes = ["*"]
        batch = {model.id for model in self._catalog.models.values() if model.is_batch}
        for entry in includes:
            if "@" in entry or any(tag in ROUTING_TAGS for tag in entry.lower().split(":")[1:]):
                self.virtual_entries.append(entry)
            elif found := self._rows.match(entry) - (batch if has_wildcard(entry) else set()):
                self._matched |= found
            else:
                self._report("MODEL_ID", entry, "matches no model", like=entry)
        for entry in self._excludes:
            self._matched -= self._rows.match(entry)

    def add(self, valve: str, text: str) -> None:
        """Expand one entry that names virtual models."""
        if self._tries > MAX_ENTRIES:
            return
        wanted = _read_entry(valve, text)
        if isinstance(wanted, Problem):
            self.problems.append(wanted)
            return
        presets: list[Preset | None] = [None]
        if wanted.preset == "*":
            presets = [*self._presets.values()]
        elif slug := wanted.preset:
            # A written one is named by its slug.
            presets = [self._presets.get(slug, Preset(slug, slug))._replace(name=slug)]
        for base, row in self._find(wanted) if wanted.base or wanted.tags else [(ModelRef(""), None)]:
            for preset in presets:
                self._tries += 1
                if self._tries > MAX_ENTRIES:
                    self._report(*wanted[:2], f"too many virtual models: only the first {MAX_ENTRIES} count")
                    return
                self._publish(wanted, base, row, preset)

    def exclude(self) -> None:
        """Take away the virtual models that entries with `!` name; report those entries that name nothing at all."""
        names = NameIndex((*self.listed, *self.left_out))
        for entry in self._excludes:
            matches = names.match(entry)
            for api_id in matches & self.listed.keys():
                del self.listed[api_id]
            self.left_out |= dict.fromkeys(matches - self.left_out.keys(), "MODEL_ID")
            if not matches:
                self._report("MODEL_ID", entry, "matches no model", like=entry)

    def _find(self, wanted: _Wanted) -> Iterable[tuple[ModelRef, Model | None]]:
        """The names that an entry stands for, without its preset, each with the row that describes it.

        A wildcard stands for each selected model, with a catalog tag for those that have such a row.
        """
        is_pattern = has_wildcard(wanted.base)
        if is_pattern:
            ids = self._rows.match(wanted.base)
            ids &= self._matched if wanted.valve == "VARIANT_MODELS" else ids
            bases = [self._catalog.models[row_id].ref for row_id in sorted(ids)]
        else:
            bases = [ModelRef(base) for base in sorted(self._bases.match(wanted.base))]
        needed = set(wanted.tags).intersection(CATALOG_TAGS if is_pattern else ())
        found: dict[ModelRef, Model] = {}
        for base in bases:
            ref = ModelRef(base.base, (*base.variants, *(tag for tag in wanted.tags if tag not in base.variants)))
            model = self._catalog.describe(ref)
            if model and not model.is_batch and needed.issubset(model.ref.variants):
                found[ref] = model
        if found:
            self._note_doubtful_tags(wanted, *next(iter(found.items())))
        elif is_pattern:
            self._report(*wanted[:2], "matches no selected model")
        else:
            self._report(*wanted[:2], "Variant model base not found", like=wanted.base)
        return found.items()

    def _note_doubtful_tags(self, wanted: _Wanted, ref: ModelRef, model: Model) -> None:
        for tag in wanted.tags if ref != model.ref else ():
            if tag in _DEPRECATED:
                reason = f"variant :{tag} is deprecated"
            elif tag in (*ROUTING_TAGS, *model.ref.variants):
                continue
            else:
                reason = f"the catalog has no {ref.base}:{tag}" if tag in CATALOG_TAGS else f"unknown variant :{tag}"
            self._report(*wanted[:2], reason, "listed all the same, but OpenRouter may refuse it")

    def _publish(self, wanted: _Wanted, base: ModelRef, row: Model | None, preset: Preset | None) -> None:
        """Add one virtual model, or note which valve leaves it out. Without a base, the preset's own model describes it."""
        ref = base._replace(preset=preset.slug) if preset else base
        api_id = ref.api_id
        if api_id in self.listed:
            return
        model, described, hint = row, base, ""
        place = (True, preset.name.casefold() if preset else "", api_id, 0)
        if row:
            models, names = self._catalog.models, (row.id,) if row.id in self._matched else base.row_ids
            anchor = next((models[name] for name in names if name in models and name in self.listed), row)
            place = (False, anchor.name.casefold(), anchor.id, self._tries)
            if wanted.valve == "VARIANT_MODELS" and self._matched.isdisjoint(names):
                # A base that MODEL_ID leaves out takes its variants along.
                hint = f"{row.id} has to be selected there"
        elif preset:
            described = ModelRef.from_api(preset.model_id or "")
            model = self._catalog.describe(described)
        if valve := "MODEL_ID" if hint else self._filter(model or UNKNOWN, described):
            self.left_out[api_id] = valve
            # What a wildcard brings is left out without a word.
            if not has_wildcard(wanted.entry):
                self._report(*wanted[:2], f"left out by {valve}", hint)
            return
        # The row's name plus what that row does not already carry.
        words = [row.name] if row else []
        words += [tag.capitalize() for tag in base.variants if row and tag not in row.ref.variants]
        words += [f"Preset: {preset.name}"] if preset else []
        description = (preset.description if preset else "") or (model.description if model else "")
        self.listed[api_id] = (place, Entry(ref, " ".join(words), model, description, ref.webui_id))

    def _filter(self, model: Model, ref: ModelRef) -> str:
        """The filter valve that leaves such a model out, or an empty text. `:free` in its own name makes it free."""
        model = model._replace(ref=ref) if self._filters else model
        return next((valve for valve, trait, value in self._filters if getattr(model, trait) != value), "")

    def _report(self, valve: str, entry: str, reason: str, hint: str = "", like: str = "") -> None:
        """Add a problem. `like` is a name that nothing has: the hint is then what it may have meant."""
        if like and len(self.problems) < MAX_HINTS:
            hint = self._rows.similar(like)
        self.problems.append(Problem(valve, entry, reason, hint))
