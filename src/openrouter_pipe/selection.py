"""Which catalog rows `MODEL_ID` selects."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable
from functools import cached_property
from typing import NamedTuple

from .catalog import Catalog
from .model_ref import ROUTING_TAGS
from .problems import MAX_HINTS, Problem, closest, has_wildcard, split_entries


class Choice(NamedTuple):
    """What `MODEL_ID` says: the ids it selects, its entries that name virtual models, and its `!` entries."""

    matched: set[str]
    virtual_entries: list[str]
    excludes: list[str]
    problems: list[Problem]


class NameIndex:
    """Names of models by each spelling that an entry is matched against."""

    def __init__(self, api_ids: Iterable[str]) -> None:
        self._api_ids = tuple(api_ids)

    def match(self, entry: str) -> set[str]:
        """The API ids that an entry means, whether it has a `!` or not."""
        text = entry.lstrip("!").lower()
        if text == "*":
            return set(self._api_ids)
        if not has_wildcard(text):
            return set(self._spelled.get(text, ()))
        # fnmatch's translation cannot backtrack without end; only "[" has to lose its meaning.
        fullmatch = re.compile(fnmatch.translate(text.replace("[", "[[]"))).fullmatch
        return set().union(*(ids for spelling, ids in self._spelled.items() if fullmatch(spelling)))

    @cached_property
    def _spelled(self) -> dict[str, list[str]]:
        """The API ids by `openai/gpt-4o`, `openai.gpt-4o` and `gpt-4o`, in lower case."""
        spelled: dict[str, list[str]] = {}
        for api_id in self._api_ids:
            name = api_id.lower()
            for spelling in {name, name.replace("/", ".", 1), name.partition("/")[2] or name}:
                spelled.setdefault(spelling, []).append(api_id)
        return spelled


def choose(catalog: Catalog, text: str, index: NameIndex) -> Choice:
    """Apply `MODEL_ID`. Empty and `auto` select everything, also beside excludes.

    Batch rows cannot be called in a chat: they need to be named exactly.
    """
    entries, problems = split_entries("MODEL_ID", text)
    excludes = [entry for entry in entries if entry.startswith("!")]
    includes = [entry for entry in entries if not entry.startswith("!")]
    # As one of several, "auto" is the name of a model (openrouter/auto) like any other.
    if [entry.lower() for entry in includes] in ([], ["auto"]):
        includes = ["*"]
    choice = Choice(set(), [], excludes, problems)
    batch = {model.id for model in catalog.models.values() if model.is_batch}
    for entry in includes:
        if "@" in entry or any(tag in ROUTING_TAGS for tag in entry.lower().split(":")[1:]):
            choice.virtual_entries.append(entry)
            continue
        found = index.match(entry) - (batch if has_wildcard(entry) else set())
        choice.matched.update(found)
        if not found:
            report_unmatched(catalog, entry, problems)
    for entry in excludes:
        choice.matched.difference_update(index.match(entry))
    return choice


def report_unmatched(catalog: Catalog, entry: str, problems: list[Problem]) -> None:
    """Add the problem of an entry of `MODEL_ID` that matches nothing: none while no model at all is known."""
    if catalog.models:
        problems.append(Problem("MODEL_ID", entry, "matches no model", similar_models(catalog, entry, problems)))


def similar_models(catalog: Catalog, entry: str, problems: Collection[Problem] = ()) -> str:
    """A hint that names what `entry` may have meant; empty when nothing is like it, or after too many problems."""
    if len(problems) >= MAX_HINTS:
        return ""
    text = entry.lstrip("!")
    names = [model.id for model in catalog.models.values() if not model.is_batch]
    if has_wildcard(text) or "/" not in text:
        names += {f"{name.partition('/')[0]}/*": None for name in names if "/" in name}
    return closest(text, names)
