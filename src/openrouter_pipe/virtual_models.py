"""`VARIANT_MODELS` and the published list: catalog rows, the virtual models behind them, and why others are missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from .catalog import Catalog, Model, Preset
from .errors import SettingsError
from .model_ref import CATALOG_TAGS, DEPRECATED_TAGS, ROUTING_TAGS, ModelRef
from .problems import MAX_ENTRIES, MAX_HINTS, Problem, split_entries
from .selection import (
    MAX_WILDCARDS,
    Choice,
    NameIndex,
    Pattern,
    Selection,
    choose,
    filter_reason,
    similar_models,
    unmatched,
)
from .variant_entries import ANY_PRESET, INSTEAD_OF, VariantEntry, read_variant_entry, tag_hint

# Wildcards multiply (models, presets, entries): what one list may try before the rest is cut.
_MAX_TRIES = 50_000
# What of a list valve is not meant: comments, and spaces within a line.
_NOT_MEANT = re.compile(r"#[^\r\n]*|[^\S\r\n]+")


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
    """One published model: its reference, its name, the row that describes it (None: nothing is known of it), its id."""

    ref: ModelRef
    name: str
    model: Model | None
    description: str
    webui_id: str


class Published(NamedTuple):
    """What Open WebUI is shown, in order, with everything that is wrong with the valves behind it."""

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
        valve, hint = self.missing_reason(ref)
        if valve:
            raise SettingsError(f"{ref.api_id} is not offered here: the valve {valve} leaves it out. {hint}".strip())
        hint = f"{hint[:1].upper()}{hint[1:]}" if hint else "Choose another model."
        raise SettingsError(f"OpenRouter's list has no model {ref.api_id}. {hint}")

    def missing_reason(self, ref: ModelRef) -> tuple[str, str]:
        """Why `ref` is not published: the valve that leaves it out (empty: the catalog has no such model), and a hint."""
        if valve := self.left_out.get(ref.api_id):
            return valve, ""
        if ref.base and self.catalog.describe(ref) is None:
            return "", similar_models(self.catalog, ref.base)
        refused = read_variant_entry("VARIANT_MODELS", ref.api_id)
        if isinstance(refused, Problem):
            return "", f"{refused.reason}."
        return "VARIANT_MODELS", f"An admin can add {ref.api_id} there."


def publish(catalog: Catalog, publishing: Publishing) -> Published:
    """The list for these valves: rows by name, each followed by its virtual models, presets alone at the end."""
    selection = Selection.parse(publishing.model_id)
    index = NameIndex(model.ref for model in catalog.models.values())
    choice = choose(catalog, selection, index)
    written, problems = split_entries("VARIANT_MODELS", publishing.variant_models)
    work = _Expansion(catalog, index, choice, publishing, [*choice.problems, *problems])
    for entry in selection.virtual_entries:
        work.add("MODEL_ID", entry)
    for entry in written:
        work.add("VARIANT_MODELS", entry)
    return work.result()


def display_name(ref: ModelRef, model: Model | None, preset_name: str | None) -> str:
    """The describing row's name plus what that row does not already carry."""
    carried = model.ref.variants if model else ()
    words = [model.name if model else ref.base]
    words += [tag[:1].upper() + tag[1:] for tag in ref.variants if tag not in carried]
    if ref.preset is not None:
        words.append(f"Preset: {preset_name or ref.preset}")
    return " ".join(word for word in words if word)


