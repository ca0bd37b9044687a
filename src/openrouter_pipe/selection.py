"""Which catalog rows are published: the `MODEL_ID` patterns and the two filters."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass

from .catalog import Catalog
from .model_ref import ROUTING_TAGS, ModelRef
from .problems import MAX_ENTRY_LENGTH, MAX_HINTS, Problem, closest, split_entries

# Matching a wildcard costs a look at every row: nobody writes this many, and garbage must not cost seconds.
MAX_WILDCARDS = 200
_EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One entry of `MODEL_ID`: as written, and its lower-case text without the `!`."""

    entry: str
    text: str

    @property
    def excludes(self) -> bool:
        """Whether the entry takes models away."""
        return self.entry.startswith("!")

    @property
    def has_wildcard(self) -> bool:
        """Whether the text holds `*` or `?`."""
        return "*" in self.text or "?" in self.text

    @property
    def regex(self) -> str:
        """The pattern for `re`. fnmatch's translation cannot backtrack without end; only "[" has to lose its meaning."""
        return fnmatch.translate(self.text.replace("[", "[[]"))


@dataclass(frozen=True, slots=True)
class Selection:
    """`MODEL_ID`, read: patterns for catalog rows, entries that name virtual models, problems of the text itself."""

    patterns: tuple[Pattern, ...]
    virtual_entries: tuple[str, ...]
    problems: tuple[Problem, ...]

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Read the valve. Empty, `auto` and `*` select everything, and so do only excludes."""
        entries, problems = split_entries("MODEL_ID", text)
        if [entry.lower() for entry in entries] == ["auto"]:
            entries = [_EVERYTHING]
        patterns: list[Pattern] = []
        virtual: list[str] = []
        wildcards = 0
        for entry in entries:
            pattern = Pattern(entry, entry.lstrip("!").lower())
            wildcards += pattern.has_wildcard
            if len(entry) > MAX_ENTRY_LENGTH:
                problems.append(Problem("MODEL_ID", entry, "too long to be a model id"))
            elif not pattern.excludes and _names_virtual_model(pattern.text):
                virtual.append(entry)
            elif pattern.text and wildcards <= MAX_WILDCARDS:
                patterns.append(pattern)
        if wildcards > MAX_WILDCARDS:
            problems.append(Problem("MODEL_ID", "", f"only the first {MAX_WILDCARDS} entries with wildcards count"))
        if all(entry.startswith("!") for entry in entries):
            patterns.append(Pattern(_EVERYTHING, _EVERYTHING))
        return cls(tuple(patterns), tuple(virtual), tuple(problems))


@dataclass(frozen=True, slots=True)
class Choice:
    """What `MODEL_ID` says of one catalog: ids it matches and does not exclude, and a test for names of virtual models."""

    matched: frozenset[str]
    excluded: frozenset[str]
    problems: tuple[Problem, ...]
    _exclude_names: frozenset[str]
    _exclude_regex: re.Pattern[str] | None

    def excludes_name(self, ref: ModelRef) -> bool:
        """Whether a `!` pattern excludes a virtual model by its own name."""
        regex = self._exclude_regex
        return any(
            spelling in self._exclude_names or (regex is not None and regex.fullmatch(spelling) is not None)
            for spelling in _spellings(ref)
        )


class RowIndex:
    """The ids of the catalog's rows by each spelling that a pattern is matched against."""

    def __init__(self, catalog: Catalog) -> None:
        self._ids: dict[str, list[str]] = {}
        for model in catalog.models.values():
            for spelling in _spellings(model.ref):
                self._ids.setdefault(spelling, []).append(model.id)

    def match(self, pattern: Pattern) -> set[str]:
        """The ids of the rows that `pattern` matches."""
        if not pattern.has_wildcard:
            return set(self._ids.get(pattern.text, ()))
        if pattern.text == _EVERYTHING:
            return set().union(*self._ids.values())
        fullmatch = re.compile(pattern.regex).fullmatch
        return set().union(*(ids for spelling, ids in self._ids.items() if fullmatch(spelling)))


def choose(catalog: Catalog, selection: Selection, index: RowIndex) -> Choice:
    """Apply `MODEL_ID` to the catalog. Batch rows cannot be called in a chat: they need to be named exactly."""
    batch = {model.id for model in catalog.models.values() if model.ref.catalog_tag == "batch"}
    included: set[str] = set()
    excluded: set[str] = set()
    problems = list(selection.problems)
    for pattern in selection.patterns:
        matches = index.match(pattern)
        if pattern.excludes:
            excluded |= matches
        else:
            included |= (matches - batch) if pattern.has_wildcard else matches
        if not matches and catalog.models and not _names_virtual_model(pattern.text):
            hint = closest(pattern.text.lstrip("!"), catalog.models) if len(problems) < MAX_HINTS else ""
            problems.append(Problem("MODEL_ID", pattern.entry, "matches no model", hint))
    excludes = [pattern for pattern in selection.patterns if pattern.excludes]
    wildcards = [pattern.regex for pattern in excludes if pattern.has_wildcard]
    return Choice(
        frozenset(included - excluded),
        frozenset(excluded),
        tuple(problems),
        frozenset(pattern.text for pattern in excludes if not pattern.has_wildcard),
        re.compile("|".join(wildcards)) if wildcards else None,
    )


def filter_reason(is_free: bool, has_tools: bool, free_filter: str, tools_filter: str) -> str:
    """The name of the filter valve (`all` | `only` | `exclude`) that leaves such a model out, or an empty text."""
    for valve, wanted, value in (
        ("FREE_MODEL_FILTER", free_filter, is_free),
        ("TOOL_CALLING_FILTER", tools_filter, has_tools),
    ):
        if (wanted == "only" and not value) or (wanted == "exclude" and value):
            return valve
    return ""


def _names_virtual_model(text: str) -> bool:
    """Whether an entry has a preset or a routing tag, which no catalog row has."""
    tags = text.split(":")[1:]
    return "@" in text or any(tag in ROUTING_TAGS or tag.startswith("preset/") for tag in tags)


def _spellings(ref: ModelRef) -> tuple[str, ...]:
    """The lower-case forms that a pattern is matched against: `openai/gpt-4o`, `openai.gpt-4o`, `gpt-4o`."""
    name = ref.api_id.lower()
    author, slash, slug = name.partition("/")
    return (name, f"{author}.{slug}", slug) if slash else (name,)
