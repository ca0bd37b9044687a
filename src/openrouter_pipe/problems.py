"""What is wrong with a setting or an entry of one: collected as data, logged once, shown to the admin."""

from __future__ import annotations

import logging
import re
import traceback
from functools import lru_cache
from typing import NamedTuple

from .catalog import one_line

log = logging.getLogger("openrouter_pipe")

# Longer texts are cut, so that a pasted book costs a moment, not a minute.
MAX_ENTRIES = 5_000
_MAX_ENTRY_LENGTH = 256
MAX_HINTS = 50
# What of a list valve is not meant: comments, and spaces within a line.
_NOT_MEANT = re.compile(r"#[^\r\n]*|[^\S\r\n]+")


def log_surprise(what: str) -> None:
    """Log the exception that is handled, as text: Open WebUI may show the values of an exception's variables."""
    log.error("%s\n%s", what, traceback.format_exc())


class Problem(NamedTuple):
    """One thing an admin should know: the valve, the entry as written, the reason, and what to do about it."""

    valve: str
    entry: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        text = ": ".join(filter(None, (self.valve, self.reason, self.entry)))
        return one_line(f"{text} ({self.hint})" if self.hint else text)


@lru_cache(maxsize=64)
def split_entries(text: str) -> tuple[str, ...]:
    """The distinct entries of a list valve, in order.

    Entries stand between commas, semicolons or line ends; `#` starts a comment to the end of the line; spaces do not count.
    """
    written = filter(None, re.split(r"[,;\r\n]", _NOT_MEANT.sub("", text)))
    # No id is as long as an entry that had to be cut.
    return tuple(dict.fromkeys(entry[:_MAX_ENTRY_LENGTH] for entry in written))[:MAX_ENTRIES]


def has_wildcard(text: str) -> bool:
    """Whether `text` is a pattern."""
    return "*" in text or "?" in text
