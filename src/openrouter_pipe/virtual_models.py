"""`VARIANT_MODELS` and the published list: catalog rows, the virtual models behind them, and why others are missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .catalog import Catalog, Model, Preset
from .errors import SettingsError
from .model_ref import CATALOG_TAGS, ROUTING_TAGS, ModelRef
from .problems import MAX_ENTRIES, MAX_HINTS, Problem, split_entries
from .selection import NameIndex, choose, report_unmatched, similar_models
from .variant_entries import ANY_PRESET, VariantEntry, read_variant_entry

# Wildcards multiply (models, presets, entries): what one list may try before the rest is cut.
_MAX_TRIES = 50_000
# What of a list valve is not meant: comments, and spaces within a line.
_NOT_MEANT = re.compile(r"#[^\r\n]*|[^\S\r\n]+")
# Deprecated tags, and what took their place.
_INSTEAD_OF = {
    "online": "web search is a tool of OpenRouter now",
    "thinking": "reasoning models think without it",
    "extended": "the model itself has the long context now",
}


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
        text = f"{self.model_id}\n{self.variant_models}"
        return "preset" in text and "preset/*" in _NOT_MEANT.sub("", text)


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
            assumed = Preset(ref.preset, ref.preset)
            publish(self.catalog.with_presets((assumed, *self.catalog.presets)), self.publishing).refuse(ref)
            return
        name, valve = ref.api_id, "VARIANT_MODELS"
        mistake = read_variant_entry(valve, name)
        hint = f"An admin can add {name} there."
        if name in self.left_out:
            valve, hint = self.left_out[name], ""
        elif ref.base and self.catalog.describe(ref) is None:
            valve, hint = "", similar_models(self.catalog, ref.base) or "choose another model."
        elif isinstance(mistake, Problem):
            valve, hint = "", f"{mistake.reason}."
        if valve:
            raise SettingsError(f"{name} is not offered here: the valve {valve} leaves it out. {hint}".strip())
        raise SettingsError(f"OpenRouter's list has no model {name}. {hint[0].upper()}{hint[1:]}")


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
    entries = work.in_order()
    by_webui_id = {entry.webui_id: entry for entry in entries}
    return Published(catalog, publishing, tuple(entries), tuple(work.problems), work.left_out, by_webui_id)


def display_name(ref: ModelRef, model: Model | None, preset_name: str | None) -> str:
    """The describing row's name plus what that row does not already carry."""
    carried = model.ref.variants if model else ()
    words = [model.name if model else ref.base]
    words += [tag[:1].upper() + tag[1:] for tag in ref.variants if tag not in carried]
    if ref.preset is not None:
        words.append(f"Preset: {preset_name or ref.preset}")
    return " ".join(word for word in words if word)


class _Virtual(NamedTuple):
    """A virtual model, the id of the row it follows in the list ("" for presets alone), and the entry that asks for it."""

    entry: Entry
    anchor: str
    wanted: VariantEntry


