"""What is wrong with a setting or an entry of one: collected as data, logged once, shown to the admin."""

from __future__ import annotations

import difflib
import logging
import re
import traceback
from collections.abc import Iterable
from typing import NamedTuple

from .catalog import one_line

log = logging.getLogger("openrouter_pipe")

# A text that is far too long to be meant is cut here, so that a pasted book costs a moment, not a minute.
MAX_ENTRIES = 5_000
MAX_ENTRY_LENGTH = 256
MAX_HINTS = 50
# What of a list valve is not meant: comments, and spaces within a line.
_NOT_MEANT = re.compile(r"#[^\r\n]*|[^\S\r\n]+")


def log_surprise(what: str) -> None:
    """Log the exception that is being handled, as text: Open WebUI may show the values of an exception's variables."""
    log.error("%s\n%s", what, traceback.format_exc())


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
    """The distinct entries of a list valve, in order, and a problem when there were too many.

    Entries stand between commas, semicolons or line ends; `#` starts a comment to the end of the line; spaces do not count.
    """
    written = filter(None, re.split(r"[,;\r\n]", _NOT_MEANT.sub("", text)))
    # Nothing is called like an entry that had to be cut.
    cut = (entry if len(entry) <= MAX_ENTRY_LENGTH else f"{entry[:MAX_ENTRY_LENGTH]}…" for entry in written)
    entries = list(dict.fromkeys(cut))
    too_many = [Problem(valve, "", f"only the first {MAX_ENTRIES} entries count")] if len(entries) > MAX_ENTRIES else []
    return entries[:MAX_ENTRIES], too_many


def has_wildcard(text: str) -> bool:
    """Whether `text` is a pattern."""
    return "*" in text or "?" in text


def closest(entry: str, candidates: Iterable[str]) -> str:
    """`did you mean a, b?` for up to three of `candidates` that begin or look like `entry`; empty when none does.

    An entry without an author is compared with what follows the candidates' authors as well.
    """
    wanted = entry.lower()
    names = {candidate.lower(): candidate for candidate in candidates}
    if "/" not in wanted:
        names = {name.partition("/")[2]: candidate for name, candidate in names.items()} | names
    begun = sorted((name for name in names if name.startswith(wanted)), key=len) if len(wanted) > 1 else []
    alike = [*begun[:2], *difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)]
    found = list(dict.fromkeys(map(names.__getitem__, alike)))[:3]
    return f"did you mean {', '.join(found)}?" if found else ""
