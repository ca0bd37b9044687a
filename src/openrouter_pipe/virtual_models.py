"""`VARIANT_MODELS` and the published list: catalog rows, the virtual models behind them, and why others are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from .catalog import Catalog, Model, Preset
from .errors import SettingsError
from .model_ref import CATALOG_TAGS, DEPRECATED_TAGS, ROUTING_TAGS, ModelRef, first_dot_to_slash, is_preset_slug, is_tag
from .problems import MAX_ENTRIES, MAX_ENTRY_LENGTH, MAX_HINTS, Problem, closest, split_entries
from .selection import MAX_WILDCARDS, Choice, Pattern, RowIndex, Selection, choose, filter_reason

_ANY_PRESET = "*"


@dataclass(frozen=True, slots=True)
class Publishing:
    """The valves that decide what is published; equal values give the same list."""

    model_id: str = "*"
    variant_models: str = ""
    free_filter: str = "all"
    tools_filter: str = "all"

    @property
    def wants_presets(self) -> bool:
        """Whether a wildcard asks for the presets of the account."""
        return "preset/*" in "".join(f"{self.model_id}\n{self.variant_models}".split(" "))


@dataclass(frozen=True, slots=True)
class Entry:
    """One published model: its reference, its name, and the row that describes it (None: nothing is known of it)."""

    ref: ModelRef
    name: str
    model: Model | None
    description: str
    webui_id: str = field(init=False)

    def __post_init__(self) -> None:
        """Spell the id once."""
        object.__setattr__(self, "webui_id", self.ref.webui_id)


@dataclass(frozen=True, slots=True)
class Published:
    """What Open WebUI is shown, in order, with everything that is wrong with the valves behind it."""

    catalog: Catalog
    publishing: Publishing
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    left_out: Mapping[str, str]
    by_webui_id: Mapping[str, Entry]

    def refuse(self, ref: ModelRef) -> None:
        """Raise the `SettingsError` that says why `ref` is not published, naming the valve that leaves it out."""
        if ref.preset is not None and self.publishing.wants_presets and not self.catalog.knows_presets:
            return
        valve, hint = self.missing_reason(ref)
        if valve:
            raise SettingsError(f"{ref.api_id} is not offered here: the valve {valve} leaves it out. {hint}".strip())
        raise SettingsError(f"OpenRouter's list has no model {ref.api_id}. {hint or 'Choose another model.'}")

    def missing_reason(self, ref: ModelRef) -> tuple[str, str]:
        """Why `ref` is not published: the valve that leaves it out (empty: the catalog has no such model), and a hint."""
        if valve := self.left_out.get(ref.api_id):
            return valve, ""
        model = self.catalog.describe(ref)
        if ref.base and model is None:
            return "", closest(ref.base, self.catalog.models)
        if model is not None and ref.preset is None and model.ref == ref:
            return "MODEL_ID", ""
        return "VARIANT_MODELS", f"An admin can add {ref.api_id} there."


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An entry of the valve, read: a base or a pattern for it, its tags with the catalog tag first, a slug or `*`."""

    valve: str
    entry: str
    base: str
    tags: tuple[str, ...]
    preset: str | None

    @property
    def catalog_tag(self) -> str | None:
        return self.tags[0] if self.tags and self.tags[0] in CATALOG_TAGS else None

    @property
    def has_wildcard(self) -> bool:
        return "*" in self.base or "?" in self.base


