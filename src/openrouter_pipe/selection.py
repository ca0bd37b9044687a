"""Which catalog rows are published: the `MODEL_ID` patterns and the two filters."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from .catalog import Catalog
from .model_ref import ROUTING_TAGS, ModelRef
from .problems import MAX_ENTRY_LENGTH, MAX_HINTS, Problem, closest, split_entries

# Matching a wildcard costs a look at every row: nobody writes this many, and garbage must not cost seconds.
MAX_WILDCARDS = 200
_EVERYTHING = "*"


class Pattern(NamedTuple):
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


class Selection(NamedTuple):
    """`MODEL_ID`, read: patterns for catalog rows, entries that name virtual models, problems of the text itself."""

    patterns: tuple[Pattern, ...]
    virtual_entries: tuple[str, ...]
    problems: tuple[Problem, ...]

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Read the valve. Empty, `auto` and `*` select everything, and so do only excludes (beside one of these)."""
        entries, problems = split_entries("MODEL_ID", text)
        includes = [entry.lower() for entry in entries if not entry.startswith("!")]
        # As one of several, "auto" is the name of a model (openrouter/auto) like any other.
        takes_all = includes in ([], ["auto"])
        patterns = [Pattern(_EVERYTHING, _EVERYTHING)] if takes_all else []
        virtual: list[str] = []
        wildcards = 0
        for entry in entries:
            pattern = Pattern(entry, _with_at_sign(entry.lstrip("!").lower()))
            wildcards += pattern.has_wildcard
            if len(entry) > MAX_ENTRY_LENGTH:
                problems.append(Problem("MODEL_ID", entry, "too long to be a model id"))
            elif takes_all and not pattern.excludes:
                continue
            elif not pattern.excludes and _names_virtual_model(pattern.text):
                virtual.append(entry)
            elif not pattern.has_wildcard or wildcards <= MAX_WILDCARDS:
                patterns.append(pattern)
        if wildcards > MAX_WILDCARDS:
            problems.append(Problem("MODEL_ID", "", f"only the first {MAX_WILDCARDS} entries with wildcards count"))
        return cls(tuple(patterns), tuple(virtual), tuple(problems))


@dataclass(frozen=True, slots=True)
class Choice:
    """What `MODEL_ID` says of one catalog: ids it matches and does not exclude, and a test for names of virtual models.

    `idle_excludes` are the `!` patterns that match no row: they may still match a virtual model.
    """

    matched: frozenset[str]
    excluded: frozenset[str]
    idle_excludes: tuple[Pattern, ...]
    problems: tuple[Problem, ...]
    _exclude_names: frozenset[str]
    _exclude_regex: re.Pattern[str] | None

    def excludes_name(self, ref: ModelRef) -> bool:
        """Whether a `!` pattern excludes a virtual model by its own name."""
        regex = self._exclude_regex
        if regex is None and not self._exclude_names:
            return False
        return any(
            spelling in self._exclude_names or (regex is not None and regex.fullmatch(spelling) is not None)
            for spelling in _spellings(ref)
        )


class NameIndex:
    """Names of models by each spelling that a pattern is matched against."""

    def __init__(self, refs: Iterable[ModelRef]) -> None:
        self._refs = tuple(refs)

    def match(self, pattern: Pattern) -> set[str]:
        """The API ids that `pattern` matches."""
        if pattern.text == _EVERYTHING:
            return {ref.api_id for ref in self._refs}
        if not pattern.has_wildcard:
            return set(self._ids.get(pattern.text, ()))
        fullmatch = re.compile(pattern.regex).fullmatch
        return set().union(*(ids for spelling, ids in self._ids.items() if fullmatch(spelling)))

    @cached_property
    def _ids(self) -> dict[str, list[str]]:
        ids: dict[str, list[str]] = {}
        for ref in self._refs:
            for spelling in _spellings(ref):
                ids.setdefault(spelling, []).append(ref.api_id)
        return ids


def choose(catalog: Catalog, selection: Selection, index: NameIndex) -> Choice:
    """Apply `MODEL_ID` to the catalog. Batch rows cannot be called in a chat: they need to be named exactly."""
    batch = {model.id for model in catalog.models.values() if "batch" in model.ref.variants}
    included: set[str] = set()
    excluded: set[str] = set()
    idle: list[Pattern] = []
    problems = list(selection.problems)
    for pattern in selection.patterns:
        matches = index.match(pattern)
        if pattern.excludes:
            excluded |= matches
            if not matches:
                idle.append(pattern)
            continue
        found = matches - batch if pattern.has_wildcard else matches
        included |= found
        if not found:
            hint = "batch models cannot be called in a chat" if matches else ""
            problems += unmatched(catalog, pattern, hint, len(problems))
    excludes = [pattern for pattern in selection.patterns if pattern.excludes]
    wildcards = [pattern.regex for pattern in excludes if pattern.has_wildcard]
    return Choice(
        frozenset(included - excluded),
        frozenset(excluded),
        tuple(idle),
        tuple(problems),
        frozenset(pattern.text for pattern in excludes if not pattern.has_wildcard),
        re.compile("|".join(wildcards)) if wildcards else None,
    )


def unmatched(catalog: Catalog, pattern: Pattern, hint: str, problems_so_far: int) -> list[Problem]:
    """The report of a pattern that matches nothing: none while no model at all is known."""
    if not catalog.models:
        return []
    if not hint and problems_so_far < MAX_HINTS:
        authors = dict.fromkeys(f"{row_id.partition('/')[0]}/*" for row_id in catalog.models if "/" in row_id)
        hint = similar_models(catalog, pattern.text, authors)
    return [Problem("MODEL_ID", pattern.entry, "matches no model", hint)]


def similar_models(catalog: Catalog, text: str, others: Iterable[str] = ()) -> str:
    """A hint that names the models (and `others`) that `text` may have meant; empty when there are none."""
    return closest(
        text, [*others, *(model.id for model in catalog.models.values() if "batch" not in model.ref.variants)]
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
    return "@" in text or any(tag in ROUTING_TAGS for tag in text.split(":")[1:])


def _with_at_sign(text: str) -> str:
    """A preset as OpenRouter spells it; Open WebUI's ids have `model:preset/slug` and `preset/slug`."""
    return f"@{text}" if text.startswith("preset/") else text.replace(":preset/", "@preset/")


def _spellings(ref: ModelRef) -> tuple[str, ...]:
    """The lower-case forms that a pattern is matched against: `openai/gpt-4o`, `openai.gpt-4o`, `gpt-4o`."""
    name = ref.api_id.lower()
    author, slash, slug = name.partition("/")
    return (name, f"{author}.{slug}", slug) if slash else (name,)
