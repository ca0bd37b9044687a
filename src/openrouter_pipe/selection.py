"""Which catalog rows `MODEL_ID` selects."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

from .catalog import Catalog
from .model_ref import ROUTING_TAGS, ModelRef
from .problems import MAX_ENTRY_LENGTH, MAX_HINTS, Problem, closest, has_wildcard, split_entries


class Choice(NamedTuple):
    """What `MODEL_ID` says of one catalog: ids it selects and excludes, its `!` entries, those that name virtual models."""

    matched: set[str]
    excluded: set[str]
    excludes: list[str]
    virtual_entries: list[str]
    problems: list[Problem]


class NameIndex:
    """Names of models by each spelling that an entry is matched against."""

    def __init__(self, refs: Iterable[ModelRef]) -> None:
        self._refs = tuple(refs)

    def match(self, entry: str) -> set[str]:
        """The API ids that an entry of `MODEL_ID` means, whether it has a `!` or not."""
        text = _pattern(entry)
        if text == "*":
            return {ref.api_id for ref in self._refs}
        if not has_wildcard(text):
            return set(self._ids.get(text, ()))
        # fnmatch's translation cannot backtrack without end; only "[" has to lose its meaning.
        fullmatch = re.compile(fnmatch.translate(text.replace("[", "[[]"))).fullmatch
        return set().union(*(ids for spelling, ids in self._ids.items() if fullmatch(spelling)))

    @cached_property
    def _ids(self) -> dict[str, list[str]]:
        """The API ids by `openai/gpt-4o`, `openai.gpt-4o` and `gpt-4o`, in lower case."""
        ids: dict[str, list[str]] = {}
        for ref in self._refs:
            name = ref.api_id.lower()
            author, slash, slug = name.partition("/")
            for spelling in (name, f"{author}.{slug}", slug) if slash else (name,):
                ids.setdefault(spelling, []).append(ref.api_id)
        return ids


def choose(catalog: Catalog, text: str, index: NameIndex) -> Choice:
    """Apply `MODEL_ID`. Empty and `auto` select everything, also beside excludes.

    Batch rows cannot be called in a chat: they need to be named exactly.
    """
    entries, problems = split_entries("MODEL_ID", text)
    batch = {model.id for model in catalog.models.values() if model.is_batch}
    # As one of several, "auto" is the name of a model (openrouter/auto) like any other.
    takes_all = [entry.lower() for entry in entries if not entry.startswith("!")] in ([], ["auto"])
    choice = Choice(index.match("*") - batch if takes_all else set(), set(), [], [], problems)
    for entry in entries:
        if len(entry) > MAX_ENTRY_LENGTH:
            problems.append(Problem("MODEL_ID", entry, "too long to be a model id"))
        elif entry.startswith("!"):
            choice.excludes.append(entry)
            choice.excluded.update(index.match(entry))
        elif _names_virtual_model(entry):
            choice.virtual_entries.append(entry)
        elif not takes_all:
            matches = index.match(entry)
            found = matches - batch if has_wildcard(entry) else matches
            choice.matched.update(found)
            if not found:
                report_unmatched(catalog, entry, problems, "batch models cannot be called in a chat" if matches else "")
    choice.matched.difference_update(choice.excluded)
    return choice


def report_unmatched(catalog: Catalog, entry: str, problems: list[Problem], hint: str = "") -> None:
    """Add the problem of an entry that matches nothing: none while no model at all is known."""
    if not hint and catalog.models and len(problems) < MAX_HINTS:
        authors = dict.fromkeys(f"{row_id.partition('/')[0]}/*" for row_id in catalog.models if "/" in row_id)
        hint = similar_models(catalog, _pattern(entry), authors)
    if catalog.models:
        problems.append(Problem("MODEL_ID", entry, "matches no model", hint))


def similar_models(catalog: Catalog, text: str, others: Iterable[str] = ()) -> str:
    """A hint that names the models (and `others`) that `text` may have meant; empty when there are none."""
    models = [model.id for model in catalog.models.values() if not model.is_batch]
    return closest(text, [*others, *models])


def _names_virtual_model(entry: str) -> bool:
    """Whether an entry has a preset or a routing tag, which no catalog row has."""
    text = _pattern(entry)
    return "@" in text or any(tag in ROUTING_TAGS for tag in text.split(":")[1:])


def _pattern(entry: str) -> str:
    """An entry in lower case, without `!`, a preset as OpenRouter spells it (not `model:preset/x`, `preset/x`)."""
    text = entry.lstrip("!").lower()
    return f"@{text}" if text.startswith("preset/") else text.replace(":preset/", "@preset/")
