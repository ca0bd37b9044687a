"""What the status model answers: the state of the pipe, in Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from .catalog import one_line
from .codec import JsonObject, amount_of
from .cost_line import dollars
from .errors import duration, plain
from .problems import Problem
from .virtual_models import Published

_MAX_SHOWN = 100
_MARKUP = re.compile(r"([\\`*_\[\]<>~|#$])")
_ESCAPED = r"\\\1"
_BATCH = "batch models, which cannot be called in a chat"
_USED_KEYS = {"usage": "in all", "usage_daily": "today", "usage_weekly": "this week", "usage_monthly": "this month"}


def status_report(
    version: str,
    key: JsonObject | str,
    published: Published | None,
    fetched_at: float,
    problems: Iterable[Problem],
    errors: Sequence[tuple[float, str]],
    now: float,
) -> str:
    """The report, section by section.

    `key` is the `data` of `GET /key`, or the sentence that says why there is none; `errors`: when, and what a person was told.
    Times are Unix times in seconds.
    """
    sections = {
        "Key": [_unmarked(key)] if isinstance(key, str) else _key_lines(key),
        "Models": ["no model is known yet"] if published is None else _model_lines(published, now - fetched_at),
        "Problems": [_unmarked(str(problem)) for problem in problems],
        "Last errors": [f"{duration(now - at)} ago: {_unmarked(text)}" for at, text in reversed(errors)],
    }
    if published and published.publishing.wants_presets:
        sections["Presets"] = _preset_lines(published)
    return "\n\n".join((f"**OpenRouter pipe {version}**", *(_section(*section) for section in sections.items())))


def _section(title: str, lines: list[str]) -> str:
    if len(lines) > _MAX_SHOWN:
        lines = [*lines[:_MAX_SHOWN], f"… and {len(lines) - _MAX_SHOWN} more"]
    return "\n- ".join((f"### {title}", *(lines or ["none"])))


def _key_lines(key: JsonObject) -> list[str]:
    """Source: OpenRouter's OpenAPI document, `GET /key`."""
    used = [f"{_dollars(key[name])} {words}" for name, words in _USED_KEYS.items() if name in key]
    limit, resets = key.get("limit"), one_line(key.get("limit_reset"))
    resetting = f", resets {_unmarked(resets)}" if resets else ""
    left = f"{_dollars(limit)}, {_dollars(key.get('limit_remaining'))} left{resetting}"
    return [
        # OpenRouter's own label is the key's two ends.
        f"label: {_MARKUP.sub(_ESCAPED, one_line(key.get('label'))[:60]) or '-'}",
        f"used: {', '.join(used) or '-'}",
        f"limit: {'none' if amount_of(limit) is None else left}",
    ]


def _model_lines(published: Published, age: float) -> list[str]:
    models, listed = published.catalog.models, len(published.entries)
    rows = sum(entry.ref.api_id in models for entry in published.entries)
    left_out = Counter(
        # Whatever the valves say, unless one is named.
        _BATCH if api_id in models and models[api_id].is_batch else f"left out by `{valve}`"
        for api_id, valve in published.left_out.items()
    )
    counts = {
        "listed": listed,
        "of the catalog": f"{rows} of {len(models)}",
        "variants and presets": listed - rows,
        **left_out,
        "rows that cannot chat (no text output, or no id)": published.catalog.left_out,
    }
    return [f"catalog fetched {duration(age)} ago", *(f"{what}: {count}" for what, count in counts.items() if count)]


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


def _unmarked(text: str) -> str:
    """One line in which nothing is markup or a key."""
    return _MARKUP.sub(_ESCAPED, plain(text))
