"""The published list: what `MODEL_ID`, `VARIANT_MODELS` and the filters make of the catalog, and why the rest is missing."""

from __future__ import annotations

import re
from collections.abc import Set
from operator import itemgetter
from typing import NamedTuple

from .catalog import UNKNOWN, Catalog, Model, Preset
from .errors import PipeError
from .model_ref import CATALOG_TAGS, ROUTING_TAGS, SLUG, ModelRef
from .problems import MAX_ENTRIES, MAX_HINTS, Problem, has_wildcard, split_entries
from .selection import NameIndex

_DEPRECATED = ("online", "thinking", "extended")
# An entry of VARIANT_MODELS: a base or a pattern for it, tags, a preset.
_ENTRY = re.compile(rf"([^:@]*)((?::[A-Za-z0-9-]+)*)(?:@preset/(\*|{SLUG.pattern}))?")
_NO_PRESET = Preset("", "")


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
        return any(entry.endswith("@preset/*") for entry in split_entries(f"{self.model_id}\n{self.variant_models}"))

    def filter_against(self, model: Model, ref: ModelRef) -> str:
        """The filter valve that leaves out `ref`, which `model` describes; empty: none does. `:free` in a name is free."""
        if self.zdr_only and not model.has_zdr:
            return "ZDR"
        if self.free_filter != "all":
            is_free = "free" in ref.variants or model.is_free
            if is_free == (self.free_filter == "exclude"):
                return "FREE_MODEL_FILTER"
        if self.tools_filter != "all" and model.has_tools == (self.tools_filter == "exclude"):
            return "TOOL_CALLING_FILTER"
        return ""


class Entry(NamedTuple):
    """One published model, and the row that describes it (`UNKNOWN` for a preset without a model)."""

    ref: ModelRef
    name: str
    model: Model
    description: str
    webui_id: str


def _read_entry(entry: str) -> tuple[str, tuple[str, ...], str]:
    """A base or a pattern for it, the tags with the catalog tag first, and a slug or `*`; each may be empty.

    Raises `ValueError` with a reason and a hint when the entry cannot mean anything.
    """
    parts = _ENTRY.fullmatch(entry)
    if parts is None:
        reason = "not written like model:variant, model@preset/slug or @preset/slug"
        raise ValueError(reason, "variants have letters, digits and dashes; slugs dots and underscores too")
    base, written, slug = parts.groups("")
    tags = written.lower().split(":")[1:]
    if not tags and not slug:
        model, _, tag = base.rpartition("-")
        hint = f"{model}:{tag.lower()}" if tag.lower() in (*ROUTING_TAGS, *CATALOG_TAGS) else f"e.g. {base}:nitro"
        raise ValueError("no variant and no preset (missing colon?)", hint)
    of_catalog = dict.fromkeys(tag for tag in tags if tag in CATALOG_TAGS)
    if len(of_catalog) > 1:
        raise ValueError(f"one model cannot be both :{' and :'.join(of_catalog)}")
    return base, tuple(dict.fromkeys((*of_catalog, *tags))), slug