class _Expansion:
    """Turns entries into published models."""

    def __init__(self, catalog: Catalog, publishing: Publishing) -> None:
        filters = (
            ("ZDR", "has_zdr", "only" if publishing.zdr_only else "all"),
            ("FREE_MODEL_FILTER", "is_free", publishing.free_filter),
            ("TOOL_CALLING_FILTER", "has_tools", publishing.tools_filter),
        )
        self._filters = [(valve, trait, filter_ == "only") for valve, trait, filter_ in filters if filter_ != "all"]
        self._catalog = catalog
        self._index = NameIndex(model.ref for model in catalog.models.values())
        self.choice = choose(catalog, publishing.model_id, self._index)
        self.problems = list(self.choice.problems)
        self.left_out: dict[str, str] = {}
        self._presets = {preset.slug: preset for preset in sorted(catalog.presets, key=_by_name)}
        self._rows: dict[str, Model] = {}
        for model in catalog.models.values():
            if valve := self._filter(model) if model.id in self.choice.matched else "MODEL_ID":
                self.left_out[model.id] = valve
            else:
                self._rows[model.id] = model
        self._virtual: dict[str, _Virtual] = {}
        self._tries = 0
        self._is_full = False

    def add(self, valve: str, entry: str) -> None:
        """Expand one entry of `VARIANT_MODELS` (or one of `MODEL_ID` that names a virtual model)."""
        wanted = read_variant_entry(valve, entry)
        if isinstance(wanted, Problem):
            self.problems.append(wanted)
            return
        rows: Iterable[Model | None] = [None]
        tags = wanted.tags
        if wanted.has_wildcard:
            rows = self._rows_matching(wanted)
        elif wanted.base:
            rows, tags = self._rows_named(wanted)
        presets = self._presets_of(wanted)
        for row in rows:
            base, carried = (row.ref.base, row.ref.variants) if row else ("", ())
            variants = (*carried, *(tag for tag in tags if tag not in carried))
            for preset in presets:
                self._tries += 1
                if len(self._virtual) >= MAX_ENTRIES or self._tries > _MAX_TRIES:
                    if not self._is_full:
                        self._report(wanted, f"too many virtual models: only the first {len(self._virtual)} are listed")
                    self._is_full = True
                    return
                self._publish(wanted, ModelRef(base, variants, preset.slug if preset else None), preset, row)

    def exclude(self) -> None:
        """Take away the virtual models that an entry with `!` names, and report those entries that name nothing at all."""
        if not self.choice.excludes:
            return
        names = NameIndex(map(ModelRef.from_api, (*self._virtual, *self.left_out)))
        for entry in self.choice.excludes:
            matches = names.match(entry)
            for api_id in sorted(matches & self._virtual.keys()):
                self._leave_out(self._virtual.pop(api_id).wanted, api_id, "MODEL_ID", f"{entry} excludes it")
            if not matches and not self._index.match(entry):
                report_unmatched(self._catalog, entry, self.problems)

    def in_order(self) -> list[Entry]:
        """The list, sorted."""
        behind: dict[str, list[Entry]] = {}
        for entry, anchor, _ in self._virtual.values():
            behind.setdefault(anchor, []).append(entry)
        alone = sorted(behind.pop("", ()), key=_by_name)
        anchors = {**self._rows, **{row_id: self._catalog.models[row_id] for row_id in behind}}
        entries: list[Entry] = []
        for model in sorted(anchors.values(), key=_by_name):
            if model.id in self._rows:
                entries.append(Entry(model.ref, model.name, model, model.description, model.ref.webui_id))
            entries += behind.get(model.id, ())
        return entries + alone

    def _filter(self, model: Model | None, is_free: bool = False) -> str:
        """The filter valve that leaves such a model out, or an empty text. A model of which nothing is known may do all."""
        for valve, trait, wanted in self._filters:
            value = getattr(model, trait) if model else trait != "is_free"
            if (value or (is_free and trait == "is_free")) != wanted:
                return valve
        return ""

    def _report(self, wanted: VariantEntry, reason: str, hint: str = "") -> None:
        self.problems.append(Problem(wanted.valve, wanted.entry, reason, hint))

    def _rows_named(self, wanted: VariantEntry) -> tuple[list[Model], tuple[str, ...]]:
        """The base is the row with the longest id that the entry starts with; with it, the tags to put on it.

        In `MODEL_ID`, where the author may be left out, a name may mean several rows.
        """
        for count in range(len(wanted.tags), -1, -1):
            name, tags = ":".join((wanted.base, *wanted.tags[:count])), wanted.tags[count:]
            found = self._catalog.find(name)
            rows = [found] if found else []
            if not rows and wanted.valve == "MODEL_ID":
                rows = [self._catalog.models[row_id] for row_id in sorted(self._index.match(name))]
            for row in rows:
                self._note_doubtful_tags(wanted, row, tags)
            if rows:
                return rows, tags
        if self._catalog.models:
            hint = similar_models(self._catalog, wanted.base) if len(self.problems) < MAX_HINTS else ""
            self._report(wanted, "Variant model base not found", hint)
        return [], ()

    def _rows_matching(self, wanted: VariantEntry) -> Iterable[Model]:
        """The rows that a wildcard's tags are put on: those it meets, or their catalog variants if one is asked for."""
        within = self._index.match(wanted.base)
        if wanted.valve == "VARIANT_MODELS":
            within &= self.choice.matched
        # In the catalog's order, each once: `*:free` finds the same row by its base and by itself.
        models, tag = self._catalog.models, wanted.catalog_tag
        met = (row for row in models.values() if row.id in within and not row.ref.preset and not row.is_batch)
        found = [row if tag in (None, *row.ref.variants) else models.get(f"{row.id}:{tag}") for row in met]
        rows = {row.id: row for row in found if row}
        if rows:
            self._note_doubtful_tags(wanted, None, wanted.tags)
        elif models:
            which = "model" if wanted.valve == "MODEL_ID" else "selected model"
            self._report(wanted, f"matches no {which}{f' with a :{tag} row in the catalog' if tag else ''}")
        return rows.values()

    def _presets_of(self, wanted: VariantEntry) -> list[Preset | None]:
        """The presets an entry asks for: none, all that were discovered, or the written one under its slug."""
        slug = wanted.preset
        if slug is None:
            return [None]
        if slug == ANY_PRESET:
            return list(self._presets.values())
        return [self._presets.get(slug, Preset(slug, slug))._replace(name=slug)]

    def _note_doubtful_tags(self, wanted: VariantEntry, row: Model | None, tags: tuple[str, ...]) -> None:
        """Report tags that OpenRouter may refuse (put on this row, if one is named); all is published all the same."""
        for tag in wanted.tags if tags else ():
            instead = _INSTEAD_OF.get(tag)
            if row is not None and tag in CATALOG_TAGS and tag in tags:
                hint = (
                    f":{tag} is deprecated: {instead}"
                    if instead
                    else "listed all the same, but OpenRouter may refuse it"
                )
                self._report(wanted, f"the catalog has no {row.id}:{tag}", hint)
            elif instead:
                self._report(wanted, f"variant :{tag} is deprecated", instead)
            elif tag in tags and tag not in (*ROUTING_TAGS, *CATALOG_TAGS):
                hint = f"listed all the same; OpenRouter has :{', :'.join(ROUTING_TAGS)}"
                self._report(wanted, f"unknown variant :{tag}", hint)

    def _publish(self, wanted: VariantEntry, ref: ModelRef, preset: Preset | None, row: Model | None) -> None:
        """Add one virtual model, put on `row` (None: a preset alone), or note which valve leaves it out."""
        api_id = ref.api_id
        if api_id in self._rows or api_id in self._virtual:
            return
        described = ref if row or preset is None else ModelRef.from_api(preset.model_id or "")
        # The rows it is a variant of, the one that describes it first.
        row_ids = [row_id for row_id in described.row_ids if row_id in self._catalog.models] or (
            [row.id] if row else []
        )
        model = self._catalog.models[row_ids[0]] if row_ids else None
        hint = ""
        if row and wanted.valve == "VARIANT_MODELS":
            # A base that MODEL_ID leaves out takes its variants along.
            selected = row_ids[0] not in self.choice.excluded and not self.choice.matched.isdisjoint(row_ids)
            hint = "" if selected else f"{row_ids[0]} has to be selected there"
        if valve := "MODEL_ID" if hint else self._filter(model, is_free="free" in described.variants):
            self._leave_out(wanted, api_id, valve, hint)
            return
        description = (preset.description if preset else "") or (model.description if model else "")
        name = display_name(ref, model if row else None, preset.name if preset else None)
        anchor = next((row_id for row_id in row_ids if row_id in self._rows), row_ids[0]) if row else ""
        self._virtual[api_id] = _Virtual(Entry(ref, name, model, description, ref.webui_id), anchor, wanted)

    def _leave_out(self, wanted: VariantEntry, api_id: str, valve: str, hint: str) -> None:
        """Note that a valve leaves a virtual model out; what a wildcard brings is left out without a word."""
        self.left_out[api_id] = valve
        if not wanted.has_wildcard and wanted.preset != ANY_PRESET:
            self._report(wanted, f"left out by {valve}", hint)


def _by_name(item: Model | Entry | Preset) -> tuple[str, str]:
    """The order of the list: by name, whatever its case."""
    return item.name.casefold(), item.slug if isinstance(item, Preset) else item.ref.api_id
