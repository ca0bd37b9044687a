"""What is wrong with a setting or an entry of one: collected as data, logged once, shown to the admin."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .catalog import one_line

log = logging.getLogger("openrouter_pipe")

# A text that is far too long to be meant is cut here, so that a pasted book costs a moment, not a minute.
MAX_ENTRIES = 5_000
MAX_ENTRY_LENGTH = 256
# Matching a wildcard costs a look at every row of the catalog.
_MAX_WILDCARDS = 200
MAX_HINTS = 50
_MAX_HINT_CANDIDATES = 1_000


class Problem(NamedTuple):
    """One thing an admin should know: the valve, the entry as written, the reason, and what to do about it."""

    valve: str
    entry: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        text = ": ".join(part for part in (self.valve, self.reason, one_line(self.entry)[:120]) if part)
        return one_line(f"{text} ({self.hint})" if self.hint else text)


def split_entries(valve: str, text: str) -> tuple[list[str], list[Problem]]:
    """The distinct entries of a list valve, in order, and problems when there were too many, or too many wildcards.

    Entries stand between commas, semicolons or line ends; `#` starts a comment to the end of the line; spaces do not count.
    """
    entries: dict[str, None] = {}
    problems: list[Problem] = []
    wildcards = 0
    for entry in _iter_entries(text):
        if entry in entries:
            continue
        if len(entries) >= MAX_ENTRIES:
            problems.append(Problem(valve, "", f"only the first {MAX_ENTRIES} entries count"))
            break
        # All presets of one model are no look at every row.
        is_pattern = has_wildcard(entry.removesuffix("preset/*"))
        wildcards += is_pattern
        if wildcards <= _MAX_WILDCARDS or not is_pattern:
            entries[entry] = None
        elif wildcards == _MAX_WILDCARDS + 1:
            problems.append(Problem(valve, entry, f"only the first {_MAX_WILDCARDS} entries with wildcards count"))
    return list(entries), problems


def has_wildcard(text: str) -> bool:
    """Whether `text` is a pattern."""
    return "*" in text or "?" in text


def closest(entry: str, candidates: Iterable[str]) -> str:
    """`did you mean a, b?` for up to three of `candidates` that begin or look like `entry`; empty when none does.

    An entry without an author is compared with what follows the candidates' authors as well.
    """
    wanted = entry.lower()
    author = wanted.partition("/")[0]
    # Ids of the same author first: they are the likely ones, and the number compared is limited.
    pool = sorted(candidates, key=lambda candidate: not candidate.lower().startswith(author))[:_MAX_HINT_CANDIDATES]
    by_name = {candidate.lower(): candidate for candidate in pool}
    if "/" not in wanted:
        by_name = {candidate.partition("/")[2].lower(): candidate for candidate in reversed(pool)} | by_name
    begun = sorted((name for name in by_name if name.startswith(wanted)), key=len) if len(wanted) > 1 else []
    names = [*begun[:2], *difflib.get_close_matches(wanted, by_name, n=3, cutoff=0.6)]
    found = list(dict.fromkeys(by_name[name] for name in names))[:3]
    return f"did you mean {', '.join(found)}?" if found else ""


def _iter_entries(text: str) -> Iterator[str]:
    for line in text.replace("\r", "\n").split("\n"):
        for part in line.partition("#")[0].replace(";", ",").split(","):
            entry = "".join(part.split())
            if entry:
                yield entry