class _Expansion:
    """Turns entries into published models, one by one, so that a bad entry costs no other."""

    def __init__(
        self, catalog: Catalog, index: NameIndex, choice: Choice, publishing: Publishing, problems: list[Problem]
    ) -> None:
        self._catalog = catalog
        self._index = index
        self._wildcards = 0
        self._tries = 0
        self._full = False
        self._choice = choice
        self._publishing = publishing
        self._problems = problems
        self._presets = {preset.slug: preset for preset in sorted(catalog.presets, key=_by_name)}
        self._left_out: dict[str, str] = {}
        self._excluded: list[ModelRef] = []
        self._rows = {model.id: model for model in catalog.models.values() if self._passes_as_row(model)}
        # API id → the id of the row it follows in the list ("" for presets alone), and the entry.
        self._virtual: dict[str, tuple[str, Entry]] = {}

    def add(self, valve: str, entry: str) -> None:
        """Expand one entry of `VARIANT_MODELS` (or one of `MODEL_ID` that names a virtual model)."""
        wanted = read_variant_entry(valve, entry)
        if isinstance(wanted, Problem):
            self._problems.append(wanted)
        elif not wanted.base:
            self._put_on(None, (), wanted)
        elif wanted.has_wildcard:
            self._add_wildcard(wanted)
        else:
            self._add_named(wanted)

    def result(self) -> Published:
        """The list, sorted."""
        names = NameIndex(self._excluded)
        for pattern in self._choice.idle_excludes:
            if not names.match(pattern):
                self._problems += unmatched(self._catalog, pattern, "", len(self._problems))
        behind: dict[str, list[Entry]] = {}
        for anchor, entry in self._virtual.values():
            behind.setdefault(anchor, []).append(entry)
        alone = sorted(behind.pop("", ()), key=_by_name)
        anchors = {**self._rows, **{row_id: self._catalog.models[row_id] for row_id in behind}}
        entries: list[Entry] = []
        for model in sorted(anchors.values(), key=_by_name):
            if model.id in self._rows:
                entries.append(Entry(model.ref, model.name, model, model.description, model.ref.webui_id))
            entries += behind.get(model.id, ())
        entries += alone
        by_webui_id = {entry.webui_id: entry for entry in entries}
        return Published(
            self._catalog, self._publishing, tuple(entries), tuple(self._problems), self._left_out, by_webui_id
        )

    def _passes_as_row(self, model: Model) -> bool:
        valve = "" if model.id in self._choice.matched else "MODEL_ID"
        valve = valve or self._filter(model)
        if valve:
            self._left_out[model.id] = valve
        return not valve

    def _filter(self, model: Model | None, is_free: bool = False) -> str:
        """The filter valve that leaves such a model out, or an empty text. A model of which nothing is known may do all."""
        publishing = self._publishing
        if publishing.zdr_only and model is not None and not model.has_zdr:
            return "ZDR"
        if publishing.free_filter == publishing.tools_filter == "all":
            return ""
        is_free = is_free or (model is not None and model.is_free)
        return filter_reason(is_free, model is None or model.has_tools, publishing.free_filter, publishing.tools_filter)

    def _report(self, wanted: VariantEntry, reason: str, hint: str | Callable[[], str] = "") -> None:
        if callable(hint):
            hint = hint() if len(self._problems) < MAX_HINTS else ""
        self._problems.append(Problem(wanted.valve, wanted.entry, reason, hint))

    def _add_named(self, wanted: VariantEntry) -> None:
        """The base is the row with the longest id that the entry starts with; the tags behind it are put on it."""
        for count in range(len(wanted.tags), -1, -1):
            rows = self._rows_named(wanted, ":".join((wanted.base, *wanted.tags[:count])))
            for row in rows:
                self._note_doubtful_tags(wanted, row, wanted.tags[count:])
                self._put_on(row, wanted.tags[count:], wanted)
            if rows:
                return
        if self._catalog.models:
            self._report(wanted, "Variant model base not found", partial(similar_models, self._catalog, wanted.base))

    def _rows_named(self, wanted: VariantEntry, name: str) -> list[Model]:
        """The row of that name; in `MODEL_ID`, where the author may be left out, perhaps several."""
        if row := self._catalog.find(name):
            return [row]
        matches = self._index.match(Pattern(name, name.lower())) if wanted.valve == "MODEL_ID" else ()
        return [self._catalog.models[row_id] for row_id in sorted(matches)]

    def _add_wildcard(self, wanted: VariantEntry) -> None:
        self._wildcards += 1
        if self._wildcards > MAX_WILDCARDS:
            if self._wildcards == MAX_WILDCARDS + 1:
                self._report(wanted, f"only the first {MAX_WILDCARDS} entries with wildcards count")
            return
        within = self._index.match(Pattern(wanted.entry, wanted.base.lower()))
        if wanted.valve == "VARIANT_MODELS":
            within &= self._choice.matched
        # In the catalog's order, each once: `*:free` finds the same row by its base and by itself.
        candidates = (self._catalog.models[row_id] for row_id in self._catalog.models if row_id in within)
        rows = {row.id: row for row in map(partial(self._row_for, wanted), candidates) if row is not None}
        if rows:
            self._note_doubtful_tags(wanted, None, wanted.tags)
        elif self._catalog.models:
            models = "model" if wanted.valve == "MODEL_ID" else "selected model"
            having = f" with a :{wanted.catalog_tag} row in the catalog" if wanted.catalog_tag else ""
            self._report(wanted, f"matches no {models}{having}")
        for row in rows.values():
            if self._full:
                break
            self._put_on(row, wanted.tags, wanted)

    def _row_for(self, wanted: VariantEntry, row: Model) -> Model | None:
        """The row that a wildcard's tags are put on where it meets `row`: its catalog variant, if one is asked for."""
        if row.ref.preset is not None or "batch" in row.ref.variants:
            return None
        if wanted.catalog_tag is None or wanted.catalog_tag in row.ref.variants:
            return row
        return self._catalog.models.get(f"{row.id}:{wanted.catalog_tag}")

    def _put_on(self, row: Model | None, tags: tuple[str, ...], wanted: VariantEntry) -> None:
        """Publish what an entry asks for on one row; None: the preset alone."""
        base, variants = (row.ref.base, row.ref.variants) if row else ("", ())
        variants = (*variants, *(tag for tag in tags if tag not in variants))
        if wanted.preset is None:
            self._publish(wanted, ModelRef(base, variants), None, row)
        for preset in self._presets_of(wanted):
            if self._full:
                break
            self._publish(wanted, ModelRef(base, variants, preset.slug), preset, row)

    def _presets_of(self, wanted: VariantEntry) -> list[Preset]:
        """The presets an entry asks for: all that were discovered, or the written one under its slug."""
        slug = wanted.preset
        if slug is None:
            return []
        if slug == ANY_PRESET:
            return list(self._presets.values())
        known = self._presets.get(slug)
        return [known._replace(name=slug) if known else Preset(slug, slug)]

    def _note_doubtful_tags(self, wanted: VariantEntry, row: Model | None, tags: tuple[str, ...]) -> None:
        """Report tags that OpenRouter may refuse (put on this row, if one is named); all is published all the same."""
        if not tags:
            return
        for tag in wanted.tags:
            old = f":{tag} is deprecated: {INSTEAD_OF[tag]}" if tag in DEPRECATED_TAGS else ""
            if row is not None and tag in CATALOG_TAGS and tag in tags:
                self._report(
                    wanted,
                    f"the catalog has no {row.id}:{tag}",
                    old or "listed all the same, but OpenRouter may refuse it",
                )
            elif old:
                self._report(wanted, f"variant :{tag} is deprecated", INSTEAD_OF[tag])
            elif tag in tags and tag not in (*ROUTING_TAGS, *CATALOG_TAGS):
                self._report(wanted, f"unknown variant :{tag}", partial(tag_hint, tag))

    def _publish(self, wanted: VariantEntry, ref: ModelRef, preset: Preset | None, row: Model | None) -> None:
        """Add one virtual model, put on `row` (None: a preset alone), or note which valve leaves it out."""
        api_id = ref.api_id
        self._tries += 1
        if api_id in self._rows or api_id in self._virtual or self._is_full(wanted):
            return
        described = ref if row or preset is None else ModelRef.from_api(preset.model_id or "")
        # The rows it is a variant of, the one that describes it first.
        row_ids = [row_id for row_id in described.row_ids if row_id in self._catalog.models] or (
            [row.id] if row else []
        )
        model = self._catalog.models[row_ids[0]] if row_ids else None
        hint = self._left_out_by_model_id(wanted, ref, row_ids if row else [])
        valve = "MODEL_ID" if hint else ""
        valve = valve or self._filter(model, is_free="free" in described.variants)
        if valve:
            self._left_out[api_id] = valve
            if not wanted.has_wildcard and wanted.preset != ANY_PRESET:
                self._report(wanted, f"left out by {valve}", hint)
            return
        description = (preset.description if preset else "") or (model.description if model else "")
        name = display_name(ref, model if row else None, preset.name if preset else None)
        anchor = next((row_id for row_id in row_ids if row_id in self._rows), row_ids[0]) if row else ""
        self._virtual[api_id] = (anchor, Entry(ref, name, model, description, ref.webui_id))

    def _is_full(self, wanted: VariantEntry) -> bool:
        if not self._full and (len(self._virtual) >= MAX_ENTRIES or self._tries > _MAX_TRIES):
            self._full = True
            self._report(wanted, f"too many virtual models: only the first {len(self._virtual)} are listed")
        return self._full

    def _left_out_by_model_id(self, wanted: VariantEntry, ref: ModelRef, row_ids: list[str]) -> str:
        """How `MODEL_ID` leaves a virtual model out, by its own name or with its base; else an empty text."""
        if self._choice.excludes_name(ref):
            self._excluded.append(ref)
            return "an entry with ! excludes it"
        if not row_ids or wanted.valve == "MODEL_ID":
            return ""
        if row_ids[0] in self._choice.excluded:
            return f"an entry with ! excludes {row_ids[0]}"
        return f"add {row_ids[0]} there" if self._choice.matched.isdisjoint(row_ids) else ""


def _by_name(item: Model | Entry | Preset) -> tuple[str, str]:
    """The order of the list: by name, whatever its case."""
    return item.name.casefold(), item.slug if isinstance(item, Preset) else item.ref.api_id
