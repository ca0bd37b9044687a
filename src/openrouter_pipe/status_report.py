"""What the status model answers: the state of the pipe, in Markdown."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from .catalog import one_line
from .codec import JsonObject
from .cost_line import amount_of, dollars
from .errors import duration, plain
from .problems import Problem
from .virtual_models import Published

_MAX_SHOWN = 100
_MARKUP = re.compile(r"([\\`*_\[\]<>~|#$])")
_ESCAPED = r"\\\1"
_USED_KEYS = {"usage": "in all", "usage_daily": "today", "usage_weekly": "this week", "usage_monthly": "this month"}


class PipeState(NamedTuple):
    """What the report is made from. `key` is the `data` of `GET /key`, or the sentence that says why there is none.

    Times are Unix times in seconds; `fetched_at` 0: never. `errors`: when, and what a person was told.
    """

    version: str
    key: JsonObject | str
    published: Published | None
    fetched_at: float
    problems: tuple[Problem, ...]
    errors: tuple[tuple[float, str], ...]
    now: float


def status_report(state: PipeState) -> str:
    """The report, section by section."""
    sections = {
        "Key": _key_lines(state.key),
        "Models": _model_lines(state),
        "Problems": [_unmarked(str(problem)) for problem in state.problems],
        "Last errors": [f"{_ago(state.now - at)}: {_unmarked(text)}" for at, text in reversed(state.errors)],
    }
    if state.published is not None and state.published.publishing.wants_presets:
        sections["Presets"] = _preset_lines(state.published)
    return "\n\n".join((f"**OpenRouter pipe {state.version}**", *(_section(*section) for section in sections.items())))


def _section(title: str, lines: list[str]) -> str:
    rest = len(lines) - _MAX_SHOWN
    shown = [*lines[:_MAX_SHOWN], *([f"… and {rest} more"] if rest > 0 else [])] or ["none"]
    return "\n".join((f"### {title}", *(f"- {line}" for line in shown)))


def _key_lines(key: JsonObject | str) -> list[str]:
    """Source: OpenRouter's OpenAPI document, `GET /key`."""
    if isinstance(key, str):
        return [_unmarked(key)]
    used = [f"{_dollars(key[name])} {words}" for name, words in _USED_KEYS.items() if name in key]
    limit, resets = key.get("limit"), key.get("limit_reset")
    resetting = f", resets {_unmarked(resets)}" if isinstance(resets, str) else ""
    left = f"{_dollars(limit)}, {_dollars(key.get('limit_remaining'))} left{resetting}"
    return [
        # OpenRouter's own label is the key's two ends.
        f"label: {_MARKUP.sub(_ESCAPED, one_line(key.get('label'))[:60]) or '-'}",
        f"used: {', '.join(used) or '-'}",
        f"limit: {left if isinstance(limit, (int, float)) else 'none'}",
    ]


def _model_lines(state: PipeState) -> list[str]:
    published = state.published
    if published is None:
        return ["no model is known yet"]
    models, listed = published.catalog.models, len(published.entries)
    rows = sum(entry.ref.api_id in models for entry in published.entries)
    # Batch models are left out whatever the valves say, unless one is named.
    batch = {api_id for api_id in published.left_out if api_id in models and models[api_id].is_batch}
    left_out = Counter(valve for api_id, valve in published.left_out.items() if api_id not in batch)
    counts = {
        "listed": listed,
        "of the catalog": f"{rows} of {len(models)}",
        "variants and presets": listed - rows,
        **{f"left out by `{valve}`": count for valve, count in left_out.items()},
        "batch models, which cannot be called in a chat": len(batch),
        "rows that cannot chat (no text output, or no id)": published.catalog.left_out,
    }
    age = f"catalog fetched {_ago(state.now - state.fetched_at)}" if state.fetched_at else "catalog never fetched"
    return [age, *(f"{what}: {count}" for what, count in counts.items() if count)]


def _preset_lines(published: Published) -> list[str]:
    if not published.catalog.knows_presets:
        return ["not fetched yet"]
    return [
        f"`@preset/{preset.slug}`: {_unmarked(preset.name)}"
        + (f", on {_unmarked(preset.model_id)}" if preset.model_id else "")
        for preset in published.catalog.presets
    ]


def _dollars(value: object) -> str:
    amount = amount_of(value)
    return "?" if amount is None else dollars(amount)


def _ago(seconds: float) -> str:
    return f"{duration(seconds)} ago"


def _unmarked(text: str) -> str:
    """One line in which nothing is markup or a key."""
    return _MARKUP.sub(_ESCAPED, plain(text))