class Published:
    """What the valves make of the catalog: the list that Open WebUI is shown. Made once, then only read.

    `entries` in order, and by their id in Open WebUI; what is wrong with the valves; which valve leaves out what, by API id.
    """

    def __init__(self, catalog: Catalog, publishing: Publishing) -> None:
        self.catalog, self.publishing = catalog, publishing
        self.left_out: dict[str, str] = {}
        self._rows = NameIndex(catalog.models)
        self._bases = NameIndex(model.ref.base for model in catalog.models.values())
        self._presets = {preset.slug: preset for preset in sorted(catalog.presets, key=lambda it: it.name.casefold())}
        self._selected: set[str] = set()
        self._tries = 0
        # The valve and the entry that are being read.
        self._at = ("MODEL_ID", "*")
        self._problems: list[Problem] = []
        # By API id, each with its place.
        self._listed: dict[str, tuple[tuple[bool, str, str], Entry]] = {}
        written = split_entries(publishing.model_id)
        excludes = [entry for entry in written if entry.startswith("!")]
        for entry in self._select([entry for entry in written if not entry.startswith("!")], excludes):
            self._add("MODEL_ID", entry, catalog.models.keys())
        for entry in split_entries(publishing.variant_models):
            self._add("VARIANT_MODELS", entry, self._selected)
        self._exclude(excludes)
        self.problems = tuple(self._problems)
        # Rows by name, each followed by its virtual models in the order written, presets alone at the end.
        self.entries = tuple(entry for _, entry in sorted(self._listed.values(), key=itemgetter(0)))
        self.by_webui_id = {entry.webui_id: entry for entry in self.entries}

    def refuse(self, ref: ModelRef) -> None:
        """Raise the error that says why `ref` is not published, naming the valve that leaves it out.

        While a wildcard waits for the account's presets, a preset passes on whatever is published.
        """
        if self.publishing.wants_presets and not self.catalog.knows_presets:
            ref = ref._replace(preset=None)
        if not any(ref) or ref.webui_id in self.by_webui_id:
            return
        name = ref.api_id
        if name not in self.left_out and ref.base and self.catalog.describe(ref) is UNKNOWN:
            hint = self._rows.similar(ref.base) or "choose another model."
            raise PipeError(f"OpenRouter's list has no model {name}: {hint}")
        valve = self.left_out.get(name, "VARIANT_MODELS")
        raise PipeError(f"{name} is not offered here: the valve {valve} leaves it out. An admin can change that.")

    def _select(self, includes: list[str], excludes: list[str]) -> list[str]:
        """List the rows that entries of `MODEL_ID` mean; returns the entries that name virtual models.

        Batch rows cannot be called in a chat: they need to be named exactly.
        """
        # As one of several, "auto" is the name of a model (openrouter/auto) like any other.
        if [entry.lower() for entry in includes] in ([], ["auto"]):
            includes = ["*"]
        models = self.catalog.models.values()
        batch = {model.id for model in models if model.is_batch}
        virtual = []
        for entry in includes:
            if "@" in entry or not set(ROUTING_TAGS).isdisjoint(entry.lower().split(":")[1:]):
                virtual.append(entry)
            elif found := self._rows.match(entry) - (batch if has_wildcard(entry) else set()):
                self._selected |= found
            else:
                self._at = ("MODEL_ID", entry)
                self._report("matches no model", like=entry)
        for entry in excludes:
            self._selected -= self._rows.match(entry)
        self._at = ("MODEL_ID", "*")
        for model in models:
            self._publish(model.ref, [model], _NO_PRESET, self._selected)
        return virtual

    def _add(self, valve: str, entry: str, eligible: Set[str]) -> None:
        """Expand one entry that names virtual models. One of the rows that may describe them has to be `eligible`."""
        if self._tries > MAX_ENTRIES:
            return
        self._at = (valve, entry)
        try:
            base, tags, slug = _read_entry(entry)
        except ValueError as error:
            self._report(*error.args)
            return
        # A written preset is named by its slug.
        presets = [self._presets.get(slug, _NO_PRESET)._replace(slug=slug, name=slug)]
        if slug == "*":
            presets = [*self._presets.values()]
        found = self._find(base, tags, eligible) if base or tags else {ModelRef(""): []}
        for ref, rows in found.items():
            for preset in presets:
                self._tries += 1
                if self._tries > MAX_ENTRIES:
                    self._report(f"too many virtual models: only the first {MAX_ENTRIES} count")
                    return
                self._publish(ModelRef(ref.base, ref.variants, preset.slug or None), rows, preset, eligible)

    def _exclude(self, entries: list[str]) -> None:
        """Take away the virtual models that entries with `!` name; report those entries that name nothing at all."""
        names = NameIndex((*self._listed, *self.left_out))
        for entry in entries:
            matches = names.match(entry)
            for api_id in matches:
                self._listed.pop(api_id, None)
                self.left_out.setdefault(api_id, "MODEL_ID")
            if not matches:
                self._at = ("MODEL_ID", entry)
                self._report("matches no model", like=entry)

    def _find(self, base: str, tags: tuple[str, ...], eligible: Set[str]) -> dict[ModelRef, list[Model]]:
        """The names that an entry stands for, without its preset, each with the rows that may describe it.

        A wildcard stands for each eligible model, with a catalog tag for those that have such a row.
        """
        is_pattern = has_wildcard(base)
        if is_pattern:
            refs = [self.catalog.models[row_id].ref for row_id in sorted(self._rows.match(base) & eligible)]
        else:
            refs = [ModelRef(name) for name in sorted(self._bases.match(base))]
        needed = set(tags).intersection(CATALOG_TAGS if is_pattern else ())
        found: dict[ModelRef, list[Model]] = {}
        for ref in refs:
            ref = ModelRef(ref.base, tuple(dict.fromkeys((*ref.variants, *tags))))
            rows = self.catalog.rows_of(ref)
            if rows and not rows[0].is_batch and needed.issubset(rows[0].ref.variants):
                found[ref] = rows
        if found:
            ref, rows = next(iter(found.items()))
            self._note_doubtful_tags(tags, ref, rows[0])
        elif is_pattern:
            self._report("matches no selected model")
        else:
            self._report("Variant model base not found", like=base)
        return found

    def _note_doubtful_tags(self, tags: tuple[str, ...], ref: ModelRef, model: Model) -> None:
        for tag in tags if ref != model.ref else ():
            if tag in _DEPRECATED:
                reason = f"variant :{tag} is deprecated"
            elif tag in (*ROUTING_TAGS, *model.ref.variants):
                continue
            else:
                reason = f"the catalog has no {ref.base}:{tag}" if tag in CATALOG_TAGS else f"unknown variant :{tag}"
            self._report(reason, "listed all the same, but OpenRouter may refuse it")

    def _publish(self, ref: ModelRef, rows: list[Model], preset: Preset, eligible: Set[str]) -> None:
        """List one model, or note which valve leaves it out. Without rows the preset's own model describes it."""
        api_id, hint = ref.api_id, ""
        if api_id in self._listed:
            return
        if not rows:
            described = ModelRef.from_api(preset.model_id or "")
            model = self.catalog.describe(described)
            place, words = (True, preset.name.casefold(), api_id), []
        else:
            model, described = rows[0], ref
            anchor = ([row for row in rows if row.id in self._listed] or rows)[0]
            place = (False, anchor.name.casefold(), anchor.id)
            # The row's name plus what that row does not already carry.
            words = [model.name, *[tag.capitalize() for tag in ref.variants if tag not in model.ref.variants]]
            if eligible.isdisjoint([row.id for row in rows]):
                # A base that MODEL_ID leaves out takes its variants along.
                hint = f"{model.id} has to be selected there"
        if valve := "MODEL_ID" if hint else self.publishing.filter_against(model, described):
            self.left_out[api_id] = valve
            # What a wildcard brings is left out without a word.
            if not has_wildcard(self._at[1]):
                self._report(f"left out by {valve}", hint)
            return
        words += [f"Preset: {preset.name}"] if preset.name else []
        entry = Entry(ref, " ".join(words), model, preset.description or model.description, ref.webui_id)
        self._listed[api_id] = (place, entry)

    def _report(self, reason: str, hint: str = "", like: str = "") -> None:
        """Add a problem. `like` is a name that nothing has: the hint is then what it may have meant."""
        if like and len(self._problems) < MAX_HINTS:
            hint = self._rows.similar(like)
        self._problems.append(Problem(*self._at, reason, hint))
