"""Which models the entries of a list valve mean."""

from __future__ import annotations

import difflib
import fnmatch
import re
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
        if not has_wildcard(text):
            return set(self._spelled.get(text, ()))
        # fnmatch's translation cannot backtrack without end; only "[" has to lose its meaning.
        fullmatch = re.compile(fnmatch.translate(text.replace("[", "[[]"))).fullmatch
        return set().union(*(ids for spelling, ids in self._spelled.items() if fullmatch(spelling)))

    def similar(self, entry: str) -> str:
        """`did you mean a, b?` for up to three names that look like `entry`; empty when none does."""
        text = entry.lstrip("!").lower()
        names = [spelling for spelling in self._spelled if ("/" in spelling) == ("/" in text)]
        alike = [self._spelled[name] for name in difflib.get_close_matches(text, names, n=5)]
        found = dict.fromkeys(api_id for ids in alike for api_id in ids if not api_id.endswith(":batch"))
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