def publish(catalog: Catalog, publishing: Publishing) -> Published:
    """The list for these valves: rows by name, each followed by its virtual models, presets alone at the end."""
    selection = Selection.parse(publishing.model_id)
    index = RowIndex(catalog)
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
        self, catalog: Catalog, index: RowIndex, choice: Choice, publishing: Publishing, problems: list[Problem]
    ) -> None:
        self._catalog = catalog
        self._index = index
        self._wildcards = 0
        self._full = False
        self._choice = choice
        self._publishing = publishing
        self._problems = problems
        self._presets = {preset.slug: preset for preset in catalog.presets}
        self._left_out: dict[str, str] = {}
        self._rows = {model.id: model for model in catalog.models.values() if self._passes_as_row(model)}
        self._virtual: dict[str, tuple[str, Entry]] = {}

    def add(self, valve: str, entry: str) -> None:
        """Expand one entry of `VARIANT_MODELS` (or one of `MODEL_ID` that names a virtual model)."""
        wanted = _read_entry(valve, entry)
        if isinstance(wanted, Problem):
            self._problems.append(wanted)
        elif not wanted.base:
            for preset in self._presets_of(wanted):
                self._publish(wanted, ModelRef("", (), preset.slug), preset, anchor="")
        elif wanted.has_wildcard:
            self._add_wildcard(wanted)
        else:
            self._add_named(wanted)

    def result(self) -> Published:
        """The list, sorted."""
        behind: dict[str, list[Entry]] = {}
        for anchor, entry in self._virtual.values():
            behind.setdefault(anchor, []).append(entry)
        alone = behind.pop("", [])
        anchors = {**self._rows, **{row_id: self._catalog.models[row_id] for row_id in behind}}
        entries: list[Entry] = []
        for model in sorted(anchors.values(), key=lambda row: (row.name.casefold(), row.id)):
            if model.id in self._rows:
                entries.append(Entry(model.ref, model.name, model, model.description))
            entries += behind.get(model.id, ())
        entries += alone
        by_webui_id = {entry.webui_id: entry for entry in entries}
        return Published(
            self._catalog, self._publishing, tuple(entries), tuple(self._problems), self._left_out, by_webui_id
        )

    def _passes_as_row(self, model: Model) -> bool:
        valve = "" if model.id in self._choice.matched else "MODEL_ID"
        valve = valve or self._filter(model.is_free, model.has_tools)
        if valve:
            self._left_out[model.id] = valve
        return not valve

    def _filter(self, is_free: bool, has_tools: bool) -> str:
        return filter_reason(is_free, has_tools, self._publishing.free_filter, self._publishing.tools_filter)

    def _report(self, wanted: _Wanted, reason: str, hint: str | Callable[[], str] = "") -> None:
        if callable(hint):
            hint = hint() if len(self._problems) < MAX_HINTS else ""
        self._problems.append(Problem(wanted.valve, wanted.entry, reason, hint))

    def _add_named(self, wanted: _Wanted) -> None:
        base = self._find_base(wanted)
        if base is None:
            if self._catalog.models:
                self._report(wanted, "Variant model base not found", lambda: closest(wanted.base, self._catalog.models))
            return
        self._note_doubtful_tags(wanted, base)
        for ref, preset in self._refs(wanted, base):
            self._publish(wanted, ref, preset, self._anchor(ref))

    def _add_wildcard(self, wanted: _Wanted) -> None:
        self._wildcards += 1
        if self._wildcards > MAX_WILDCARDS:
            if self._wildcards == MAX_WILDCARDS + 1:
                self._report(wanted, f"only the first {MAX_WILDCARDS} entries with wildcards count")
            return
        within = self._index.match(Pattern(wanted.entry, wanted.base.lower()))
        if wanted.valve == "VARIANT_MODELS":
            within &= self._choice.matched
        bases = [
            base for row_id in self._catalog.models if row_id in within and (base := self._base_for(row_id, wanted))
        ]
        if not bases and self._catalog.models:
            self._report(wanted, "matches no selected model")
        elif bases:
            self._note_doubtful_tags(wanted, "")
        for base in dict.fromkeys(bases):
            for ref, preset in self._refs(wanted, base):
                self._publish(wanted, ref, preset, self._anchor(ref))

    def _base_for(self, row_id: str, wanted: _Wanted) -> str | None:
        """What a wildcard's tags are put on for this row; None when the row has no such catalog variant."""
        row = self._catalog.models[row_id].ref
        if wanted.catalog_tag is None:
            return row_id
        has_row = f"{row.base}:{wanted.catalog_tag}" in self._catalog.models
        return row.base if has_row and row.catalog_tag in (None, wanted.catalog_tag) else None

    def _find_base(self, wanted: _Wanted) -> str | None:
        """The id, as the catalog spells it, of the row that the tags are put on."""
        for spelling in (wanted.base, first_dot_to_slash(wanted.base)):
            if wanted.catalog_tag:
                row_id = self._catalog.find_base(f"{spelling}:{wanted.catalog_tag}")
                if row_id is not None:
                    return ModelRef.from_api(row_id).base
            base = self._catalog.find_base(spelling)
            if base is not None:
                return base
        return None

    def _refs(self, wanted: _Wanted, base: str) -> Iterator[tuple[ModelRef, Preset | None]]:
        on = ModelRef.from_api(base)
        variants = (*on.variants, *(tag for tag in wanted.tags if tag not in on.variants))
        if wanted.preset is None:
            yield ModelRef(on.base, variants), None
        else:
            for preset in self._presets_of(wanted):
                yield ModelRef(on.base, variants, preset.slug), preset

    def _presets_of(self, wanted: _Wanted) -> list[Preset]:
        """The presets an entry asks for: all that were discovered, or the written one under its slug."""
        if wanted.preset == _ANY_PRESET:
            return list(self._presets.values())
        slug = wanted.preset or ""
        known = self._presets.get(slug)
        return [Preset(slug, slug, known.description if known else "", known.model_id if known else None)]

    def _anchor(self, ref: ModelRef) -> str:
        """The row that a virtual model follows in the list: a published one if there is one."""
        rows = [row_id for row_id in ref.row_ids if row_id in self._catalog.models]
        return next((row_id for row_id in rows if row_id in self._rows), rows[0])

    def _note_doubtful_tags(self, wanted: _Wanted, base: str) -> None:
        """Report tags that OpenRouter may refuse; the entry is published all the same."""
        for tag in wanted.tags:
            if tag in CATALOG_TAGS:
                if base and f"{base}:{tag}" not in self._catalog.models:
                    deprecated = f":{tag} is deprecated" if tag in DEPRECATED_TAGS else "OpenRouter may refuse it"
                    self._report(wanted, f"the catalog has no {base}:{tag}", deprecated)
            elif tag not in ROUTING_TAGS:
                self._report(wanted, f"unknown variant :{tag}", f"OpenRouter has :{', :'.join(ROUTING_TAGS)}")
            elif tag in DEPRECATED_TAGS:
                self._report(wanted, f"variant :{tag} is deprecated")

    def _publish(self, wanted: _Wanted, ref: ModelRef, preset: Preset | None, anchor: str) -> None:
        api_id = ref.api_id
        if api_id in self._rows or api_id in self._virtual:
            return
        model = self._catalog.describe(ref)
        if model is None and preset is not None and preset.model_id:
            model = self._catalog.describe(ModelRef.from_api(preset.model_id))
        valve = self._reason_to_leave_out(wanted, ref, model)
        if valve:
            self._left_out[api_id] = valve
            if not wanted.has_wildcard and wanted.preset != _ANY_PRESET:
                self._report(wanted, f"left out by {valve}")
            return
        if len(self._virtual) >= MAX_ENTRIES:
            if not self._full:
                self._full = True
                self._report(wanted, f"only the first {MAX_ENTRIES} virtual models are listed")
            return
        description = (preset.description if preset else "") or (model.description if model else "")
        name = display_name(ref, model if ref.base else None, preset.name if preset else None)
        self._virtual[api_id] = (anchor, Entry(ref, name, model, description))

    def _reason_to_leave_out(self, wanted: _Wanted, ref: ModelRef, model: Model | None) -> str:
        """The valve that leaves a virtual model out, or an empty text."""
        rows = [row_id for row_id in ref.row_ids if row_id in self._catalog.models]
        if ref.base and wanted.valve != "MODEL_ID" and not any(row_id in self._choice.matched for row_id in rows):
            return "MODEL_ID"
        if (rows and rows[0] in self._choice.excluded) or self._choice.excludes_name(ref):
            return "MODEL_ID"
        if model is None:
            return self._filter(is_free=False, has_tools=True)
        return self._filter(model.is_free or "free" in ref.variants, model.has_tools)


def _read_entry(valve: str, entry: str) -> _Wanted | Problem:
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
    return _Wanted(valve, entry, base, of_catalog + tuple(tag for tag in tags if tag not in of_catalog), preset)


def _split_preset_entry(entry: str) -> tuple[str, str | Problem | None]:
    """`model@preset/slug` (or Open WebUI's `model:preset/slug`) → the model and the slug; no slug: None."""
    head, found, tail = entry.partition("@")
    if not found:
        head, found, slug = entry.partition(":preset/")
        tail = f"preset/{slug}"
    if not found:
        return entry, None
    slug = tail.removeprefix("preset/")
    if slug == tail:
        return head, Problem("", "", "a preset is written @preset/slug", f"{head}@preset/{tail}")
    if slug != _ANY_PRESET and not is_preset_slug(slug):
        return head, Problem("", "", "not the slug of a preset", "letters, digits, dots, dashes and underscores")
    return head, slug


def _missing_colon_hint(base: str) -> str:
    known = (*ROUTING_TAGS, *CATALOG_TAGS)
    tag = next((tag for tag in known if base.lower().endswith(f"-{tag}")), None)
    return f"{base[: -len(tag) - 1]}:{tag}" if tag else f"e.g. {base}:nitro"
