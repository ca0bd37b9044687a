"""Writes docs/errors.md: every case of failure, and the line that a person reads, made by the code that makes it.

`--check` only says whether the page is current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import aiohttp
from aiohttp.client_reqrep import ConnectionKey

from openrouter_pipe import errors
from openrouter_pipe.answer import _EMPTY, _EMPTY_OTHERWISE, SURPRISE
from openrouter_pipe.errors import ANY_NUMBER, BROKE_OFF, PipeError, UpstreamError
from openrouter_pipe.settings import Settings
from openrouter_pipe.transport import connection_failed

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
MODEL = "deepseek/deepseek-r1:free"
# Of the kinds that upstream sends with a status that is tried again.
STATUSES = {"capacity_exhausted": 429}
HEAD = """\
# What a person reads when something fails

One line of at most 500 characters: what happened, who said it, why, and what to do. It stands below what was already
shown, in a chat as in the answer to an API caller. This page is written by `python scripts/error_page.py`, with the code
that writes the lines.

- Where the provider gave a reason, it stands behind a colon: dug out of `metadata.raw`, moderation's reasons, or the
  constraint that left no endpoint. "OpenRouter" is the provider's name where one is known.
- Where OpenRouter names `fallback_models`, they are the advice.
- "Tried again" is what happens before anything was shown, `MAX_RETRIES` times at most. What upstream says of it
  (`availability.retryable`, `Retry-After`) comes first. After that the line says how often it was tried.
"""


def tables() -> str:
    """The page's text."""
    settings = Settings(API_KEY="sk-or-v1-x", BASE_URL="https://openrouter.ai/api/v1")
    key = ConnectionKey("openrouter.ai", 443, True, True, None, None, None)
    refused = aiohttp.ClientConnectorError(key, OSError(111, "Connection refused"))
    unknown = aiohttp.ClientConnectorDNSError(key, OSError(-2, "Name or service not known"))
    statuses = sorted(case for case in errors._SENTENCES if isinstance(case, int))
    kinds = [case for case in errors._SENTENCES if isinstance(case, str)]
    unreachable = {
        "connection refused": refused,
        "unknown host": unknown,
        "no connection in time": aiohttp.ConnectionTimeoutError(),
        "silence": TimeoutError(),
        "closed without an answer": aiohttp.ServerDisconnectedError(),
    }
    broken = {
        "the stream ends without its end": PipeError(BROKE_OFF.format(whose=MODEL), ANY_NUMBER),
        "nothing in it": PipeError(_EMPTY_OTHERWISE.format(model=MODEL), 1),
        **{f"nothing in it, `{reason}`": PipeError(text.format(model=MODEL)) for reason, text in _EMPTY.items()},
        "a fault of the pipe itself": PipeError(SURPRISE),
    }
    return "\n".join(
        (
            HEAD,
            *table("status", {str(status or "other"): UpstreamError(MODEL, status) for status in statuses}),
            *table(
                "kind of error",
                {f"`{kind}`": UpstreamError(MODEL, STATUSES.get(kind, 0), kind) for kind in kinds},
            ),
            *table("no answer", {case: connection_failed(error, settings, 300) for case, error in unreachable.items()}),
            *table("a broken answer", broken),
        )
    )


def table(title: str, cases: Mapping[str, PipeError]) -> Iterable[str]:
    """A table in Markdown."""
    yield f"| {title} | line | tried again |"
    yield "|---|---|---|"
    for case, error in cases.items():
        often = {0: "no", 1: "once"}.get(error.max_retries, "yes")
        yield f"| {case} | {error} | {often} |"
    yield ""


def main() -> int:
    """Write the page, or check it; the exit code."""
    text = tables()
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE} is not current: run python scripts/error_page.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
