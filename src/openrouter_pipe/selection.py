"""Which models the entries of a list valve mean."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable
from functools import cached_property

from .problems import has_wildcard


class NameIndex:
    """Names of models by each spelling that an entry is matched against."""

    def __init__(self, api_ids: Iterable[str]) -> None:
        self._api_ids = tuple(api_ids)

    def match(self, entry: str) -> set[str]:
        """The API ids that an entry means, whether it has a `!` or not."""
        text = entry.lstrip("!").lower()
        if text == "*":
            return set(self._api_ids)
        # fnmatch's patterns cannot backtrack without end; only "[" has to lose its meaning.
        spellings = fnmatch.filter(self._spelled, text.replace("[", "[[]")) if has_wildcard(text) else [text]
        return {api_id for spelling in spellings for api_id in self._spelled.get(spelling, ())}

    def similar(self, entry: str) -> str:
        """`did you mean a, b?` for up to three names that look like `entry`; empty when none does."""
        text = entry.lstrip("!").lower()
        names = [spelling for spelling in self._spelled if ("/" in spelling) == ("/" in text)]
        alike = [api_id for name in difflib.get_close_matches(text, names, n=5) for api_id in self._spelled[name]]
        found = dict.fromkeys(api_id for api_id in alike if not api_id.endswith(":batch"))
        return f"did you mean {', '.join([*found][:3])}?" if found else ""

    @cached_property
    def _spelled(self) -> dict[str, list[str]]:
        """The API ids by `openai/gpt-4o`, `openai.gpt-4o` and `gpt-4o`, in lower case."""
        spelled: dict[str, list[str]] = {}
        for api_id in self._api_ids:
            name = api_id.lower()
            for spelling in {name, name.replace("/", ".", 1), name.partition("/")[2] or name}:
                spelled.setdefault(spelling, []).append(api_id)
        return spelled
