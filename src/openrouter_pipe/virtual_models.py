"""`VARIANT_MODELS` and the published list: catalog rows, the virtual models behind them, and why others are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .catalog import Catalog, Model, Preset
from .errors import SettingsError
from .model_ref import CATALOG_TAGS, ROUTING_TAGS, ModelRef, is_preset_slug, is_tag
from .problems import MAX_ENTRIES, Problem, has_wildcard, split_entries
from .selection import NameIndex, choose, report_unmatched, similar_models

# Deprecated tags, and what took their place.
_INSTEAD_OF = {
    "online": "web search is a tool of OpenRouter now",
    "thinking": "reasoning models think without it",
    "extended": "the model itself has the long context now",
}
# What nothing is known of (a preset without a model) is judged like a router: it may do everything, and is not free.
_UNKNOWN = Model("~", "", ModelRef("~"), {})


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
        valves = [text for text in (self.model_id, self.variant_models) if "preset" in text]
        return any(entry.endswith("@preset/*") for text in valves for entry in split_entries("", text)[0])


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
        """Raise the `SettingsError` that says why `ref` is not published, naming the valve that leaves it out.

        A preset that a wildcard may bring passes while the account's presets are still unknown.
        """
        if ref.webui_id in self.by_webui_id:
            return
        if ref.preset is not None and self.publishing.wants_presets and not self.catalog.knows_presets:
            assumed = self.catalog.with_presets([Preset(ref.preset, ref.preset)])
            publish(assumed, self.publishing).refuse(ref)
            return
        name = ref.api_id
        valve = self.left_out.get(name)
        if valve is None and ref.base and self.catalog.describe(ref) is None:
            hint = similar_models(self.catalog, ref.base) or "choose another model."
            raise SettingsError(f"OpenRouter's list has no model {name}: {hint}")
        hint = "" if valve else f" An admin can add {name} there."
        raise SettingsError(f"{name} is not offered here: the valve {valve or 'VARIANT_MODELS'} leaves it out.{hint}")


def publish(catalog: Catalog, publishing: Publishing) -> Published:
    """The list for these valves: rows by name, each followed by its virtual models, presets alone at the end."""
    work = _Expansion(catalog, publishing)
    written, problems = split_entries("VARIANT_MODELS", publishing.variant_models)
    work.problems += problems
    for entry in work.choice.virtual_entries:
        work.add("MODEL_ID", entry)
    for entry in written:
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
    head, at, tail = entry.partition("@")
    preset = tail.removeprefix("preset/") if at else None
    if preset == tail:
        return Problem(valve, entry, "a preset is written @preset/slug", f"{head}@preset/{tail.rpartition('/')[2]}")
    if preset not in (None, "*") and not is_preset_slug(preset or ""):
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
    return _Wanted(valve, entry, base, tuple(dict.fromkeys(of_catalog + tags)), preset)


def display_name(ref: ModelRef, model: Model | None, preset_name: str | None) -> str:
    """The describing row's name plus what that row does not already carry."""
    carried = model.ref.variants if model else ()
    words = [model.name if model else ref.base]
    words += [tag[:1].upper() + tag[1:] for tag in ref.variants if tag not in carried]
    if ref.preset is not None:
        words.append(f"Preset: {preset_name or ref.preset}")
    return " ".join(word for word in words if word)


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
        self.choice = choose(catalog, publishing.model_id, self._rows)
        self.problems = self.choice.problems
        self.left_out: dict[str, str] = {}
        self.listed: dict[str, tuple[tuple[bool, str, str, int], Entry]] = {}
        for model in catalog.models.values():
            if valve := self._filter(model, model.ref) if model.id in self.choice.matched else "MODEL_ID":
                self.left_out[model.id] = valve
            else:
                entry = Entry(model.ref, model.name, model, model.description, model.ref.webui_id)
                self.listed[model.id] = ((False, model.name.casefold(), model.id, 0), entry)

    def add(self, valve: str, text: str) -> None:
        """Expand one entry of `VARIANT_MODELS` (or one of `MODEL_ID` that names a virtual model)."""
        if self._tries > MAX_ENTRIES:
            return
        wanted = _read_entry(valve, text)
        if isinstance(wanted, Problem):
            self.problems.append(wanted)
            return
        if wanted.preset is None:
            presets: list[Preset | None] = [None]
        elif wanted.preset == "*":
            presets = list(self._presets.values())
        else:
            # A written one is named by its slug.
            presets = [self._presets.get(wanted.preset, Preset(wanted.preset, ""))._replace(name=wanted.preset)]
        for base, row in self._find(wanted) if wanted.base else [(ModelRef(""), None)]:
            for preset in presets:
                self._tries += 1
                if self._tries > MAX_ENTRIES:
                    self._report(wanted, f"too many virtual models: only the first {MAX_ENTRIES} count")
                    return
                self._publish(wanted, base, row, preset)

    def exclude(self) -> None:
        """Take away the virtual models that an entry with `!` names, and report those entries that name nothing at all."""
        names = NameIndex((*self.listed, *self.left_out))
        for entry in self.choice.excludes:
            matches = names.match(entry)
            for api_id in matches & self.listed.keys():
                del self.listed[api_id]
            self.left_out |= dict.fromkeys(matches - self.left_out.keys(), "MODEL_ID")
            if not matches:
                report_unmatched(self._catalog, entry, self.problems)

    def _find(self, wanted: _Wanted) -> Iterable[tuple[ModelRef, Model | None]]:
        """The names that an entry stands for, without its preset, each with the row that describes it.

        A wildcard stands for each selected model, with a catalog tag for those that have such a row.
        """
        models, is_pattern = self._catalog.models, has_wildcard(wanted.base)
        if is_pattern:
            ids = self._rows.match(wanted.base)
            within = ids & self.choice.matched if wanted.valve == "VARIANT_MODELS" else ids
            bases = [model.ref for model in models.values() if model.id in within]
        else:
            bases = [ModelRef(base) for base in sorted(self._bases.match(wanted.base))]
        needed = set(wanted.tags).intersection(CATALOG_TAGS) if is_pattern else set()
        found: dict[ModelRef, Model] = {}
        for base in bases:
            ref = ModelRef(base.base, (*base.variants, *(tag for tag in wanted.tags if tag not in base.variants)))
            model = self._catalog.describe(ref)
            if model and not model.is_batch and needed.issubset(model.ref.variants):
                found[ref] = model
        if found:
            self._note_doubtful_tags(wanted, *next(iter(found.items())))
        elif models and is_pattern:
            hint = f"none has a row :{' :'.join(needed)}" if needed else ""
            self._report(wanted, "matches no selected model", hint)
        elif models:
            hint = similar_models(self._catalog, wanted.base, self.problems)
            self._report(wanted, "Variant model base not found", hint)
        return found.items()

    def _note_doubtful_tags(self, wanted: _Wanted, ref: ModelRef, model: Model) -> None:
        """Report tags that OpenRouter may refuse; what is no row of its own is published all the same."""
        for tag in wanted.tags if ref != model.ref else ():
            if tag in _INSTEAD_OF:
                self._report(wanted, f"variant :{tag} is deprecated", _INSTEAD_OF[tag])
            elif tag in CATALOG_TAGS and tag not in model.ref.variants:
                hint = "listed all the same, but OpenRouter may refuse it"
                self._report(wanted, f"the catalog has no {ref.base}:{tag}", hint)
            elif tag not in (*ROUTING_TAGS, *model.ref.variants):
                hint = f"listed all the same; OpenRouter has :{', :'.join(ROUTING_TAGS)}"
                self._report(wanted, f"unknown variant :{tag}", hint)

    def _publish(self, wanted: _Wanted, base: ModelRef, row: Model | None, preset: Preset | None) -> None:
        """Add one virtual model, or note which valve leaves it out. Without a base, the preset's own model describes it."""
        ref = base._replace(preset=preset.slug) if preset else base
        api_id = ref.api_id
        if api_id in self.listed:
            return
        model, described, hint = row, base, ""
        place = (True, preset.name.casefold() if preset else "", api_id, 0)
        if row:
            row_ids = (row.id,) if row.id in self.choice.matched else base.row_ids
            models = self._catalog.models
            anchor = next((models[row_id] for row_id in row_ids if row_id in models and row_id in self.listed), row)
            place = (False, anchor.name.casefold(), anchor.id, self._tries)
            if wanted.valve == "VARIANT_MODELS" and self.choice.matched.isdisjoint(row_ids):
                # A base that MODEL_ID leaves out takes its variants along.
                hint = f"{row.id} has to be selected there"
        elif preset:
            described = ModelRef.from_api(preset.model_id or "")
            model = self._catalog.describe(described)
        if valve := "MODEL_ID" if hint else self._filter(model or _UNKNOWN, described):
            self.left_out[api_id] = valve
            # What a wildcard brings is left out without a word.
            if not has_wildcard(wanted.entry):
                self._report(wanted, f"left out by {valve}", hint)
            return
        name = display_name(ref, row, preset.name if preset else None)
        description = (preset.description if preset else "") or (model.description if model else "")
        self.listed[api_id] = (place, Entry(ref, name, model, description, ref.webui_id))

    def _filter(self, model: Model, ref: ModelRef) -> str:
        """The filter valve that leaves such a model out, or an empty text. `:free` in its own name makes it free."""
        for valve, trait, value in self._filters:
            if getattr(model._replace(ref=ref), trait) != value:
                return valve
        return ""

    def _report(self, wanted: _Wanted, reason: str, hint: str = "") -> None:
        self.problems.append(Problem(wanted.valve, wanted.entry, reason, hint))
